package storage

// Stats are the engine's sizes in bytes.
type Stats struct {
	DiskBytes     int64 // files of the engine, with those soon to be deleted
	LiveBytes     int64 // tables that are part of the state; an estimate of what a rewrite would leave
	MemTableBytes int64 // committed and not yet flushed
	CacheBytes    int64 // block cache
}

// Stats returns the sizes. It is cheap enough for every request: the figures
// are taken from Pebble only after a flush or a compaction changed them.
func (e *Engine) Stats() Stats {
	// What a fatal error has parked may hold what the figures are read under.
	fresh := e.Err() == nil && e.stale.Swap(false)
	var taken Stats
	if fresh {
		m := e.db.Metrics()
		total := m.Total()
		taken = Stats{DiskBytes: int64(m.DiskSpaceUsage()), LiveBytes: total.TablesSize, CacheBytes: m.BlockCache.Size}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if fresh {
		e.sizes = taken
	}
	s := e.sizes
	s.MemTableBytes = e.unflushed.Load()
	return s
}
