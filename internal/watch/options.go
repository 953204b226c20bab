package watch

import (
	"errors"
	"time"
)

// Limits of the room. A client that goes past one of the first two is not
// refused: its watchers are detached and read history later.
const (
	// DefaultStreamEvents is how many events may wait in the queue of one stream (count).
	DefaultStreamEvents = 8192
	// DefaultStreamBytes is how many bytes of events may wait in the queue of one stream (bytes, estimated).
	DefaultStreamBytes = 8 << 20
	// maxResponseEvents is how many events, and so at most how many revisions, one response collects (count). A
	// larger single revision is still one response.
	maxResponseEvents = 1000
	// maxResponseBytes is how large a response may grow by collecting further revisions (bytes, estimated).
	maxResponseBytes = 1 << 20
	// maxControls is how many answers to requests may wait in one stream before Room makes its client wait (count).
	maxControls = 64
	// maxWatchers is how many watchers one stream may hold (count).
	maxWatchers = 1 << 20
	// pumpEvents is how many events the Hub distributes in one turn under its mutex (count).
	pumpEvents = 256
	// minReadEvents and maxReadEvents bound one read of history for watchers that catch up (count).
	minReadEvents, maxReadEvents = 8, maxResponseEvents
	// firstReadEvents is the size of a stream's first read, before it knows how large its events are (count).
	firstReadEvents = 32
	// readTargetBytes is the size one such read aims at (bytes).
	readTargetBytes = 2 << 20
	// readTargetFound is how many events, summed over all watchers of the stream, it aims at (count).
	readTargetFound = 2 * DefaultStreamEvents
	// turnResponses and turnBytes are how many responses (count) of what size (bytes, estimated) Next returns at
	// once. Taking many costs one lock; but what is taken no longer counts towards the stream's bounds.
	turnResponses, turnBytes = keptItems, 64 << 10
	// fairResponses is how many responses a stream with attached watchers sends before it looks after those that
	// catch up (count).
	fairResponses = 16
	// keptItems and keptEvents bound what a stream keeps for reuse (count).
	keptItems, keptEvents = 128, 64

	// DefaultProgressInterval is the time between two progress notices when none is configured.
	DefaultProgressInterval = 10 * time.Minute
	// MinProgressInterval is the shortest time between two progress notices.
	MinProgressInterval = 100 * time.Millisecond
	// progressJitter is the largest part of the interval that is added at random: one over this number.
	progressJitter = 10
)

// Reasons for which a watcher is refused, in the words clients know. A stream's client reads them in the
// response's Reason; the stream itself stays usable.
const (
	reasonCompacted  = "etcdserver: mvcc: required revision has been compacted"
	reasonEmptyRange = "mvcc: watcher range is empty"
	reasonDuplicate  = "mvcc: duplicate watch ID provided on the WatchStream"
	reasonTooMany    = "keelson: too many watchers on one stream"
)

// Errors that end a stream.
var (
	// ErrClosed says that the stream was closed by its owner.
	ErrClosed = errors.New("watch stream is closed")
	// ErrStopped says that the Hub no longer runs, because the server stops.
	ErrStopped = errors.New("watch hub is stopped")
)

// Options are the settings of a Hub; zero values mean the named defaults.
type Options struct {
	// StreamEvents and StreamBytes bound the queue of one stream.
	StreamEvents int
	StreamBytes  int64
	// Seed decides the shape of the match tree and the jitter of progress notices.
	Seed uint64
}

func (o Options) withDefaults() Options {
	if o.StreamEvents <= 0 {
		o.StreamEvents = DefaultStreamEvents
	}
	if o.StreamBytes <= 0 {
		o.StreamBytes = DefaultStreamBytes
	}
	return o
}

// StreamOptions are the settings of one stream.
type StreamOptions struct {
	// ProgressInterval is the time between two progress notices of a watcher that asked for them and had no
	// events; up to a tenth is added at random, so that streams do not tick together.
	ProgressInterval time.Duration
}

func (o StreamOptions) withDefaults() StreamOptions {
	if o.ProgressInterval <= 0 {
		o.ProgressInterval = DefaultProgressInterval
	}
	o.ProgressInterval = max(o.ProgressInterval, MinProgressInterval)
	return o
}
