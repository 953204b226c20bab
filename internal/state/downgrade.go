package state

import (
	"fmt"

	"github.com/keelson-db/keelson/internal/storage"
)

// readDowngrade reads the release that the cluster was told to go back to.
func readDowngrade(e storage.Reader) (target string, err error) {
	row, _, err := e.Get(storage.MetaKey(nil, storage.MetaDowngrade), nil)
	if err != nil {
		return "", fmt.Errorf("read the downgrade's target: %w", err)
	}
	return string(row), nil
}

func (m *Machine) setDowngrade(target string) { m.downgrade.Store(&target) }

// applyDowngrade notes a target as text under its meta name, and an empty one by removing the row.
func (m *Machine) applyDowngrade(target string) {
	key := storage.MetaKey(nil, storage.MetaDowngrade)
	if target == "" {
		m.batch.Delete(key)
	} else {
		m.batch.Set(key, []byte(target))
	}
	m.setDowngrade(target)
}

// DowngradeTarget is the release that the cluster was told to go back to, such as "3.6.0"; empty if none.
func (m *Machine) DowngradeTarget() string { return *m.downgrade.Load() }
