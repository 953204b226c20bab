package rebuild

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/raftlog"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
)

// Facts are what is known of one member.
type Facts struct {
	Source  string // its data directory, or the address where it was asked
	Running bool   // it was asked while it runs: nobody knows then how far its log goes behind Commit
	Leader  uint64 // the leader as a running member sees it; 0 if none
	Problem error  // why some of this is not known; nil if all is well

	Cluster  uint64
	ID       member.ID
	Name     string
	Learner  bool
	Removed  bool           // its cluster has done without it since
	Applied  uint64         // index of the last entry that is in its state
	Commit   uint64         // index up to which it knows that its log counts
	Last     state.Position // the last entry of its log
	Revision mvcc.Rev       // of its state: what the log has behind Applied comes on top
	Written  time.Time      // when its log was written to last
	Members  []member.Member

	terms  history
	voters [][]member.ID
}

// Whole says that all of a member's log is known.
func (f *Facts) Whole() bool { return f.Problem == nil && !f.Running && f.ID != 0 }

// same says whether a directory looks as it did.
func (f *Facts) same(old *Facts) bool {
	return f.Cluster == old.Cluster && f.ID == old.ID && f.Last == old.Last && f.Applied == old.Applied && f.Commit == old.Commit
}

// call is how a member is spoken of.
func call(id member.ID, name string) string {
	if name == "" {
		return fmt.Sprintf("%x", uint64(id))
	}
	return name
}

// Call is how the member is spoken of: by its name, or by its ID while it has none.
func (f *Facts) Call() string { return call(f.ID, f.Name) }

// Look tells what a directory holds. It is locked meanwhile, and nothing in it is changed.
func Look(p Place) *Facts {
	f := &Facts{Source: p.Data}
	f.Problem = f.look(p)
	return f
}

func (f *Facts) look(p Place) (err error) {
	if err := checkPlace(p); err != nil {
		return err
	}
	e, err := storage.Open(storage.Options{FS: p.FS, Dir: p.state(), ReadOnly: true})
	if err != nil {
		return explain(err)
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	brief, err := state.Peek(e)
	if err != nil {
		return err
	}
	moment, err := mvcc.At(e)
	if err != nil {
		return err
	}
	f.Applied, f.Revision = brief.Applied.Index, moment.Rev
	f.identify(brief.Members)
	l, err := raftlog.Look(raftlog.Options{FS: p.FS, Dir: p.log()})
	if errors.Is(err, raftlog.ErrNotFound) {
		return fmt.Errorf("the state is there and its raft log %s is not: name it with --wal-dir, if it was kept elsewhere", p.log())
	}
	if err != nil {
		return explain(err)
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if l.ID() != brief.Log {
		return fmt.Errorf("the raft log %s belongs to another member's state: name the right one with --wal-dir", p.log())
	}
	f.Written = lastWritten(p)
	if err := f.lookInto(e, l, brief); err != nil {
		return err
	}
	return f.lookBeside(p)
}

// identify takes over who the member is, by its own table.
func (f *Facts) identify(t *member.Table) {
	f.Cluster, f.ID = t.ClusterID(), t.Local()
	f.Removed = t.Removed(f.ID)
	self, _ := t.Get(f.ID)
	f.Name, f.Learner, f.Members = self.Name, self.Learner, t.List()
}

// lookBeside looks for a copy of the state that waits to be taken over. What it holds counts, and it is not in the log.
func (f *Facts) lookBeside(p Place) error {
	dir := storage.ReadyDir(p.state())
	waits, err := p.has(dir)
	if err != nil || !waits {
		return err
	}
	brief, err := state.PeekAt(storage.Options{FS: p.FS, Dir: dir})
	if err != nil {
		return err
	}
	f.Commit = max(f.Commit, brief.Applied.Index)
	return ErrWaits
}

// lookInto reads the log.
func (f *Facts) lookInto(e *storage.Engine, l *raftlog.Log, brief *state.Brief) error {
	var err error
	if f.terms, err = readHistory(l); err != nil {
		return err
	}
	f.Last = f.terms.last()
	if f.terms.first > brief.Applied.Index || f.Last.Index < brief.Applied.Index || f.terms.at(brief.Applied.Index) != brief.Applied.Term {
		return fmt.Errorf("log and state do not belong together: the log has entries %d to %d, and the state was applied up to entry %d of term %d",
			f.terms.first+1, f.Last.Index, brief.Applied.Index, brief.Applied.Term)
	}
	hard, _, err := l.InitialState()
	if err != nil {
		return fmt.Errorf("read the hard state: %w", err)
	}
	// What was applied was committed, though the log may not have been told before a crash.
	f.Commit = max(hard.GetCommit(), brief.Applied.Index)
	u, err := readLineup(e, l, brief)
	if err != nil {
		return err
	}
	f.identify(u.table)
	f.voters = u.voters
	return nil
}

// checkPlace says what is wrong with a directory before anything is opened, which would leave a lock there.
func checkPlace(p Place) error {
	if there, err := p.has(p.state()); err != nil || there {
		return err
	}
	if etcds, err := p.has(p.FS.PathJoin(p.Data, etcdDir)); err == nil && etcds {
		return errors.New("it belongs to etcd, which keeps its data in another form: use etcd's own --force-new-cluster there")
	}
	there, err := p.has(p.Data)
	if err == nil && !there {
		return errors.New("there is no such directory")
	}
	return errors.Join(err, errors.New("there is no member's data in it"))
}

// explain says what to do about a directory that is in use.
func explain(err error) error {
	if errors.Is(err, storage.ErrLocked) || errors.Is(err, raftlog.ErrLocked) {
		return errors.New("a process runs on it: stop the member to use its data, or ask it with --endpoints")
	}
	return err
}

// lastWritten is when the log's files were written to last; a zero time if nobody knows.
func lastWritten(p Place) (last time.Time) {
	names, err := p.FS.List(p.log())
	if err != nil {
		return last
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".log") {
			continue
		}
		if info, err := p.FS.Stat(p.FS.PathJoin(p.log(), name)); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last
}
