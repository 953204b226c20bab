package chores

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
)

// choir is three members that are fed the same commands.
type choir struct {
	t       *testing.T
	mu      sync.Mutex
	index   uint64
	members map[uint64]*state.Machine
	silent  map[uint64]bool // have no comparer
}

func newChoir(t *testing.T) *choir {
	t.Helper()
	c := &choir{t: t, index: 1, members: map[uint64]*state.Machine{}, silent: map[uint64]bool{}}
	for _, id := range []uint64{3, 4, 5} {
		e, err := storage.Open(storage.Options{FS: vfs.NewMem(), Dir: "state"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
		err = state.Found(e, state.Founding{
			Origin: state.Position{Index: 1, Term: 1}, Cluster: 5, Local: member.ID(id),
			// The same addresses, told in another order, make no difference.
			Members: []member.Member{{ID: 3, PeerURLs: []string{"http://a", "http://b"}}, {ID: 4}, {ID: 5}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if c.members[id], err = state.Open(e, mvcc.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// Propose applies a command to all; it is what one of them proposes.
func (c *choir) Propose(_ context.Context, op command.Op) (result state.Result, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index++
	for _, m := range c.members {
		if result, err = c.applyTo(m, op); err != nil {
			return result, err
		}
	}
	return result, nil
}

// applyTo applies commands as one group.
func (c *choir) applyTo(m *state.Machine, ops ...command.Op) (result state.Result, err error) {
	m.Begin()
	for _, op := range ops {
		if result, err = m.Apply(op); err != nil {
			return result, err
		}
	}
	return result, m.Commit(state.Position{Index: c.index, Term: 1})
}

func (c *choir) put(key, value string) {
	c.t.Helper()
	if _, err := c.Propose(c.t.Context(), &pb.PutRequest{Key: []byte(key), Value: []byte(value)}); err != nil {
		c.t.Fatal(err)
	}
}

// mishear gives one member another value than the others.
func (c *choir) mishear(id uint64, key string) {
	c.t.Helper()
	put := func(value string) command.Op { return &pb.PutRequest{Key: []byte(key), Value: []byte(value)} }
	c.tellApart(id, put("right"), put("wrong"))
}

// tellApart gives one member another command than the others.
func (c *choir) tellApart(id uint64, right, wrong command.Op) {
	c.t.Helper()
	c.index++
	for at, m := range c.members {
		op := right
		if at == id {
			op = wrong
		}
		if _, err := c.applyTo(m, op); err != nil {
			c.t.Fatal(err)
		}
	}
}

// HashKV implements Others.
func (c *choir) HashKV(ctx context.Context, id uint64, rev mvcc.Rev) (mvcc.Hash, error) {
	h, _, err := c.members[id].KV().HashKV(ctx, rev)
	return h, err
}

// sing runs the comparers of all for a while and returns how they ended.
func (c *choir) sing(log *bytes.Buffer) map[uint64]error {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	var wg sync.WaitGroup
	ended, mu := map[uint64]error{}, new(sync.Mutex)
	logger := slog.New(slog.NewTextHandler(log, nil))
	for id, m := range c.members {
		if c.silent[id] {
			continue
		}
		comparer := NewComparer(ComparerOptions{
			Every: time.Second, Machine: m, Proposer: c, Leadership: &reign{term: 1, leads: id == 3}, Others: c,
			Logger: logger,
		})
		wg.Go(func() {
			err := comparer.Run(ctx)
			mu.Lock()
			defer mu.Unlock()
			ended[id] = err
		})
	}
	time.Sleep(5 * time.Second)
	cancel()
	wg.Wait()
	return ended
}

func (c *choir) alarmed() (ids []uint64) {
	for _, a := range c.members[3].Alarms() {
		ids = append(ids, a.MemberID)
	}
	return ids
}

func TestMembersThatHoldTheSameGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChoir(t)
		for i := range 50 {
			c.put(fmt.Sprint(i%7), fmt.Sprint(i))
		}
		if _, err := c.Propose(t.Context(), &pb.CompactionRequest{Revision: 20}); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		for id, err := range c.sing(&log) {
			if err != nil {
				t.Errorf("%d ended with %v", id, err)
			}
		}
		marks, _ := c.members[4].Marks()
		if len(marks) != 2 || len(marks[0].Reports) != 3 || len(c.alarmed()) > 0 {
			t.Errorf("%d marks, alarms of %x, %s", len(marks), c.alarmed(), log.String())
		}
	})
}

func TestTheMemberThatDiffersEndsAndSaysWhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChoir(t)
		for i := range 20 {
			c.put("a", fmt.Sprint(i))
		}
		c.mishear(5, "odd")
		for i := range 20 {
			c.put("b", fmt.Sprint(i))
		}
		var log bytes.Buffer
		for id, err := range c.sing(&log) {
			if want := id == 5; errors.Is(err, ErrDiverged) != want {
				t.Errorf("%d ended with %v", id, err)
			}
		}
		if got := c.alarmed(); len(got) != 1 || got[0] != 5 {
			t.Errorf("alarms of %x", got)
		}
		if want := `first-difference="revision 22, key \"odd\""`; !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %s:\n%s", want, log.String())
		}
		// When it is removed its alarm goes with it, so that its replacement finds the others writing.
		m := c.members[3]
		m.Begin()
		if _, err := m.ApplyChange(command.MemberChange{Kind: command.RemoveMember, Member: 5}); err != nil {
			t.Fatal(err)
		}
		if err := m.Commit(state.Position{Index: c.index + 1, Term: 1}); err != nil {
			t.Fatal(err)
		}
		if got := c.alarmed(); len(got) > 0 {
			t.Errorf("alarms of %x after the removal", got)
		}
	})
}

func TestJudgements(t *testing.T) {
	report := func(id uint64, compact int64, hash uint64) command.DigestReport {
		return command.DigestReport{Mark: 1, Member: id, Compact: compact, Hash: hash}
	}
	for name, c := range map[string]struct {
		reports            []command.DigestReport
		voters             []uint64
		differs, undecided bool
	}{
		"three of five, late or not":  {[]command.DigestReport{report(1, 0, 9), report(2, 0, 7), report(3, 0, 7), report(4, 0, 7)}, []uint64{1, 2, 3, 4, 5}, true, false},
		"no majority can come":        {[]command.DigestReport{report(1, 0, 9), report(2, 0, 7), report(3, 0, 8)}, []uint64{1, 2, 3, 4}, false, true},
		"alone with it":               {[]command.DigestReport{report(1, 0, 9), report(2, 0, 7), report(3, 0, 7)}, []uint64{1, 2, 3}, true, false},
		"with most":                   {[]command.DigestReport{report(1, 0, 7), report(2, 0, 7), report(3, 0, 9)}, []uint64{1, 2, 3}, false, false},
		"most have not told":          {[]command.DigestReport{report(1, 0, 9), report(2, 0, 7)}, []uint64{1, 2, 3}, false, false},
		"compacted differently":       {[]command.DigestReport{report(1, 5, 9), report(2, 0, 7), report(3, 0, 7)}, []uint64{1, 2, 3}, false, false},
		"two of two":                  {[]command.DigestReport{report(1, 0, 9), report(2, 0, 7)}, []uint64{1, 2}, false, true},
		"three of three":              {[]command.DigestReport{report(1, 0, 9), report(2, 0, 7), report(3, 0, 8)}, []uint64{1, 2, 3}, false, true},
		"a learner that differs":      {[]command.DigestReport{report(1, 0, 9), report(2, 0, 7), report(3, 0, 7)}, []uint64{2, 3}, true, false},
		"learners do not outvote":     {[]command.DigestReport{report(1, 0, 9), report(2, 0, 7), report(3, 0, 7)}, []uint64{1}, false, false},
		"all the same, one is silent": {[]command.DigestReport{report(1, 0, 7), report(2, 0, 7)}, []uint64{1, 2, 3}, false, false},
	} {
		reports := map[uint64]command.DigestReport{}
		for _, r := range c.reports {
			reports[r.Member] = r
		}
		if v := judge(c.reports[0], reports, c.voters, false); v.differs != c.differs || v.undecided != c.undecided {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

// TestOfTheSilentNothingIsExpectedForEver lets two of three differ while the third does not answer.
func TestOfTheSilentNothingIsExpectedForEver(t *testing.T) {
	reports := map[uint64]command.DigestReport{1: {Member: 1, Hash: 9}, 2: {Member: 2, Hash: 7}}
	for late, want := range map[bool]bool{false: false, true: true} {
		if v := judge(reports[1], reports, []uint64{1, 2, 3}, late); v.undecided != want || v.differs {
			t.Errorf("late %v: %+v", late, v)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		c := newChoir(t)
		c.silent[5] = true
		c.put("a", "1")
		c.mishear(4, "odd")
		var log bytes.Buffer
		for id, err := range c.sing(&log) {
			if err != nil {
				t.Errorf("%d ended with %v", id, err)
			}
		}
		if got := c.alarmed(); !slices.Equal(got, []uint64{3, 4}) {
			t.Errorf("alarms of %x", got)
		}
		if want := `first-difference="revision 3, key \"odd\""`; strings.Count(log.String(), want) < 2 {
			t.Errorf("the logs do not say %s:\n%s", want, log.String())
		}
	})
}

// TestADifferenceBesideTheKeysIsFound differs in one lease, and in one user, that no key tells of.
func TestADifferenceBesideTheKeysIsFound(t *testing.T) {
	for name, ops := range map[string][2]command.Op{
		"lease": {&pb.LeaseGrantRequest{ID: 8, TTL: 60}, &pb.LeaseGrantRequest{ID: 9, TTL: 60}},
		"user":  {&pb.AuthUserAddRequest{Name: "ann"}, &pb.AuthUserAddRequest{Name: "bob"}},
		"role":  {&pb.AuthRoleAddRequest{Name: "ann"}, &pb.AuthRoleAddRequest{Name: "bob"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newChoir(t)
			c.put("a", "1")
			c.tellApart(4, ops[0], ops[1])
			var log bytes.Buffer
			for id, err := range c.sing(&log) {
				if want := id == 4; errors.Is(err, ErrDiverged) != want {
					t.Errorf("%s: %d ended with %v", name, id, err)
				}
			}
			if !strings.Contains(log.String(), "the keys are the same") {
				t.Errorf("%s: the log does not say where:\n%s", name, log.String())
			}
		})
	}
}

// TestAMarkBehindPutsOfItsGroupIsReported: a busy member applies a mark together with what came before it.
func TestAMarkBehindPutsOfItsGroupIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChoir(t)
		m := c.members[3]
		ctx, cancel := context.WithCancel(t.Context())
		comparer := NewComparer(ComparerOptions{
			Machine: m, Proposer: c, Leadership: &reign{}, Others: c, Logger: slog.New(slog.DiscardHandler),
		})
		ended := make(chan error)
		go func() { ended <- comparer.Run(ctx) }()
		synctest.Wait()
		m.Begin()
		for _, op := range []command.Op{&pb.PutRequest{Key: []byte("a")}, &command.DigestMark{ID: 7}, &pb.PutRequest{Key: []byte("a")}} {
			if _, err := m.Apply(op); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait() // who is told too early looks now
		if marks, _ := m.Marks(); len(marks) > 0 {
			t.Errorf("a mark is told before its group is committed")
		}
		c.index++
		if err := m.Commit(state.Position{Index: c.index, Term: 1}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if marks, _ := m.Marks(); len(marks) != 1 || marks[0].Rev != 2 || len(marks[0].Reports) != 1 {
			t.Errorf("the marks are %+v", marks)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestAMemberThatDiffersStaysOut starts it again, and then without the others.
func TestAMemberThatDiffersStaysOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChoir(t)
		c.mishear(5, "odd")
		c.sing(new(bytes.Buffer))
		run := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return NewComparer(ComparerOptions{
				Machine: c.members[5], Proposer: c, Leadership: &reign{}, Others: c, Logger: slog.New(slog.DiscardHandler),
			}).Run(ctx)
		}
		if err := run(); !errors.Is(err, ErrDiverged) || !strings.Contains(err.Error(), "revision 2") || !strings.Contains(err.Error(), "--auto-rejoin") {
			t.Errorf("the second start ends with %v", err)
		}
		m := c.members[5]
		m.Begin()
		for _, id := range []uint64{3, 4} {
			if r, err := m.ApplyChange(command.MemberChange{Kind: command.RemoveMember, Member: id}); err != nil || r.Err != nil {
				t.Fatal(err, r.Err)
			}
		}
		c.index++
		if err := m.Commit(state.Position{Index: c.index, Term: 1}); err != nil {
			t.Fatal(err)
		}
		delete(c.members, 3)
		delete(c.members, 4)
		if err := run(); err != nil {
			t.Errorf("alone it ends with %v", err)
		}
		if _, ok, err := m.Diverged(); ok || err != nil {
			t.Errorf("alone it still differs, %v", err)
		}
	})
}
