package harness

import (
	"context"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// progressEvery is how often a watcher asks how far its stream is.
	progressEvery = 150 * time.Millisecond
	// rewatch is the pause before a watch that was ended is opened again.
	rewatch = 50 * time.Millisecond
)

// Watcher follows the keys under a prefix from a revision on, through restarts and failovers, as a client would who must
// not miss anything: it goes on behind the last revision that it knows.
type Watcher struct {
	client *clientv3.Client
	prefix string
	from   int64
	member *Member // whom it asks alone; nil for the whole cluster
	cut    bool    // what it has missed may be compacted

	mu       sync.Mutex
	events   []Event
	next     int64 // the first revision that it has not heard of
	promised int64 // no event up to here may come any more
	wrong    []string
	gaps     [][2]int64 // first and last revisions that were compacted before it could hear of them
}

// NewWatcher prepares a watcher; an empty prefix is everything.
func NewWatcher(client *clientv3.Client, prefix string, from int64) *Watcher {
	return &Watcher{client: client, prefix: prefix, from: from, next: from, promised: from - 1}
}

func (w *Watcher) run(stop <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-stop
		cancel()
	}()
	for ctx.Err() == nil {
		w.follow(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(rewatch):
		}
	}
}

// follow opens one watch and reads it to its end.
func (w *Watcher) follow(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if w.member == nil {
		// Whoever asks any member wants to hear when one is alone, to go to another; who asks only one stays and waits.
		ctx = clientv3.WithRequireLeader(ctx)
	}
	w.mu.Lock()
	next := w.next
	w.mu.Unlock()
	opts := []clientv3.OpOption{clientv3.WithRev(next), clientv3.WithPrefix(), clientv3.WithProgressNotify()}
	channel := w.client.Watch(ctx, w.prefix, opts...)
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case resp, open := <-channel:
			if !open {
				return
			}
			w.take(resp)
		case <-tick.C:
			_ = w.client.RequestProgress(ctx)
		}
	}
}

// take notes one response and what is wrong with it.
func (w *Watcher) take(resp clientv3.WatchResponse) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if resp.CompactRevision != 0 {
		if !w.cut || resp.CompactRevision <= w.next {
			w.complain("the watch was cancelled as compacted at %d, it had asked for %d", resp.CompactRevision, w.next)
			return
		}
		w.gaps = append(w.gaps, [2]int64{w.next, resp.CompactRevision - 1})
		w.next = resp.CompactRevision
		return
	}
	if resp.IsProgressNotify() {
		w.promised = max(w.promised, resp.Header.Revision)
		w.next = max(w.next, resp.Header.Revision+1)
		return
	}
	for _, ev := range resp.Events {
		e := Event{
			Revision: ev.Kv.ModRevision, Key: string(ev.Kv.Key), Value: short(ev.Kv.Value), Version: ev.Kv.Version,
			Deleted: ev.Type == clientv3.EventTypeDelete,
		}
		if e.Revision <= w.promised {
			w.complain("%+v came after the stream had said that everything up to %d was sent", e, w.promised)
		}
		w.events = append(w.events, e)
	}
	if n := len(w.events); len(resp.Events) > 0 {
		last := w.events[n-1].Revision
		// All changes of one revision come in one response, so the revision is complete.
		w.promised, w.next = max(w.promised, last), max(w.next, last+1)
	}
}

// short is a value, or what stands for it where it is too long to be kept for every watcher.
func short(value []byte) string {
	const longest = 64 // bytes
	if len(value) <= longest {
		return string(value)
	}
	return fmt.Sprintf("%d bytes %08x", len(value), crc32.ChecksumIEEE(value))
}

// complain notes what is wrong. The caller holds the mutex.
func (w *Watcher) complain(format string, args ...any) {
	if len(w.wrong) < mostFindings {
		w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
	}
}

// reached says whether the watcher knows all up to a revision.
func (w *Watcher) reached(revision int64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next > revision {
		return nil
	}
	return fmt.Errorf("it waits for revision %d and not beyond %d", w.next, revision)
}

// snapshot is what the watcher has received, the last revision that it knows of, and what was wrong.
func (w *Watcher) snapshot() (events []Event, until int64, wrong []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Event(nil), w.events...), w.next - 1, append([]string(nil), w.wrong...)
}

// could is the part of a history that the watcher could hear of: what was compacted before is none of it.
func (w *Watcher) could(log []Event) []Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(log), func(e Event) bool {
		return slices.ContainsFunc(w.gaps, func(g [2]int64) bool { return e.Revision >= g[0] && e.Revision <= g[1] })
	})
}

// wants says whether a key is one of the watcher's.
func (w *Watcher) wants(key string) bool { return strings.HasPrefix(key, w.prefix) }

func (w *Watcher) name() string {
	who := "the cluster"
	if w.member != nil {
		who = w.member.Name
	}
	return fmt.Sprintf("watcher of %q on %s", w.prefix, who)
}
