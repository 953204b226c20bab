package replica

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/keelson-db/keelson/internal/raftlog"
)

// RunAppend writes what raft wants in the log until Run has ended. An error is final: after a failed write
// or sync nobody knows what the disk holds.
func (r *Replica) RunAppend() error {
	last, _, err := r.log.InitialState()
	if err != nil {
		return fmt.Errorf("read the hard state: %w", err)
	}
	for {
		for _, m := range r.appends.take() {
			hard := hardState(m, last)
			r.work.begin(&r.work.append)
			if err := r.append(m, hard, last); err != nil {
				return err
			}
			r.work.end(&r.work.append)
			last = hard
			if own := r.sendOutside(m.GetResponses()); len(own) > 0 || len(m.GetEntries()) > 0 {
				r.answers.put(answer{messages: own, appended: len(m.GetEntries()) > 0})
			}
		}
		select {
		case <-r.appends.ready:
		case <-r.stopped:
			return nil
		}
	}
}

// sendOutside sends what is for other members, now that what it says is durable, and returns the rest, which is
// for this member's raft.
func (r *Replica) sendOutside(messages []*raftpb.Message) (own []*raftpb.Message) {
	for _, m := range messages {
		if m.GetTo() == r.id {
			own = append(own, m)
		} else {
			r.send(m) // an answer that is lost is asked for again
		}
	}
	return own
}

// hardState is the part of an append message that is not entries, or before when it did not change.
func hardState(m *raftpb.Message, before *raftpb.HardState) *raftpb.HardState {
	if m.Term == nil || m.Vote == nil || m.Commit == nil {
		return before
	}
	return &raftpb.HardState{Term: m.Term, Vote: m.Vote, Commit: m.Commit}
}

func (r *Replica) append(m *raftpb.Message, hard, last *raftpb.HardState) error {
	if m.GetSnapshot() != nil {
		return errors.New("append a snapshot: members fetch copies of the state and get none through raft")
	}
	if !raft.MustSync(hard, last, len(m.GetEntries())) {
		return nil // nothing, or a commit index alone: see the package comment
	}
	timing, err := r.log.Append(raftlog.Batch{HardState: hard, Entries: m.GetEntries(), Sync: true})
	if err != nil {
		return fmt.Errorf("append to the log: %w", err)
	}
	disk := r.opts.Metrics.Disk
	disk.WALFsync.Observe(timing.Sync.Seconds())
	disk.WALWrite.Observe(timing.Write.Seconds())
	disk.WALWriteBytes.Add(uint64(timing.Bytes))
	return nil
}
