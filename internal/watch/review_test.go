package watch

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/keelson-db/keelson/internal/mvcc"
)

// seen puts the responses of a turn into words that do not change when the next turn comes.
func seen(turn []*Response) (words []string) {
	for _, r := range turn {
		switch {
		case r.Created && r.Canceled:
			words = append(words, "refused: "+r.Reason)
		case r.Created:
			words = append(words, "created")
		case r.Canceled:
			words = append(words, "ended: "+r.Reason)
		default:
			for _, e := range r.Events {
				words = append(words, e.Key)
			}
		}
	}
	return words
}

// takeAll is what the stream has to send now.
func takeAll(t *testing.T, s *Stream) []*Response {
	t.Helper()
	turn, err := s.Next(canceled())
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	return turn
}

func wantSeen(t *testing.T, what string, got []*Response, want ...string) {
	t.Helper()
	if words := seen(got); !slices.Equal(words, want) {
		t.Errorf("%s: %q, want %q", what, words, want)
	}
}

func newReviewed(t *testing.T) (*world, *Hub, *Stream) {
	t.Helper()
	w := newWorld(t, mvcc.Options{})
	h := New(w.store, Options{})
	s := h.NewStream(StreamOptions{})
	t.Cleanup(func() { s.Close(); w.close(t) })
	return w, h, s
}

func secret(key, _ []byte) string {
	if string(key) == "secret" {
		return "no longer"
	}
	return ""
}

func TestNothingIsSeenThroughAWatcherThatAReviewEnds(t *testing.T) {
	w, h, s := newReviewed(t)
	s.Create(Create{ID: 1, Key: []byte("secret")})
	s.Create(Create{ID: 2, Key: []byte("open")})
	w.put(t, "secret", "open")
	pumpAll(t, h)
	turn := takeAll(t, s)
	wantSeen(t, "before", turn, "created", "created", "secret", "open")
	wantSeen(t, "reviewed", s.Review(secret), "created", "created", "open")
	wantSeen(t, "reviewed again", s.Review(secret), "created", "created", "open")
	w.put(t, "secret", "open") // some of it is in the queue, some in nobody's hands
	pumpAll(t, h)
	wantSeen(t, "after", takeAll(t, s), "ended: no longer", "open")
	if n := h.Stats().Watchers; n != 1 {
		t.Errorf("%d watchers are left", n)
	}
}

func TestAReviewEndsWatchersThatReadHistory(t *testing.T) {
	w, h, s := newReviewed(t)
	w.put(t, "secret", "open")
	pumpAll(t, h)
	s.Create(Create{ID: 1, Key: []byte("secret"), Start: 1})
	s.Create(Create{ID: 2, Key: []byte("open"), Start: 1})
	wantSeen(t, "at first", takeAll(t, s), "created", "created")
	s.Review(secret)
	var all []string
	for turn := takeAll(t, s); len(turn) > 0; turn = takeAll(t, s) {
		all = append(all, seen(turn)...)
	}
	if !slices.Equal(all, []string{"ended: no longer", "open"}) {
		t.Errorf("then %q", all)
	}
}

func TestRangesAreReviewedInTheFormTheyCameIn(t *testing.T) {
	_, _, s := newReviewed(t)
	for i, c := range []Create{
		{Key: []byte("a")}, {Key: []byte("a"), End: []byte("b")}, {Key: []byte("a"), End: []byte{0}}, {End: []byte{0}}, {},
	} {
		c.ID = int64(i + 1)
		s.Create(c)
	}
	var got []string
	s.Review(func(key, end []byte) string {
		got = append(got, string(key)+"/"+string(end))
		return ""
	})
	if want := []string{"a/", "a/b", "a/\x00", "\x00/\x00", "\x00/"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestARefusalIsAnAnswerInItsTurn(t *testing.T) {
	_, _, s := newReviewed(t)
	s.Create(Create{Key: []byte("a")})
	s.Refuse("not you")
	s.Create(Create{Key: []byte("b")})
	turn := takeAll(t, s)
	wantSeen(t, "answers", turn, "created", "refused: not you", "created")
	if turn[1].ID != NoID {
		t.Errorf("the refusal is for watcher %d", turn[1].ID)
	}
}

func TestAnInterruptWakesASenderOnce(t *testing.T) {
	_, h, s := newReviewed(t)
	h.Interrupt()
	if turn, err := s.Next(context.Background()); len(turn) != 0 || err != nil {
		t.Errorf("%v, %v", turn, err)
	}
	if _, err := s.Next(canceled()); !errors.Is(err, context.Canceled) {
		t.Errorf("a second time: %v", err)
	}
}
