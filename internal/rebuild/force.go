package rebuild

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/raftlog"
	"github.com/keelson-db/keelson/internal/replica"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
)

// ErrGone refuses to make a cluster of a member that its cluster has done without since.
var ErrGone = errors.New("this member was removed from its cluster, and what was written since is not here: " +
	"use the directory of a member that was not removed, or restore a backup")

// Force makes a member that does not run the only one of its cluster, and a voter. It keeps its ID and the cluster's, all
// that its log holds is carried out, and those who were members before are removed, so that they stop when they come
// back. What it returns are those who were removed; none if the member was alone already. An error is final, and leaves the
// member as it was or as it is to be.
func Force(e *storage.Engine, l *raftlog.Log, m *state.Machine, logger *slog.Logger) ([]member.Member, error) {
	removed, err := force(e, l, m, logger)
	if err != nil {
		return nil, fmt.Errorf("make this member the only one of its cluster: %w", err)
	}
	return removed, nil
}

func force(e *storage.Engine, l *raftlog.Log, m *state.Machine, logger *slog.Logger) ([]member.Member, error) {
	self := m.Members().Local()
	if m.Members().Removed(self) {
		return nil, ErrGone
	}
	if err := replica.CheckLog(l, m); err != nil {
		return nil, err
	}
	brief, err := state.Peek(e)
	if err != nil {
		return nil, err
	}
	u, err := readLineup(e, l, brief)
	if err != nil {
		return nil, err
	}
	batch, err := decision(l, u)
	if err != nil {
		return nil, err
	}
	if _, err := l.Append(batch); err != nil {
		return nil, err
	}
	if err := replica.Replay(l, m, logger); err != nil {
		return nil, err
	}
	if voters := m.ConfState().GetVoters(); !slices.Equal(voters, []uint64{uint64(self)}) || len(m.Members().List()) != 1 {
		return nil, fmt.Errorf("the log was carried out, and %x vote", voters)
	}
	return u.others(), nil
}

// decision is the one batch that makes the new cluster: the changes that are missing behind all that is there, and a commit
// index that covers everything.
func decision(l *raftlog.Log, u *lineup) (raftlog.Batch, error) {
	hard, _, err := l.InitialState()
	if err != nil {
		return raftlog.Batch{}, fmt.Errorf("read the hard state: %w", err)
	}
	last, err := l.LastIndex()
	if err != nil {
		return raftlog.Batch{}, fmt.Errorf("read the log's bounds: %w", err)
	}
	batch := raftlog.Batch{HardState: hard, Sync: true}
	if u.removal > 0 {
		if batch.Entries, err = staying(l, u); err != nil {
			return raftlog.Batch{}, err
		}
	}
	if changes := missingChanges(u); len(changes) > 0 {
		// A term of its own tells these entries from those that a leader of the old cluster may have written there.
		hard.Term, hard.Vote = new(hard.GetTerm()+1), new(uint64(u.table.Local()))
		for _, c := range changes {
			data, err := replica.EncodeChange(0, c)
			if err != nil {
				return raftlog.Batch{}, err
			}
			last++
			batch.Entries = append(batch.Entries, &raftpb.Entry{
				Index: new(last), Term: new(hard.GetTerm()), Type: raftpb.EntryConfChange.Enum(), Data: data,
			})
		}
	}
	hard.Commit = new(last)
	return batch, nil
}

// missingChanges are those between the membership at the end of the log and that of a member alone.
func missingChanges(u *lineup) (changes []command.MemberChange) {
	self := u.table.Local()
	if m, _ := u.table.Get(self); m.Learner {
		changes = append(changes, command.MemberChange{Kind: command.PromoteMember, Member: uint64(self)})
	}
	for _, m := range u.others() {
		changes = append(changes, command.MemberChange{Kind: command.RemoveMember, Member: uint64(m.ID)})
	}
	return changes
}

// staying is the end of the log from the first entry on that removes the member itself, without such entries: who is to be
// the only one left cannot leave. Everything else stays in its place.
func staying(l *raftlog.Log, u *lineup) (entries []*raftpb.Entry, err error) {
	err = eachEntry(l, u.removal, func(e *raftpb.Entry) error {
		c, ok, err := changeIn(e)
		if err != nil {
			return err
		}
		if ok && c.Kind == command.RemoveMember && member.ID(c.Member) == u.table.Local() {
			e = &raftpb.Entry{Index: e.Index, Term: e.Term, Type: raftpb.EntryNormal.Enum()}
		}
		entries = append(entries, e)
		return nil
	})
	return entries, err
}
