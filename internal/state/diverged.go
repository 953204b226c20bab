package state

import (
	"encoding/binary"
	"fmt"

	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/storage"
)

// divergedFormat is the first byte of the row.
const divergedFormat = 1

// Diverged reports that this state was found to be another one than that of most members, and at which revision. It
// belongs to this state alone: a copy of another member's, which takes its place, does not have it.
func (m *Machine) Diverged() (rev mvcc.Rev, ok bool, err error) {
	row, ok, err := m.engine.Get(storage.MetaKey(nil, storage.MetaDiverged), nil)
	if err != nil || !ok {
		return 0, false, err
	}
	if len(row) != 9 || row[0] != divergedFormat {
		return 0, false, &storage.DamagedError{Table: "meta", Key: []byte(storage.MetaDiverged), Why: "it is no revision"}
	}
	return mvcc.Rev(binary.BigEndian.Uint64(row[1:])), true, nil
}

// SetDiverged notes it, durably, so that no restart goes on as if nothing had been found.
func (m *Machine) SetDiverged(rev mvcc.Rev) error {
	row := binary.BigEndian.AppendUint64([]byte{divergedFormat}, uint64(rev))
	return m.writeDiverged(func(b *storage.Batch, key []byte) { b.Set(key, row) })
}

// ForgetDiverged removes the note.
func (m *Machine) ForgetDiverged() error {
	return m.writeDiverged(func(b *storage.Batch, key []byte) { b.Delete(key) })
}

func (m *Machine) writeDiverged(write func(b *storage.Batch, key []byte)) error {
	b := m.engine.NewBatch()
	defer b.Close()
	write(b, storage.MetaKey(nil, storage.MetaDiverged))
	if err := m.engine.Commit(b); err != nil {
		return fmt.Errorf("note that the state differs from that of other members: %w", err)
	}
	if err := m.engine.Flush(); err != nil {
		return fmt.Errorf("note that the state differs from that of other members: %w", err)
	}
	return nil
}
