package raftlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/keelson-db/keelson/internal/invariant"
)

const (
	// DefaultSegmentSize is the bytes of a segment unless Options say otherwise.
	DefaultSegmentSize = 64 << 20
	// MinSegmentSize is the smallest segment in bytes; tests use it.
	MinSegmentSize = 2 * headerBlock
	// MaxSegmentSize is the largest segment in bytes. With MaxBatchBytes it keeps
	// offsets inside the 32 bits they have on disk.
	MaxSegmentSize = 1 << 30
	// MaxBatchBytes is the most bytes one Append may encode to.
	MaxBatchBytes = 1 << 30
	// DefaultCacheBytes is how many bytes of recent entries stay in memory.
	DefaultCacheBytes = 8 << 20

	// extendSteps is into how many steps a segment is divided that is written full of
	// zeros bit by bit: 1 MiB each for the default size.
	extendSteps = 64
	// minStep is the least bytes of such a step.
	minStep = 4096
)

// Options say where a log lives and how large its parts are.
type Options struct {
	FS          vfs.FS       // all I/O goes through it
	Dir         string       // the log's own directory; nothing else should be in it
	SegmentSize int64        // bytes; 0 means DefaultSegmentSize
	CacheBytes  int64        // bytes; 0 means DefaultCacheBytes
	Logger      *slog.Logger // nil discards
}

func (o Options) complete() (Options, error) {
	if o.SegmentSize == 0 {
		o.SegmentSize = DefaultSegmentSize
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = DefaultCacheBytes
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.SegmentSize < MinSegmentSize || o.SegmentSize > MaxSegmentSize {
		return o, fmt.Errorf("check raft log options: a segment of %d bytes is not between %d and %d", o.SegmentSize, MinSegmentSize, MaxSegmentSize)
	}
	return o, nil
}

// step is how many bytes a segment grows by when it is not written in advance.
func (o Options) step() int64 { return max(minStep, o.SegmentSize/extendSteps) }

// Origin is where a new log starts: as if entries up to Index, whose last has Term,
// had been there and compacted. ID names the log in every segment, so that another
// log's file is noticed; the caller draws it.
type Origin struct {
	ID    uint64
	Index uint64
	Term  uint64
}

// segment is one file of the log. The file is read by anybody; number, name, file
// and base never change, the rest is guarded as said.
type segment struct {
	number uint64
	name   string
	file   vfs.File // nil for a forgotten segment that was never opened
	base   uint32
	size   int64 // the file's length, all of it written; the appender's
	used   int64 // offset behind the last record; guarded by Log.mu
	reads  int   // reads under way, which keep the file from being recycled; guarded by Log.mu
}

// Log is a durable raft log. See the package comment for who may call what.
type Log struct {
	opts Options
	id   uint64
	lock io.Closer // on the directory, until Close
	tail tail      // the appender's own

	// files hands the right to create, rename and remove files from one goroutine
	// to the next: who holds the directory owns it.
	files chan *directory
	// wake tells Run that there may be something to prepare or to recycle.
	wake chan struct{}

	mu       sync.Mutex // guards what follows, held for lines only, never over I/O
	index    index
	hard     hardState
	snapshot *raftpb.SnapshotMetadata
	segments []*segment // live, oldest first, the last is the active one
	next     *segment   // prepared to become active, or nil
	retired  []*segment // forgotten, to be recycled
	durable  int64      // bytes of the active segment that are synced
	// pending is set while the index's prefix is not yet in the log.
	pending bool
	failed  error
	closed  bool
}

// ID returns the ID of the log's Origin. A state that was made from this log can
// remember it and so notice when it is given another.
func (l *Log) ID() uint64 { return l.id }

// InitialState implements raft.Storage.
func (l *Log) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// The commit index reaches the log after entries were applied, and unsynced. What
	// was compacted or stands in the caller's snapshot had been committed, whatever the
	// last durable record says.
	commit := max(l.hard.commit, l.index.prefix.index, min(l.snapshot.GetIndex(), l.index.last()))
	return &raftpb.HardState{Term: new(l.hard.term), Vote: new(l.hard.vote), Commit: new(commit)},
		raftpb.EnsureConfState(l.snapshot.GetConfState()), nil
}

