package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/raftlog"
	"github.com/keelson-db/keelson/internal/rebuild"
	"github.com/keelson-db/keelson/internal/replica"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
)

// survivor writes the directory of one of three members, whose log has so many puts of term 2, half of them in the state.
func survivor(t *testing.T, dir string, id member.ID, puts int) {
	t.Helper()
	fs := vfs.Default
	l, err := raftlog.Create(raftlog.Options{FS: fs, Dir: filepath.Join(dir, logDir)}, raftlog.Origin{ID: uint64(id), Index: 1, Term: 1})
	if err != nil {
		t.Fatal(err)
	}
	e, err := storage.Open(storage.Options{FS: fs, Dir: filepath.Join(dir, stateDir)})
	if err != nil {
		t.Fatal(err)
	}
	var members []member.Member
	for i, name := range []string{"m1", "m2", "m3"} {
		members = append(members, member.Member{ID: member.ID(0xa1 + i*0x11), Name: name, PeerURLs: []string{"http://" + name + ":2380"}})
	}
	err = state.Found(e, state.Founding{Origin: state.Position{Index: 1, Term: 1}, Log: l.ID(), Cluster: 0xc1, Local: id, Members: members})
	if err != nil {
		t.Fatal(err)
	}
	m, err := state.Open(e, mvcc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range puts {
		if i == puts/2 {
			if err := replica.Replay(l, m, slog.New(slog.DiscardHandler)); err != nil {
				t.Fatal(err)
			}
		}
		data, err := command.AppendEncoded([]byte{command.FormatV1}, command.Command{ID: uint64(i), Op: &pb.PutRequest{Key: []byte{byte(i)}}})
		if err != nil {
			t.Fatal(err)
		}
		entry := &raftpb.Entry{Index: new(uint64(i + 2)), Term: new(uint64(2)), Type: raftpb.EntryNormal.Enum(), Data: data}
		if _, err := l.Append(raftlog.Batch{Entries: []*raftpb.Entry{entry}, Sync: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(l.Close(), e.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestRecoverShowsWhatIsLeftAndRebuilds(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	survivor(t, a, 0xa1, 6)
	survivor(t, b, 0xb2, 10)
	both := "recover --data-dir " + a + " --data-dir " + b
	before := rebuild.Look(rebuild.Place{FS: vfs.Default, Data: b})

	code, out, errs := call(t, both, "m2\n")
	if code != exitArguments || !strings.Contains(errs, "there is no terminal to ask at; add --yes") {
		t.Errorf("without a terminal: exit %d %s", code, errs)
	}
	for _, part := range []string{
		"Cluster c1\n  NAME  ID  KIND   LAST ENTRY    COMMITTED  APPLIED  REVISION  LAST WRITTEN",
		"\n  m2    b2  voter  11 of term 2  6          6        6  ", "\n  m1    a1  voter  7 of term 2   4          4        4  ",
		"\n  m3    c3  voter  unknown       -          -        -         -                    nowhere\n",
		"would be rebuilt from m2, in " + b + ":\n  - no log that was found ends later than its own\n" +
			"  - nothing that was acknowledged is lost: 1 of 3 voters did not have to be asked, because a write is acknowledged by 2\n" +
			"  - its last 5 entries may not have been acknowledged",
	} {
		if !strings.Contains(out, part) {
			t.Errorf("%q is missing in\n%s", part, out)
		}
	}
	code, out, _ = call(t, both+" --use m1", "")
	if code != exitArguments || !strings.Contains(out, "acknowledged writes may be lost: there is a later log\n"+
		"  - m2 has at least 4 entries that are not in its log, and they would be lost") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if now := rebuild.Look(rebuild.Place{FS: vfs.Default, Data: b}); now.Last != before.Last || now.Applied != before.Applied {
		t.Fatalf("a survey changed something: %+v", now)
	}

	backup := filepath.Join(dir, "backup")
	code, out, errs = call(t, both+" --yes --backup-dir "+backup, "")
	if code != 0 || errs != "" || !strings.Contains(out, "Done. m2 is the only member of cluster c1.\nWhat its directory was before is in "+backup+".\n"+
		"Now:\n  - put the old directories of m1, m3 away, and never start them again\n"+
		"  - start m2 with the flags that it always had: keelson --name m2 --data-dir "+b+" ...\n"+
		"  - on each other machine, with an empty directory: keelson join http://m2:2380 --name NAME ...\n") {
		t.Fatalf("exit %d\n%s%s", code, out, errs)
	}
	after, kept := rebuild.Look(rebuild.Place{FS: vfs.Default, Data: b}), rebuild.Look(rebuild.Place{FS: vfs.Default, Data: backup})
	if len(after.Members) != 1 || after.Revision != 11 || after.Commit != after.Last.Index || after.Problem != nil {
		t.Errorf("afterwards it is %+v", after)
	}
	if kept.Problem != nil || kept.Last != before.Last || len(kept.Members) != 3 {
		t.Errorf("the backup is %+v", kept)
	}
}

func TestRecoverSpeaksToPrograms(t *testing.T) {
	dir := t.TempDir()
	a, none := filepath.Join(dir, "a"), filepath.Join(dir, "none")
	survivor(t, a, 0xa1, 4)
	code, out, errs := call(t, "recover -o json --yes --data-dir "+a+" --data-dir "+none, "")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != 0 || errs != "" || len(lines) != 2 {
		t.Fatalf("exit %d\n%s%s", code, out, errs)
	}
	var s struct {
		Clusters []struct {
			ID      string                        `json:"cluster_id"`
			Found   []struct{ Name, Kind string } `json:"found"`
			Missing []struct{ ID string }         `json:"missing"`
		} `json:"clusters"`
		Unusable []struct{ Source, Problem string } `json:"unusable"`
		Chosen   struct {
			ID   string `json:"id"`
			Safe bool   `json:"nothing_acknowledged_is_lost"`
		} `json:"chosen"`
	}
	var done struct {
		Rebuilt, Backup string
		Removed         []struct{ ID string }
	}
	if err := errors.Join(json.Unmarshal([]byte(lines[0]), &s), json.Unmarshal([]byte(lines[1]), &done)); err != nil {
		t.Fatal(err)
	}
	if len(s.Clusters) != 1 || s.Clusters[0].ID != "c1" || len(s.Clusters[0].Found) != 1 || s.Clusters[0].Found[0].Name != "m1" || len(s.Clusters[0].Missing) != 2 ||
		len(s.Unusable) != 1 || s.Unusable[0].Source != none || s.Chosen.ID != "a1" || s.Chosen.Safe {
		t.Errorf("the survey is %s", lines[0])
	}
	if done.Rebuilt != a || len(done.Removed) != 2 || !strings.HasPrefix(done.Backup, a+".before-recover-") {
		t.Errorf("the result is %s", lines[1])
	}
	if _, err := os.Stat(done.Backup); err != nil {
		t.Error(err)
	}
}

func TestRecoverRefusesWhatWouldDoHarm(t *testing.T) {
	dir := t.TempDir()
	a, other := filepath.Join(dir, "a"), filepath.Join(dir, "other")
	survivor(t, a, 0xa1, 4)
	h, _ := build(t)
	second := h.list[1].ClientURLs[0]
	taken := filepath.Join(dir, "taken")
	if err := os.Mkdir(taken, 0o700); err != nil {
		t.Fatal(err)
	}
	_, out, _ := call(t, "recover --data-dir "+a, "")
	if !strings.Contains(out, "acknowledged writes may be lost: the logs of m2, m3 are not known, and without m1 they may have acknowledged what comes after entry 5") {
		t.Errorf("one of three is called\n%s", out)
	}
	for _, step := range []struct {
		line string
		code int
		says string
	}{
		{"recover", exitArguments, "name the data directories"},
		{"recover --data-dir " + other, exitError, "there is nothing to rebuild"},
		{"recover --data-dir " + a + " --wal-dir x --wal-dir y", exitArguments, "more --wal-dir"},
		{"recover --data-dir " + a + " --no-backup --backup-dir x", exitArguments, "do not go together"},
		{"recover --yes --data-dir " + a + " --endpoints " + second, exitError, "has a leader, as m2 at " + second + " says"},
		{"recover --yes --use nobody --data-dir " + a, exitArguments, "none of those that were found"},
		{"recover --yes --use " + other + " --data-dir " + a + " --data-dir " + other, exitError, "there is no such directory"},
		{"recover --yes --data-dir " + a + " --backup-dir " + taken, exitError, "nothing was changed"},
	} {
		code, _, errs := call(t, step.line, "")
		if code != step.code || !strings.Contains(errs, step.says) {
			t.Errorf("keelson %s: exit %d\n%s\nwant %d and %q", step.line, code, errs, step.code, step.says)
		}
	}
	h.leader = 0
	code, out, errs := call(t, "recover --yes --use m2 --data-dir "+a+" --endpoints "+second, "")
	if code != exitError || !strings.Contains(errs, "m2 runs at "+second+": stop it and name its directory") {
		t.Errorf("a member that runs: exit %d\n%s", code, errs)
	}
	if !strings.Contains(out, "m2    b2  voter  unknown      9          8        7         it runs              (asked) "+second) {
		t.Errorf("a member that runs is shown as\n%s", out)
	}
	if f := rebuild.Look(rebuild.Place{FS: vfs.Default, Data: a}); len(f.Members) != 3 || f.Problem != nil {
		t.Errorf("the directory was changed: %+v", f)
	}
}

func TestAPersonHasToTypeTheName(t *testing.T) {
	for typed, ok := range map[string]bool{"m1\n": true, " m1 \r\n": true, "m1": true, "m2\n": false, "yes\n": false, "": false, strings.Repeat(" ", maxTyped) + "m1\n": false} {
		var out bytes.Buffer
		p := person{in: strings.NewReader(typed), out: &out}
		if err := p.confirm("Type m1: ", "m1"); (err == nil) != ok {
			t.Errorf("%q: %v", typed, err)
		}
		if p.there() || out.String() != "Type m1: " {
			t.Errorf("a text is taken for a terminal, or %q was asked", out.String())
		}
	}
}
