package integration

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-db/keelson/test/harness"
)

// refused starts a node that must not start, and returns what it said.
func refused(t *testing.T, opt harness.Options) string {
	t.Helper()
	n := harness.New(t, opt)
	n.Launch(t)
	code, err := n.Proc().Wait(10 * time.Second)
	if err != nil {
		t.Fatalf("the start was not refused: %v\n%s", err, n.Log.Tail(2000))
	}
	text := n.Log.String()
	if code != 1 {
		t.Errorf("exit code %d, want 1; it said:\n%s", code, text)
	}
	if strings.Contains(text, "goroutine ") || strings.Contains(text, "panic:") {
		t.Errorf("the refusal is a panic:\n%s", text)
	}
	return text
}

// wantWords checks that a text for people names all that it must.
func wantWords(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(strings.ToLower(text), strings.ToLower(w)) {
			t.Errorf("the text does not say %q:\n%s", w, text)
		}
	}
}

// fingerprint is a hash over names, modes and contents below a directory.
func fingerprint(t *testing.T, dir string) string {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(h, strings.TrimPrefix(path, dir), info.Mode(), info.Size())
		if info.Mode().IsRegular() {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			h.Write(text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// TestADirectoryBelongsToOneProcess starts a second server on a directory in use.
func TestADirectoryBelongsToOneProcess(t *testing.T) {
	t.Parallel()
	keelsonOnly(t, "etcd waits for the other process without end")
	n := harness.Start(t, harness.Options{})
	c := n.Client(t)
	must(c.Put(harness.Ctx(t), "k", "v"))(t)
	wantWords(t, refused(t, harness.Options{Dir: n.Dir}), n.Dir, "process")
	must(c.Put(harness.Ctx(t), "k", "w"))(t)
	n.Kill9(t)
	n.Restart(t)
	if r := must(n.Client(t).Get(harness.Ctx(t), "k"))(t); len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "w" {
		t.Errorf("after the second start was refused: %v", r.Kvs)
	}
}

// TestADirectoryOfEtcdIsLeftAlone starts Keelson on what a real etcd left.
func TestADirectoryOfEtcdIsLeftAlone(t *testing.T) {
	t.Parallel()
	keelsonOnly(t, "it is etcd's own directory")
	bins, err := harness.Build()
	if err != nil {
		t.Fatal(err)
	}
	etcd := harness.Start(t, harness.Options{Binary: bins.Etcd})
	must(etcd.Client(t).Put(harness.Ctx(t), "precious", "data"))(t)
	etcd.Stop(t)
	before := fingerprint(t, etcd.Dir)
	wantWords(t, refused(t, harness.Options{Dir: etcd.Dir}), "etcd", etcd.Dir)
	if fingerprint(t, etcd.Dir) != before {
		t.Error("the refused start changed etcd's directory")
	}
	etcd.Restart(t)
	if r := must(etcd.Client(t).Get(harness.Ctx(t), "precious"))(t); len(r.Kvs) != 1 {
		t.Error("etcd's data is gone")
	}
}

// TestADirectoryThatCannotBeUsedIsRefused gives files, missing parents and foreign contents as data directories.
func TestADirectoryThatCannotBeUsedIsRefused(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if onKeelson() {
		wantWords(t, refused(t, harness.Options{Dir: file}), file)
	}
	wantWords(t, refused(t, harness.Options{Dir: filepath.Join(file, "below")}), file, "not a directory")

	readOnly := mountTmpfs(t, "8m")
	remountReadOnly(t, readOnly)
	if onKeelson() {
		wantWords(t, refused(t, harness.Options{Dir: filepath.Join(readOnly, "data")}), readOnly, "read-only")
	}
}

// TestADirectoryIsPrivateAndReusable looks at the modes and starts the same directory again after SIGTERM.
func TestADirectoryIsPrivateAndReusable(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	info, err := os.Stat(n.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the data directory has mode %v, want 0700", info.Mode().Perm())
	}
	c := n.Client(t)
	for i := range 100 {
		must(c.Put(harness.Ctx(t), fmt.Sprint(i%7), fmt.Sprint(i)))(t)
	}
	before := must(c.Get(harness.Ctx(t), "", clientv3.WithPrefix()))(t)
	status := must(c.Status(harness.Ctx(t), n.ClientAddr))(t)
	for range 3 {
		began := time.Now()
		if code := n.Stop(t); onKeelson() && code != 0 {
			t.Errorf("exit code %d after SIGTERM", code)
		}
		if took := time.Since(began); onKeelson() && took > 3*time.Second {
			t.Errorf("stopping took %v", took)
		}
		n.Restart(t)
		c = n.Client(t)
		after := must(c.Get(harness.Ctx(t), "", clientv3.WithPrefix()))(t)
		if len(after.Kvs) != 7 || after.Header.Revision != before.Header.Revision {
			t.Errorf("after a restart: %d keys at revision %d, want 7 at %d", len(after.Kvs), after.Header.Revision, before.Header.Revision)
		}
		for i, kv := range after.Kvs {
			if !proto.Equal(kv, before.Kvs[i]) {
				t.Errorf("%v became %v", before.Kvs[i], kv)
			}
		}
		again := must(c.Status(harness.Ctx(t), n.ClientAddr))(t)
		if again.Header.MemberId != status.Header.MemberId || again.Header.ClusterId != status.Header.ClusterId {
			t.Error("a restart changed the identity")
		}
		if again.RaftTerm < status.RaftTerm || again.RaftIndex < status.RaftIndex {
			t.Errorf("raft went back from %d/%d to %d/%d", status.RaftTerm, status.RaftIndex, again.RaftTerm, again.RaftIndex)
		}
		status = again
	}
}

// TestOtherInitialSettingsDoNotChangeARunningMember restarts a member with other bootstrap flags, which no longer count.
func TestOtherInitialSettingsDoNotChangeARunningMember(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	must(n.Client(t).Put(harness.Ctx(t), "k", "v"))(t)
	before := must(n.Client(t).MemberList(harness.Ctx(t)))(t)
	n.Stop(t)
	again := harness.New(t, harness.Options{Dir: n.Dir, Args: []string{"--initial-cluster-token", "another", "--initial-cluster-state", "existing"}})
	again.PeerAddr = n.PeerAddr
	again.Launch(t)
	again.WaitReady(t)
	after := must(again.Client(t).MemberList(harness.Ctx(t)))(t)
	if before.Header.ClusterId != after.Header.ClusterId || before.Members[0].ID != after.Members[0].ID {
		t.Errorf("the identity changed from %x to %x", before.Header.ClusterId, after.Header.ClusterId)
	}
	harness.Eventually(t, 10*time.Second, "the new client URL", func() error {
		list := must(again.Client(t).MemberList(harness.Ctx(t)))(t)
		if got := list.Members[0].ClientURLs; len(got) != 1 || got[0] != again.URL() {
			return fmt.Errorf("the member's client URLs are %v, it serves %s", got, again.URL())
		}
		return nil
	})
}
