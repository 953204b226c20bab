package storage

import (
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// DefaultCacheBytes bounds the cache of uncompressed blocks, in bytes.
	// Without cgo the cache lives on the Go heap, where the collector's
	// headroom comes on top, so it is kept small: the operating system's page
	// cache stands behind it, and recent records are served from memory above.
	DefaultCacheBytes = 64 << 20
	// DefaultMemTableBytes is the size of one memtable, in bytes. Larger
	// memtables mean fewer and longer flushes, more memory, and a longer
	// replay of the log after a crash.
	DefaultMemTableBytes = 16 << 20
	// maxMemTables is how many memtables may exist before commits wait.
	maxMemTables = 4
	// blockBytes is the target size of a table's block, in bytes. It is above
	// Pebble's default because ranges are the common large read and records
	// are some hundred bytes long.
	blockBytes = 8 << 10
	// filterBitsPerKey sizes the bloom filters: about one false answer in a
	// hundred.
	filterBitsPerKey = 10
	// l0Compaction is twice the number of sublevels, one per flush of scattered
	// keys, at which they are merged into the level below. Merging more at once
	// rewrites that level less often, which is most of what a write costs later;
	// a read of a record that lies deeper asks more filters.
	l0Compaction = 12
	// l0StopWrites is the number of sublevels at which commits wait for
	// compaction.
	l0StopWrites = 32
	// maxCompactions is the number of compactions that may run at once.
	maxCompactions = 2
	// DefaultOpenFiles bounds the open tables, in files.
	DefaultOpenFiles = 1000
	// plainLevels is the number of levels, from the top, that are written
	// without compression: their tables are rewritten soon, so compressing
	// them spends processor time on bytes that do not stay.
	plainLevels = 5
)

// formatVersion is pinned by name so that an update of the library does not
// change directories silently.
const formatVersion = pebble.FormatValueSeparation

// Options are the parameters of Open; zero sizes mean the named defaults.
type Options struct {
	FS                        vfs.FS
	Dir                       string
	CacheBytes, MemTableBytes int64
	OpenFiles                 int
	ReadOnly                  bool
	Logger                    *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.CacheBytes <= 0 {
		o.CacheBytes = DefaultCacheBytes
	}
	if o.MemTableBytes <= 0 {
		o.MemTableBytes = DefaultMemTableBytes
	}
	if o.OpenFiles <= 0 {
		o.OpenFiles = DefaultOpenFiles
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// pebbleOptions translates the options. Bloom filters cover the upper levels
// only: a read asks for a record that exists, so it is the levels above the
// record's own that a filter lets it skip, and the lowest level, which holds
// most keys and would need most filters, is never skipped.
func (o Options) pebbleOptions(e *Engine) *pebble.Options {
	p := &pebble.Options{
		FS:                          o.FS,
		ReadOnly:                    o.ReadOnly,
		DisableWAL:                  true,
		FormatMajorVersion:          formatVersion,
		CacheSize:                   o.CacheBytes,
		MemTableSize:                uint64(o.MemTableBytes),
		MemTableStopWritesThreshold: maxMemTables,
		L0CompactionThreshold:       l0Compaction,
		L0StopWritesThreshold:       l0StopWrites,
		MaxOpenFiles:                o.OpenFiles,
		CompactionConcurrencyRange:  func() (int, int) { return 1, maxCompactions },
		Logger:                      pebbleLogger{e},
		EventListener:               e.listener(),
	}
	for i := range p.Levels {
		l := &p.Levels[i]
		l.BlockSize = blockBytes
		l.IndexBlockSize = 32 << 10
		l.FilterPolicy = bloom.FilterPolicy(filterBitsPerKey)
		l.Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
		if i >= plainLevels {
			l.Compression = func() *sstable.CompressionProfile { return sstable.SnappyCompression }
		}
	}
	p.Levels[len(p.Levels)-1].FilterPolicy = pebble.NoFilterPolicy
	return p
}
