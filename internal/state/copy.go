package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/storage"
)

// CopyFormat is the version of the state's layout that copies have. Only a member that reads the same takes one.
const CopyFormat = format

// ErrNoCopy is returned (wrapped) for rows that no original hands out.
var ErrNoCopy = errors.New("these rows are not those of a state")

// own reports whether a row belongs to one member alone: who it is, which log feeds it, and what was found about it.
func own(key []byte) bool {
	for _, name := range [...]string{storage.MetaCluster, storage.MetaLog, storage.MetaDiverged} {
		var space [16]byte
		if bytes.Equal(key, storage.MetaKey(space[:0], name)) {
			return true
		}
	}
	return false
}

// Copy is a state in the making, from the rows that an Original hands out. It belongs to one goroutine and must be
// ended with Finish or Abort; an error is final.
type Copy struct {
	engine *storage.Engine
	loader *storage.Loader
}

// NewCopy begins a copy in an engine that holds nothing.
func NewCopy(e *storage.Engine) (*Copy, error) {
	l, err := e.NewLoader()
	if err != nil {
		return nil, fmt.Errorf("begin a copy of the state: %w", err)
	}
	return &Copy{engine: e, loader: l}, nil
}

// Add takes the next row, which must have a higher key than the one before. The row is not kept.
func (c *Copy) Add(key, value []byte) error {
	if !storage.KnownTable(key) || own(key) {
		return fmt.Errorf("copy the state: key %x: %w", key, ErrNoCopy)
	}
	if err := c.loader.Add(key, value); err != nil {
		return fmt.Errorf("copy the state: %w", err)
	}
	return nil
}

// Rows is the number of rows that were added.
func (c *Copy) Rows() uint64 { return c.loader.Rows() }

// Bytes is the size of their keys and values.
func (c *Copy) Bytes() uint64 { return c.loader.Bytes() }

// Finish makes of the rows the state of the member local, which is fed by the log of that name. It is durable when Finish
// returns, and tells up to which place of the log it goes.
func (c *Copy) Finish(local member.ID, cluster, log uint64) (Position, error) {
	if err := c.loader.Finish(); err != nil {
		return Position{}, fmt.Errorf("finish a copy of the state: %w", err)
	}
	b := c.engine.NewBatch()
	defer b.Close()
	member.Found(b, cluster, local, nil)
	b.Set(storage.MetaKey(nil, storage.MetaLog), binary.BigEndian.AppendUint64(nil, log))
	if err := c.engine.Commit(b); err != nil {
		return Position{}, fmt.Errorf("finish a copy of the state: %w", err)
	}
	if err := c.engine.Flush(); err != nil {
		return Position{}, fmt.Errorf("finish a copy of the state: %w", err)
	}
	found, err := Peek(c.engine)
	if err != nil {
		return Position{}, fmt.Errorf("finish a copy of the state: %w: %w", ErrNoCopy, err)
	}
	return found.Applied, nil
}

// Abort removes what was added. Behind Finish it does nothing.
func (c *Copy) Abort() error { return c.loader.Abort() }

// Brief is what a state says of itself in its smallest tables.
type Brief struct {
	Applied   Position
	Level     uint32 // feature level of the cluster
	Log       uint64 // names the log that feeds it
	ConfState *raftpb.ConfState
	Members   *member.Table // with the cluster's ID, and whose state it is
}

// Peek reads the brief of a state without opening it.
func Peek(e *storage.Engine) (*Brief, error) {
	if err := checkFormat(e); err != nil {
		return nil, err
	}
	b := new(Brief)
	var ok bool
	var err error
	if b.Applied, ok, err = readApplied(e.Get); err != nil {
		return nil, err
	}
	if !ok {
		return nil, errors.New("read the applied position: it is missing")
	}
	if b.Level, err = readLevel(e); err != nil {
		return nil, err
	}
	if b.Log, err = readLog(e); err != nil {
		return nil, err
	}
	if b.ConfState, err = readConfState(e); err != nil {
		return nil, err
	}
	if b.Members, err = member.Open(e); err != nil {
		return nil, err
	}
	return b, nil
}

// PeekAt reads the brief of the state in a directory that nobody has open, without writing to it.
func PeekAt(o storage.Options) (_ *Brief, err error) {
	o.ReadOnly = true
	e, err := storage.Open(o)
	if err != nil {
		return nil, fmt.Errorf("look at the state in %s: %w", o.Dir, err)
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	b, err := Peek(e)
	if err != nil {
		return nil, fmt.Errorf("look at the state in %s: %w", o.Dir, err)
	}
	return b, nil
}
