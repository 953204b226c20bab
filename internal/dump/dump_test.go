package dump

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/raftlog"
	"github.com/keelson-db/keelson/internal/replica"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
)

// commands is one of each kind.
func commands() []command.Op {
	return []command.Op{
		&command.MemberPublish{ID: 0xa1, Name: "n1", ClientURLs: []string{"http://c:1"}},
		&pb.LeaseGrantRequest{ID: 0x2a, TTL: 60},
		&pb.PutRequest{Key: []byte("k\x00"), Value: []byte(strings.Repeat("v", 100)), Lease: 0x2a},
		&pb.PutRequest{Key: []byte("gone"), Value: []byte("1")},
		&pb.DeleteRangeRequest{Key: []byte("gone")},
		&pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("t")}}}}},
		&command.LeaseCheckpoint{Leases: []command.Remaining{{ID: 0x2a, Seconds: 20}}},
		&pb.CompactionRequest{Revision: 3},
		&command.LeaseRevoke{IDs: []int64{7, 8}, Expired: true},
	}
}

func writeLog(t *testing.T, fs vfs.FS) {
	t.Helper()
	l, err := raftlog.Create(raftlog.Options{FS: fs, Dir: "d/log"}, raftlog.Origin{ID: 9, Index: 1, Term: 1})
	if err != nil {
		t.Fatal(err)
	}
	entry := []byte{command.FormatV1}
	for i, op := range commands() {
		if entry, err = command.AppendEncoded(entry, command.Command{ID: uint64(i), Op: op}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = l.Append(raftlog.Batch{Sync: true, Entries: []*raftpb.Entry{
		{Index: proto.Uint64(2), Term: proto.Uint64(2)},
		{Index: proto.Uint64(3), Term: proto.Uint64(2), Data: entry},
		{Index: proto.Uint64(4), Term: proto.Uint64(2), Data: []byte{command.FormatV1, 0xff}},
		change(t, 5, command.MemberChange{Kind: command.AddLearner, Member: 0xb2, PeerURLs: []string{"http://p:2"}}),
		change(t, 6, command.MemberChange{Kind: command.PromoteMember, Member: 0xb2}),
		change(t, 7, command.MemberChange{Kind: command.RemoveMember, Member: 0xa1}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func change(t *testing.T, index uint64, c command.MemberChange) *raftpb.Entry {
	t.Helper()
	data, err := replica.EncodeChange(1, c)
	if err != nil {
		t.Fatal(err)
	}
	return &raftpb.Entry{Index: &index, Term: proto.Uint64(2), Type: raftpb.EntryConfChange.Enum(), Data: data}
}

// writeState applies the commands to a new state and leaves the engine open.
func writeState(t *testing.T, fs vfs.FS) *storage.Engine {
	t.Helper()
	e, err := storage.Open(storage.Options{FS: fs, Dir: "d/state"})
	if err != nil {
		t.Fatal(err)
	}
	err = state.Found(e, state.Founding{Origin: state.Position{Index: 1, Term: 1}, Cluster: 0xc1, Local: 0xa1,
		Members: []member.Member{{ID: 0xa1, PeerURLs: []string{"http://p:1"}}}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := state.Open(e, mvcc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m.Begin()
	for _, op := range commands() {
		if r, err := m.Apply(op); err != nil || r.Err != nil {
			t.Fatal(op, r.Err, err)
		}
	}
	if err := m.Commit(state.Position{Index: 3, Term: 2}); err != nil {
		t.Fatal(err)
	}
	return e
}

func dumped(t *testing.T, fs vfs.FS, what string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	d := Dump{FS: fs, W: &out}
	var err error
	if what == "log" {
		err = d.Log("d/log")
	} else {
		err = d.State("d/state")
	}
	return out.String(), err
}

// holds fails the test unless the text has the lines, in order, others between them allowed.
func holds(t *testing.T, text string, lines ...string) {
	t.Helper()
	rest := text
	for _, line := range lines {
		_, after, ok := strings.Cut(rest, line)
		if !ok {
			t.Fatalf("%q is missing or out of order in:\n%s", line, text)
		}
		rest = after
	}
}

func TestDumpPrintsEveryCommandOfTheLog(t *testing.T) {
	fs := vfs.NewMem()
	writeLog(t, fs)
	out, err := dumped(t, fs, "log")
	if err != nil {
		t.Fatal(err)
	}
	holds(t, out,
		"log segment 0000000000000001.log\n",
		"4096  begin   after entry 1, forgotten up to 1 (term 1), term 1, vote 0, commit 1\n",
		"entry   2 term 2, commands, 0 bytes\n",
		"entry   3 term 2, commands, ",
		"0000000000000000 publish member a1 as \"n1\" at http://c:1\n",
		"0000000000000001 grant lease 2a for 60 s\n",
		"0000000000000002 put \"k\\x00\" = \""+strings.Repeat("v", shownBytes)+"\"... (100 bytes) lease 2a\n",
		"0000000000000003 put \"gone\" = \"1\"\n",
		"0000000000000004 delete \"gone\"\n",
		"0000000000000005 txn \"success:",
		"0000000000000006 note what leases have left: 2a 20 s\n",
		"0000000000000007 compact 3\n",
		"0000000000000008 end expired leases 7 8\n",
		"entry   4 term 2, commands, 2 bytes\n",
		"malformed command",
		"entry   5 term 2, change of members, ", "add learner b2 at http://p:2\n", "promote member b2\n", "remove member a1\n",
		"end     ",
	)
}

func TestDumpPrintsEveryTableOfTheState(t *testing.T) {
	fs := vfs.NewMem()
	e := writeState(t, fs)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := dumped(t, fs, "state")
	if err != nil {
		t.Fatal(err)
	}
	holds(t, out,
		"meta\n", "  applied: entry 3 term 2\n", "  compact: 3\n", "  confstate: voters [a1] learners []\n", "  format: 2\n", "  revision: 5\n",
		"members\n", "  a1 \"n1\", peers at http://p:1, clients at http://c:1\n",
		"leases\n", "  2a granted 60 s, recorded 20 s\n",
		"revisions\n", "  2.0 put \"k\\x00\", 114 bytes with sum 17189f6a\n", "  3.0 put \"gone\", 15 bytes with sum 3604e712\n", "  4.0 delete \"gone\", 6 bytes with sum 239698d3, after 3.0\n", "  5.0 put \"t\", 9 bytes with sum 686be35e\n",
		"records\n", "  \"gone\" at 4.0 deleted\n", "  \"gone\" at 3.0 = \"1\", created 3, version 1\n",
		"  \"k\\x00\" at 2.0 = \""+strings.Repeat("v", shownBytes)+"\"... (100 bytes), created 2, version 1, lease 2a\n",
		"  \"t\" at 5.0 = \"\", created 5, version 1\n",
	)
	if strings.Contains(out, "unreadable") {
		t.Errorf("a row was not understood:\n%s", out)
	}
}

func TestDumpOfARunningServerSaysSo(t *testing.T) {
	fs := vfs.NewMem()
	writeLog(t, fs)
	e := writeState(t, fs)
	defer func() { _ = e.Close() }()
	_, err := dumped(t, fs, "state")
	if err == nil || !strings.Contains(err.Error(), "d/state is in use: a server runs on it") {
		t.Fatalf("error: %v", err)
	}
	out, err := dumped(t, fs, "log")
	if err != nil {
		t.Fatal(err)
	}
	holds(t, out, "grant lease 2a for 60 s") // the log is shown all the same
}

func TestDumpWithoutDataSaysWhereToLook(t *testing.T) {
	fs := vfs.NewMem()
	for _, what := range []string{"log", "state"} {
		if _, err := dumped(t, fs, what); !errors.Is(err, ErrNothing) {
			t.Errorf("dump %s: %v", what, err)
		}
	}
	names, err := fs.List("")
	if err != nil || len(names) != 0 {
		t.Errorf("a dump wrote %v, %v", names, err)
	}
}
