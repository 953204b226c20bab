package rebuild

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"golang.org/x/sync/errgroup"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/raftlog"
	"github.com/keelson-db/keelson/internal/replica"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
)

const cluster = 0xc1

// quiet is a logger for nobody.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// three are the founders of the cluster of these tests.
func three() (all []member.Member) {
	for id := range member.ID(3) {
		all = append(all, member.Member{ID: id + 1, Name: fmt.Sprintf("m%d", id+1), PeerURLs: []string{fmt.Sprintf("http://m%d:2380", id+1)}})
	}
	return all
}

// line is one entry of a log in the making.
type line struct {
	term   uint64
	change *command.MemberChange
	put    string // a key, where nothing else is said
}

// puts are entries of one term that put keys.
func puts(term uint64, keys ...string) (lines []line) {
	for _, k := range keys {
		lines = append(lines, line{term: term, put: k})
	}
	return lines
}

func change(term uint64, kind command.ChangeKind, id uint64) line {
	return line{term: term, change: &command.MemberChange{Kind: kind, Member: id, PeerURLs: []string{fmt.Sprintf("http://m%d:2380", id)}}}
}

func (l line) entry(t testing.TB, index uint64) *raftpb.Entry {
	t.Helper()
	e := &raftpb.Entry{Index: new(index), Term: new(l.term), Type: raftpb.EntryNormal.Enum()}
	var err error
	if l.change != nil {
		e.Type = raftpb.EntryConfChange.Enum()
		e.Data, err = replica.EncodeChange(index, *l.change)
	} else {
		op := &pb.PutRequest{Key: []byte(l.put), Value: []byte(strings.Repeat("v", 300))}
		e.Data, err = command.AppendEncoded([]byte{command.FormatV1}, command.Command{ID: index, Op: op})
	}
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// directory is a member's data, as a test wants it.
type directory struct {
	local   member.ID
	members []member.Member
	lines   []line // the log, from entry 2 on
	applied int    // how many of them are in the state
	commit  int    // how many of them the log knows to be committed
	forget  int    // how many of them the log has forgotten
}

// make writes the directory and returns where it is.
func (d directory) make(t testing.TB, fs vfs.FS, name string) Place {
	t.Helper()
	p := Place{FS: fs, Data: name}
	l, err := raftlog.Create(raftlog.Options{FS: fs, Dir: p.log()}, raftlog.Origin{ID: 70 + uint64(d.local), Index: 1, Term: 1})
	if err != nil {
		t.Fatal(err)
	}
	e, err := storage.Open(storage.Options{FS: fs, Dir: p.state()})
	if err != nil {
		t.Fatal(err)
	}
	err = state.Found(e, state.Founding{
		Origin: state.Position{Index: 1, Term: 1}, Log: l.ID(), Cluster: cluster, Local: d.local, Members: d.members,
	})
	if err != nil {
		t.Fatal(err)
	}
	m, err := state.Open(e, mvcc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var entries []*raftpb.Entry
	for i, one := range d.lines {
		entries = append(entries, one.entry(t, uint64(i+2)))
	}
	appendTo(t, l, entries[:d.applied], nil)
	if err := replica.Replay(l, m, quiet()); err != nil {
		t.Fatal(err)
	}
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := l.Compact(uint64(d.forget) + 1); err != nil {
		t.Fatal(err)
	}
	term := d.lines[len(d.lines)-1].term
	appendTo(t, l, entries[d.applied:], &raftpb.HardState{Term: new(term), Vote: new(uint64(2)), Commit: new(uint64(d.commit) + 1)})
	if err := errors.Join(l.Close(), e.Close()); err != nil {
		t.Fatal(err)
	}
	return p
}

func appendTo(t testing.TB, l *raftlog.Log, entries []*raftpb.Entry, hard *raftpb.HardState) {
	t.Helper()
	if _, err := l.Append(raftlog.Batch{Entries: entries, HardState: hard, Sync: true}); err != nil {
		t.Fatal(err)
	}
}

// run starts the member of a directory as the server would, waits until it leads and answers, and tells what it holds.
func run(t testing.TB, p Place) (told string, err error) {
	t.Helper()
	l, err := raftlog.Open(raftlog.Options{FS: p.FS, Dir: p.log()})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	e, err := storage.Open(storage.Options{FS: p.FS, Dir: p.state()})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	m, err := state.Open(e, mvcc.Options{})
	if err != nil {
		return "", err
	}
	r, err := replica.New(replica.Options{
		Log: l, Machine: m, Heartbeat: 5 * time.Millisecond, Election: 50 * time.Millisecond,
		MaxRequestBytes: 1 << 20, WarnApply: time.Minute, Seed: 9, Metrics: metrics.New(), Logger: quiet(),
	})
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithCancel(t.Context())
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.Run(ctx) })
	group.Go(r.RunAppend)
	group.Go(r.RunApply)
	err = r.Barrier(ctx)
	told = tell(m)
	cancel()
	return told, errors.Join(err, group.Wait())
}

// tell is what a state holds, apart from where in the log it is.
func tell(m *state.Machine) string {
	view := m.KV().View()
	defer view.Close()
	members := m.Members()
	return fmt.Sprintf("cluster %x, member %x, %d keys, revision %d, %s, voters %v, learners %v, removed %v", members.ClusterID(),
		uint64(members.Local()), view.Keys(), view.Rev(), names(members.List()),
		m.ConfState().GetVoters(), m.ConfState().GetLearners(), members.RemovedIDs())
}

func names(list []member.Member) string {
	var all []string
	for _, m := range list {
		kind := "voter"
		if m.Learner {
			kind = "learner"
		}
		all = append(all, fmt.Sprintf("%s %d", kind, m.ID))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}