// Compact forgets the entries up to and including to, which must have been applied
// durably. It touches no file: the next synced Append writes the new prefix with its
// batch, and segments that are not needed any more are recycled after that. An index
// that is forgotten already is no error.
func (l *Log) Compact(to uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if to <= l.index.prefix.index {
		return nil
	}
	if to > l.index.last() {
		return fmt.Errorf("compact raft log: index %d is above the last entry, %d", to, l.index.last())
	}
	l.index.compact(to)
	l.pending = true
	return nil
}

// Size returns the bytes that records and headers take in the live segments. What
// is written in advance is not counted.
func (l *Log) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var n int64
	for _, s := range l.segments {
		n += s.used
	}
	return n
}

// fail makes err final and returns what the caller should return.
func (l *Log) fail(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = fmt.Errorf("raft log failed and takes no more writes, restart to recover from the disk: %w", err)
	}
	return l.failed
}

// retire moves segments that no live entry needs from the log to the list for
// recycling. The prefix must be durable, and Log.mu is held.
func (l *Log) retire() {
	active := l.segments[len(l.segments)-1].number
	needed := l.index.firstSegment(active)
	n := 0
	for n < len(l.segments)-1 && l.segments[n].number < needed && l.segments[n].reads == 0 {
		n++
	}
	if n == 0 {
		return
	}
	l.retired = append(l.retired, l.segments[:n]...)
	l.segments = append([]*segment(nil), l.segments[n:]...)
}

// Close writes a mark that covers the last batch, so that damage to it is noticed
// later, closes the files and gives the directory free, after an error too. Run must
// have returned and no call be under way.
func (l *Log) Close() error {
	var err error
	l.mu.Lock()
	failed, closed := l.failed, l.closed
	l.mu.Unlock()
	if closed {
		return nil
	}
	if failed == nil {
		err = l.writeMark()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	open := append(append([]*segment(nil), l.segments...), l.retired...)
	if l.next != nil {
		open = append(open, l.next)
	}
	for _, s := range open {
		if s.file != nil {
			err = errors.Join(err, s.file.Close())
		}
	}
	// The last step: nobody else may write while a file is still open here.
	err = errors.Join(err, l.lock.Close())
	if err != nil {
		return fmt.Errorf("close raft log: %w", err)
	}
	return nil
}

// Create makes a new log that starts at origin, and opens it. A crash meanwhile
// leaves no log or a complete one. The directory is made too if it is not there, with
// the levels above it, and is its owner's alone then.
func Create(o Options, origin Origin) (*Log, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	invariant.Check(origin.Term > 0 || origin.Index == 0, "a log that starts behind an entry knows that entry's term")
	l, err := createAndOpen(o, origin)
	if err != nil {
		return nil, fmt.Errorf("create raft log in %s: %w", o.Dir, err)
	}
	return l, nil
}

func createAndOpen(o Options, origin Origin) (*Log, error) {
	if err := makeDirectory(o.FS, o.Dir); err != nil {
		return nil, err
	}
	return hold(o, func() (*Log, error) {
		if err := create(o, origin); err != nil {
			return nil, err
		}
		return open(o)
	})
}

// create writes the first segment, with the directory locked.
func create(o Options, origin Origin) error {
	exists, err := Exists(o.FS, o.Dir)
	if err != nil {
		return err
	}
	if exists {
		return ErrExists
	}
	d := &directory{opts: o, logID: origin.ID}
	// The steps of one process that died here leave a temporary file of the same name;
	// it is replaced.
	s, err := fill(context.Background(), o, d.newSpareName(), o.step(), 0)
	if err != nil {
		return err
	}
	var e encoder
	e.reset(putSegmentHeader(make([]byte, headerBytes), origin.ID, 1), headerBlock, 0, headerBlock, 1)
	e.chain = e.base
	at := mark{origin.Index, origin.Term}
	e.putBegin(beginning{last: at.index, prefix: at, hard: hardState{term: at.term, commit: at.index}})
	if _, err = s.file.WriteAt(e.buf, headerBlock); err != nil {
		return errors.Join(err, s.file.Close())
	}
	s, err = d.activate(s, 1)
	if err != nil {
		return err
	}
	return s.file.Close()
}
