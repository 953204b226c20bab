package state

import (
	"encoding/binary"
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/storage"
)

// ApplyChange carries out one change of the membership within a group. Its result's response is the list of
// members after it, of type []*pb.Member. A verdict means that raft is to leave its configuration as it is, too.
func (m *Machine) ApplyChange(c command.MemberChange) (Result, error) {
	if err := m.changeMembers(c); err != nil {
		if !isVerdict(err) {
			return Result{}, fmt.Errorf("change the membership: %w", err)
		}
		return Result{Rev: m.writer.Rev(), Err: err}, nil
	}
	return Result{Rev: m.writer.Rev(), Response: MemberList(m.members)}, nil
}

func (m *Machine) changeMembers(c command.MemberChange) error {
	id := member.ID(c.Member)
	var err error
	switch c.Kind {
	case command.AddVoter, command.AddLearner:
		err = m.members.Add(m.batch, member.Member{ID: id, PeerURLs: c.PeerURLs, Learner: c.Kind == command.AddLearner})
	case command.PromoteMember:
		err = m.members.Promote(m.batch, id)
	case command.RemoveMember:
		if err = m.members.Remove(m.batch, id); err == nil {
			m.alarms.forget(m.batch, c.Member)
		}
	}
	if err != nil {
		return err
	}
	conf := proto.CloneOf(m.NextConfState())
	conf.Voters, conf.Learners = without(conf.Voters, c.Member), without(conf.Learners, c.Member)
	switch c.Kind {
	case command.AddVoter, command.PromoteMember:
		conf.Voters = append(conf.Voters, c.Member)
	case command.AddLearner:
		conf.Learners = append(conf.Learners, c.Member)
	}
	slices.Sort(conf.Voters)
	slices.Sort(conf.Learners)
	row, err := proto.Marshal(conf)
	if err != nil {
		return fmt.Errorf("encode the voters: %w", err)
	}
	m.batch.Set(storage.MetaKey(nil, storage.MetaConfState), row)
	m.nextConf = conf
	return nil
}

// NextConfState is who votes after the changes of the present group. It belongs to whoever applies; the caller does
// not change it.
func (m *Machine) NextConfState() *raftpb.ConfState {
	if m.nextConf != nil {
		return m.nextConf
	}
	return m.conf.Load()
}

func without(ids []uint64, id uint64) []uint64 {
	return slices.DeleteFunc(slices.Clone(ids), func(x uint64) bool { return x == id })
}

// MemberList returns the members as the API shows them, by ID.
func MemberList(t *member.Table) []*pb.Member {
	list := t.List()
	out := make([]*pb.Member, len(list))
	for i, one := range list {
		out[i] = &pb.Member{
			ID: uint64(one.ID), Name: one.Name, PeerURLs: one.PeerURLs, ClientURLs: one.ClientURLs, IsLearner: one.Learner,
		}
	}
	return out
}

// firstLevel is the level of a state that says nothing about it: one of a release that knew only one member.
const firstLevel = 1

// readLevel reads the cluster's feature level: a uvarint.
func readLevel(e storage.Reader) (uint32, error) {
	row, ok, err := e.Get(storage.MetaKey(nil, storage.MetaLevel), nil)
	if err != nil {
		return 0, fmt.Errorf("read the feature level: %w", err)
	}
	if !ok {
		return firstLevel, nil
	}
	v, n := binary.Uvarint(row)
	if n != len(row) || v == 0 {
		return 0, &storage.DamagedError{Table: "meta", Key: []byte(storage.MetaLevel), Why: "it is no number"}
	}
	if v > command.Level {
		return 0, fmt.Errorf("read the feature level: the cluster runs at level %d and this release knows level %d: start a release that is as new as the other members'", v, command.Level)
	}
	return uint32(v), nil
}

func writeLevel(b *storage.Batch, level uint32) {
	b.Set(storage.MetaKey(nil, storage.MetaLevel), binary.AppendUvarint(nil, uint64(level)))
}

// Level is the feature level that the cluster has reached: see command.Level.
func (m *Machine) Level() uint32 { return m.level.Load() }

// raiseLevel never lowers it: what a level brought may be in use.
func (m *Machine) raiseLevel(level uint32) error {
	if level > command.Level {
		return fmt.Errorf("raise the feature level to %d: this release knows level %d: %w", level, command.Level, command.ErrUnknownKind)
	}
	if level > m.Level() {
		writeLevel(m.batch, level)
		m.level.Store(level)
	}
	return nil
}
