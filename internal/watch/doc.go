// Package watch lets many clients follow the history of the keys. A watcher is
// a cursor over history: a range, filters, and the next revision it needs.
//
// # How events travel
//
// The Hub follows the newest history once for everybody. When the store
// signals a change it reads what is new, matches every event against the
// ranges that are watched (watchers of the same range share one group, so they
// are matched once), and appends the event to the queue of every stream that
// wants it. The store's writer knows nothing of this.
//
// A watcher that needs older history, or whose stream does not keep up, is
// detached: the Hub forgets it, and the goroutine that sends to that client
// reads history itself, at the client's own pace, until it has caught up with
// the Hub and attaches the watcher again. So a slow client costs only itself;
// it is never cancelled for slowness, and it sees the same events in the same
// order.
//
// # Goroutines
//
// Hub.Run is one. Every stream has one sender, the caller of Next, and any
// number of callers of its other methods. The package starts none of its own.
//
// # Invariants
//
// Hub.pos is the revision up to which every event was distributed. An attached
// watcher has received (into its queue) everything it wants up to pos, and its
// next revision decides what it takes after that. A watcher attaches only if
// next > pos, checked under the Hub's mutex, and detaches only between two
// revisions. Both together mean: no gap, no duplicate, no split revision.
//
// One mutex, the Hub's, guards the match tree, every watcher's state and the
// queues. It is held for lines: no reading of history, no encoding and no
// sending happens under it.
//
// # Limits
//
// See options.go. Only the distance of one stream is bounded in memory; what
// lies further back stays in the store until the client asks for it.
package watch
