// Package storage is an ordered key-value engine: Pebble without its own log.
package storage

import (
	"errors"
	"log/slog"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrLocked is returned (wrapped) when another process holds the directory.
var ErrLocked = errors.New("storage directory is locked by another process")

// Options are the parameters of Open; zero sizes mean the named defaults.
type Options struct {
	FS                        vfs.FS
	Dir                       string
	CacheBytes, MemTableBytes int64
	ReadOnly                  bool
	Logger                    *slog.Logger
}

// Engine is an open key-value engine.
type Engine struct{}

// Batch collects changes that become visible and durable together.
type Batch struct{}

// Iter walks keys in order.
type Iter struct{}

// Stats are the engine's sizes in bytes.
type Stats struct {
	DiskBytes, LiveBytes, MemTableBytes, CacheBytes int64
}

// Open opens or creates the engine in a directory.
func Open(Options) (*Engine, error) { panic("not built") }

// NewBatch returns an empty batch.
func (*Engine) NewBatch() *Batch { panic("not built") }

// Commit applies a batch atomically, without a sync.
func (*Engine) Commit(*Batch) error { panic("not built") }

// Get appends the value of key to dst.
func (*Engine) Get(key, dst []byte) (val []byte, ok bool, err error) { panic("not built") }

// Iter returns an iterator over [lower, upper).
func (*Engine) Iter(lower, upper []byte) (*Iter, error) { panic("not built") }

// GetDurable reads only what would survive a crash now.
func (*Engine) GetDurable(key []byte) ([]byte, bool, error) { panic("not built") }

// Flush makes everything committed so far durable.
func (*Engine) Flush() error { panic("not built") }

// Flushes is closed and replaced at each finished flush.
func (*Engine) Flushes() <-chan struct{} { panic("not built") }

// Failed is closed when background work met an error of the disk.
func (*Engine) Failed() <-chan struct{} { panic("not built") }

// Err is the error that closed Failed.
func (*Engine) Err() error { panic("not built") }

// Stats returns the engine's sizes.
func (*Engine) Stats() Stats { panic("not built") }

// Close releases the directory.
func (*Engine) Close() error { panic("not built") }

// Set puts a key.
func (*Batch) Set(key, value []byte) { panic("not built") }

// Delete removes a key.
func (*Batch) Delete(key []byte) { panic("not built") }

// Len is the encoded size of the batch in bytes.
func (*Batch) Len() int { panic("not built") }

// Count is the number of changes in the batch.
func (*Batch) Count() int { panic("not built") }

// Reset empties the batch for another use.
func (*Batch) Reset() { panic("not built") }

// Close gives the batch's memory back.
func (*Batch) Close() { panic("not built") }

// First moves to the first key.
func (*Iter) First() bool { panic("not built") }

// SeekGE moves to the first key at or after key.
func (*Iter) SeekGE(key []byte) bool { panic("not built") }

// Next moves to the next key.
func (*Iter) Next() bool { panic("not built") }

// Valid reports whether the iterator stands on a key.
func (*Iter) Valid() bool { panic("not built") }

// Key is valid until the next move.
func (*Iter) Key() []byte { panic("not built") }

// Value is valid until the next move.
func (*Iter) Value() []byte { panic("not built") }

// Error is the error that ended the walk, if any.
func (*Iter) Error() error { panic("not built") }

// Close releases the iterator.
func (*Iter) Close() error { panic("not built") }
