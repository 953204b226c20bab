package watch

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keelson-db/keelson/internal/mvcc"
)

// follow receives what there is and returns the revisions of the events of one watcher and the largest
// number of them in one response.
func follow(t *testing.T, s *Stream, id int64) (revs []mvcc.Rev, most int) {
	t.Helper()
	drain(t, s, 1<<30, func(r *Response) {
		if r.ID != id {
			return
		}
		if r.Canceled {
			t.Fatalf("the watcher ended: %s", show(r))
		}
		most = max(most, len(r.Events))
		for _, e := range r.Events {
			revs = append(revs, e.Pos.Rev)
		}
	})
	return revs, most
}

// fromStart begins a hub with one watcher that wants everything about one key.
func fromStart(w *world) (*Hub, *Stream) {
	h := New(w.store, Options{})
	s := h.NewStream(StreamOptions{})
	s.Create(Create{Key: []byte("key"), Start: 2})
	return h, s
}

func checkRevs(t *testing.T, revs []mvcc.Rev, from, to mvcc.Rev) {
	t.Helper()
	for i, r := range revs {
		if r != from+mvcc.Rev(i) {
			t.Fatalf("event %d has revision %d, want %d", i, r, from+mvcc.Rev(i))
		}
	}
	if len(revs) != int(to-from)+1 {
		t.Fatalf("%d events, want all of %d to %d", len(revs), from, to)
	}
}

func TestLongHistoryComesInPortions(t *testing.T) {
	w := newWorld(t, mvcc.Options{HistoryEvents: 50})
	defer w.close(t)
	const n = 5000
	for i := 0; i < n; i += 100 {
		keys := make([]string, 100)
		for k := range keys {
			keys[k] = fmt.Sprintf("key=%d", i+k)
		}
		w.put(t, keys...)
	}
	h, s := fromStart(w)
	defer s.Close()
	revs, most := follow(t, s, 0)
	checkRevs(t, revs, 2, n+1)
	if most > maxResponseEvents {
		t.Errorf("a response holds %d events", most)
	}
	if h.Stats().Slow != 0 {
		t.Error("the watcher has everything and is not attached")
	}
}

func TestLargeValuesComeInSmallPortions(t *testing.T) {
	w := newWorld(t, mvcc.Options{})
	defer w.close(t)
	value := strings.Repeat("v", 256<<10)
	const n = 100
	for range n {
		w.put(t, "key="+value)
	}
	h, s := fromStart(w)
	defer s.Close()
	revs, _ := follow(t, s, 0)
	checkRevs(t, revs, 2, n+1)
	if got := s.reader.max; got > 4*readTargetBytes/len(value) {
		t.Errorf("after values of %d bytes the next read asks for %d events", len(value), got)
	}
	// Live responses stop growing too.
	for range n {
		w.put(t, "key="+value)
		pumpAll(t, h)
	}
	revs, most := follow(t, s, 0)
	checkRevs(t, revs, n+2, 2*n+1)
	if most*len(value) > maxResponseBytes+len(value) {
		t.Errorf("a response collects %d events of %d bytes", most, len(value))
	}
}

// A hub that cannot follow leaves its watchers to find their own way, and none of them misses anything.
func TestSkippedHistoryIsReadByEachStream(t *testing.T) {
	w := newWorld(t, mvcc.Options{})
	defer w.close(t)
	h := New(w.store, Options{})
	s := h.NewStream(StreamOptions{})
	defer s.Close()
	s.Create(Create{Key: []byte("key")})
	w.put(t, "key=1", "key=2")
	pumpAll(t, h)
	w.put(t, "key=3", "key=4")
	h.skip()
	if h.pos != 5 || h.Stats().Slow != 1 {
		t.Fatalf("after skipping: position %d, %+v", h.pos, h.Stats())
	}
	w.put(t, "key=5")
	pumpAll(t, h)
	revs, _ := follow(t, s, 0)
	checkRevs(t, revs, 2, 6)
	w.put(t, "key=6")
	pumpAll(t, h)
	revs, _ = follow(t, s, 0)
	checkRevs(t, revs, 7, 7)
}

// One stream that always has something to send must not forget its watchers that read history.
func TestBusyStreamLooksAfterWatchersThatAreBehind(t *testing.T) {
	w := newWorld(t, mvcc.Options{})
	defer w.close(t)
	h := New(w.store, Options{})
	s := h.NewStream(StreamOptions{})
	defer s.Close()
	const busy = 8
	for range busy {
		s.Create(Create{Key: []byte("busy")})
	}
	w.put(t, "old=1")
	pumpAll(t, h)
	s.Create(Create{Key: []byte("old"), Start: 2, ID: 100})
	for i := range 20 {
		w.put(t, fmt.Sprintf("busy=%d", i))
		pumpAll(t, h)
		found := false
		drain(t, s, busy, func(r *Response) { found = found || r.ID == 100 && len(r.Events) > 0 })
		if found {
			return
		}
		if s.queue.len() == 0 {
			t.Fatal("the stream was not kept busy, so this test says nothing")
		}
	}
	t.Fatal("the watcher that is behind never got its event")
}
