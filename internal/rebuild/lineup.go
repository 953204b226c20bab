package rebuild

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/raftlog"
	"github.com/keelson-db/keelson/internal/replica"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
)

// pieceBytes is how much of a log is read at once, in bytes of entries.
const pieceBytes = 8 << 20

// lineup is who is in the cluster, by a state and by the log behind it. It changes a table of its own, and puts the rows
// into a batch that is never committed.
type lineup struct {
	table *member.Table
	batch *storage.Batch
	// voters are those of every membership from the state's own to that at the end of the log. Which of them is in
	// force nobody knows, because nobody knows how far the log is committed.
	voters [][]member.ID
	// removal is the index of the first entry that removes the member itself; 0 if there is none.
	removal uint64
}

// readLineup follows the log behind a state.
func readLineup(e *storage.Engine, l *raftlog.Log, brief *state.Brief) (*lineup, error) {
	u := &lineup{table: brief.Members, batch: e.NewBatch()}
	defer u.batch.Close()
	u.note()
	self := u.table.Local()
	err := eachEntry(l, brief.Applied.Index+1, func(e *raftpb.Entry) error {
		c, ok, err := changeIn(e)
		if err != nil || !ok {
			return err
		}
		if c.Kind == command.RemoveMember && member.ID(c.Member) == self {
			if u.removal == 0 {
				u.removal = e.GetIndex()
			}
			return nil
		}
		u.take(c)
		return nil
	})
	return u, err
}

// take follows one change, which is void where the state would refuse it.
func (u *lineup) take(c command.MemberChange) {
	id, err := member.ID(c.Member), error(nil)
	switch c.Kind {
	case command.AddVoter, command.AddLearner:
		err = u.table.Add(u.batch, member.Member{ID: id, PeerURLs: c.PeerURLs, Learner: c.Kind == command.AddLearner})
	case command.PromoteMember:
		err = u.table.Promote(u.batch, id)
	case command.RemoveMember:
		err = u.table.Remove(u.batch, id)
	}
	if err == nil {
		u.note()
	}
}

// note keeps who votes now.
func (u *lineup) note() {
	var voters []member.ID
	for _, m := range u.table.List() {
		if !m.Learner {
			voters = append(voters, m.ID)
		}
	}
	u.voters = append(u.voters, voters)
}

// others are all members but the one whose table it is.
func (u *lineup) others() []member.Member {
	return slices.DeleteFunc(u.table.List(), func(m member.Member) bool { return m.ID == u.table.Local() })
}

// changeIn is the change of the membership that an entry holds, if it holds one.
func changeIn(e *raftpb.Entry) (c command.MemberChange, ok bool, err error) {
	switch e.GetType() {
	case raftpb.EntryNormal:
		return c, false, nil
	case raftpb.EntryConfChange:
		c, err = replica.DecodeChange(e.GetData())
	default:
		err = fmt.Errorf("%s: this release does not change several members at once: the log was written by a newer one; use that one instead", e.GetType())
	}
	if err != nil {
		return c, false, fmt.Errorf("read entry %d: %w", e.GetIndex(), err)
	}
	return c, true, nil
}

// eachEntry yields the entries of a log from one index on.
func eachEntry(l *raftlog.Log, from uint64, yield func(*raftpb.Entry) error) error {
	last, err := l.LastIndex()
	if err != nil {
		return fmt.Errorf("read the log's bounds: %w", err)
	}
	for from <= last {
		entries, err := l.Entries(from, last+1, pieceBytes)
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		for _, e := range entries {
			if err := yield(e); err != nil {
				return err
			}
		}
		from += uint64(len(entries))
	}
	return nil
}
