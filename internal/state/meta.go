package state

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/storage"
)

// format is the version of the state's layout: a directory of another one is refused, not guessed at.
// Format 2 brought the sums of records into the revision index.
const format = 2

// Position is a place in the log.
type Position struct {
	Index uint64
	Term  uint64
}

// Founding is what a new cluster begins with.
type Founding struct {
	Origin  Position // the log's origin: the state is as if everything up to it had been applied
	Log     uint64   // names the log that feeds the state
	Cluster uint64
	Local   member.ID
	Members []member.Member
}

// Founded reports whether the engine holds a state.
func Founded(e *storage.Engine) (bool, error) {
	_, ok, err := e.Get(storage.MetaKey(nil, storage.MetaFormat), nil)
	if err != nil {
		return false, fmt.Errorf("read the state's format: %w", err)
	}
	return ok, nil
}

// Found writes the first state of a new cluster, durable when it returns.
func Found(e *storage.Engine, f Founding) error {
	b := e.NewBatch()
	defer b.Close()
	b.Set(storage.MetaKey(nil, storage.MetaFormat), []byte{format})
	writeApplied(b, f.Origin)
	b.Set(storage.MetaKey(nil, storage.MetaLog), binary.BigEndian.AppendUint64(nil, f.Log))
	conf := new(raftpb.ConfState)
	for _, m := range f.Members {
		if m.Learner {
			conf.Learners = append(conf.Learners, uint64(m.ID))
		} else {
			conf.Voters = append(conf.Voters, uint64(m.ID))
		}
	}
	row, err := proto.Marshal(conf)
	if err != nil {
		return fmt.Errorf("encode the voters: %w", err)
	}
	b.Set(storage.MetaKey(nil, storage.MetaConfState), row)
	writeLevel(b, command.Level)
	member.Found(b, f.Cluster, f.Local, f.Members)
	if err := e.Commit(b); err != nil {
		return fmt.Errorf("write the first state: %w", err)
	}
	if err := e.Flush(); err != nil {
		return fmt.Errorf("write the first state: %w", err)
	}
	return nil
}

func checkFormat(e storage.Reader) error {
	row, ok, err := e.Get(storage.MetaKey(nil, storage.MetaFormat), nil)
	switch {
	case err != nil:
		return fmt.Errorf("read the state's format: %w", err)
	case !ok || len(row) != 1:
		return fmt.Errorf("read the state's format: it is missing: the state directory is damaged; restore it from a backup or another member")
	case row[0] != format:
		return fmt.Errorf("the state has format %d and this release reads format %d: start the release that wrote it", row[0], format)
	}
	return nil
}

// The applied row is index and term, 8 bytes each, big endian.
func writeApplied(b *storage.Batch, p Position) {
	var row [16]byte
	binary.BigEndian.PutUint64(row[:8], p.Index)
	binary.BigEndian.PutUint64(row[8:], p.Term)
	b.Set(storage.MetaKey(nil, storage.MetaApplied), row[:])
}

func readApplied(get func(key, dst []byte) ([]byte, bool, error)) (Position, bool, error) {
	row, ok, err := get(storage.MetaKey(nil, storage.MetaApplied), nil)
	if err != nil {
		return Position{}, false, fmt.Errorf("read the applied position: %w", err)
	}
	if !ok || len(row) != 16 {
		return Position{}, false, nil
	}
	return Position{Index: binary.BigEndian.Uint64(row[:8]), Term: binary.BigEndian.Uint64(row[8:])}, true, nil
}

func readLog(e *storage.Engine) (uint64, error) {
	row, ok, err := e.Get(storage.MetaKey(nil, storage.MetaLog), nil)
	if err != nil {
		return 0, fmt.Errorf("read the log's name: %w", err)
	}
	if !ok || len(row) != 8 {
		return 0, fmt.Errorf("read the log's name: it is missing: the state directory is damaged; restore it from a backup or another member")
	}
	return binary.BigEndian.Uint64(row), nil
}

func readConfState(e storage.Reader) (*raftpb.ConfState, error) {
	row, ok, err := e.Get(storage.MetaKey(nil, storage.MetaConfState), nil)
	if err != nil {
		return nil, fmt.Errorf("read the voters: %w", err)
	}
	conf := new(raftpb.ConfState)
	if err := proto.Unmarshal(row, conf); err != nil || !ok {
		return nil, fmt.Errorf("read the voters: the row is missing or malformed: the state directory is damaged; restore it from a backup or another member")
	}
	return conf, nil
}
