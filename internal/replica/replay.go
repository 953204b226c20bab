package replica

import (
	"fmt"
	"log/slog"
	"math"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/raftlog"
	"github.com/keelson-db/keelson/internal/state"
)

// CheckLog makes sure that a log continues a state, as New does.
func CheckLog(l *raftlog.Log, m *state.Machine) error {
	return (&Replica{log: l, machine: m}).checkLog()
}

// Replay applies what the log has behind the applied position, up to its end, as a running member would; nobody waits for
// the results. It is for a member that does not run, and whose caller knows that all of the log counts. An error is
// final.
func Replay(l *raftlog.Log, m *state.Machine, logger *slog.Logger) error {
	r := &Replica{
		opts: Options{Metrics: metrics.New(), WarnApply: math.MaxInt64},
		log:  l, machine: m, logger: logger, proposals: newProposals(0), changes: newChanges(),
	}
	r.applyTimings = newApplyTimings(r.opts.Metrics)
	if err := r.checkLog(); err != nil {
		return err
	}
	last, err := l.LastIndex()
	if err != nil {
		return fmt.Errorf("read the log's bounds: %w", err)
	}
	for m.Applied().Index < last {
		entries, err := l.Entries(m.Applied().Index+1, last+1, maxApplyBytes)
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		if _, err := r.apply(entries); err != nil {
			return err
		}
	}
	return nil
}

// EncodeChange is the data of an entry that changes the membership.
func EncodeChange(id uint64, c command.MemberChange) ([]byte, error) {
	data, err := proto.Marshal(&raftpb.ConfChange{
		Type: raftKind(c.Kind).Enum(), NodeId: new(c.Member), Context: command.AppendChange(nil, id, c),
	})
	if err != nil {
		return nil, fmt.Errorf("encode a change of the membership: %w", err)
	}
	return data, nil
}

// DecodeChange reads the data of an entry that changes the membership.
func DecodeChange(data []byte) (c command.MemberChange, err error) {
	cc := new(raftpb.ConfChange)
	if err := proto.Unmarshal(data, cc); err != nil {
		return c, fmt.Errorf("read a change of the membership: %w", err)
	}
	_, c, err = command.DecodeChange(cc.GetContext())
	return c, err
}
