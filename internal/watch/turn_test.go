package watch

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keelson-db/keelson/internal/mvcc"
)

// turn takes one turn that can be had without waiting.
func turn(t *testing.T, s *Stream) []*Response {
	t.Helper()
	r, err := s.Next(canceled())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestNextReturnsAllThatWaitsUpToItsBounds(t *testing.T) {
	w := newWorld(t, mvcc.Options{})
	defer w.close(t)
	h := New(w.store, Options{})
	s := h.NewStream(StreamOptions{})
	defer s.Close()
	const watchers = turnResponses + 10
	for i := range watchers {
		s.Create(Create{ID: int64(i + 1), Key: []byte("key")})
	}
	if first, second := turn(t, s), turn(t, s); len(first) != turnResponses || len(second) != 10 {
		t.Fatalf("%d answers and then %d, want %d and 10", len(first), len(second), turnResponses)
	}
	w.put(t, "key="+strings.Repeat("v", turnBytes/4))
	pumpAll(t, h)
	seen := 0
	for seen < watchers {
		for _, r := range turn(t, s) {
			if seen++; r.ID != int64(seen) || len(r.Events) != 1 {
				t.Fatalf("response %d is %s", seen, show(r))
			}
		}
		if n := len(s.turn); n > 4 {
			t.Fatalf("a turn of %d responses, each a quarter of what one may hold", n)
		}
	}
	if got := h.Stats(); got.Pending != 0 || got.Sent != watchers {
		t.Fatalf("after all was taken: %+v", got)
	}
}

func TestATurnLeavesOutCancelledWatchers(t *testing.T) {
	w := newWorld(t, mvcc.Options{})
	defer w.close(t)
	h := New(w.store, Options{})
	s := h.NewStream(StreamOptions{})
	defer s.Close()
	for i := range 3 {
		s.Create(Create{ID: int64(i + 1), Key: []byte("key")})
	}
	turn(t, s)
	w.put(t, "key=1")
	pumpAll(t, h)
	s.Cancel(2)
	var ids []string
	for _, r := range turn(t, s) {
		ids = append(ids, fmt.Sprintf("%d/%v", r.ID, r.Canceled))
	}
	if got, want := strings.Join(ids, " "), "1/false 3/false 2/true"; got != want {
		t.Fatalf("turn %s, want %s", got, want)
	}
}
