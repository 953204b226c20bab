package watch

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-db/keelson/internal/mvcc"
)

func TestIdleWatchersGetProgressNoticesInTime(t *testing.T) {
	w := newWorld(t, mvcc.Options{})
	defer w.close(t)
	w.put(t, "a=1")
	h := New(w.store, Options{})
	synctest.Test(t, func(t *testing.T) {
		s := h.NewStream(StreamOptions{ProgressInterval: time.Second})
		if s.interval < time.Second || s.interval >= 1100*time.Millisecond {
			t.Fatalf("interval %v is not a second and up to a tenth", s.interval)
		}
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan string, 100)
		done := make(chan error)
		go func() {
			for {
				turn, err := s.Next(ctx)
				if err != nil {
					done <- err
					return
				}
				for _, r := range turn {
					got <- show(r)
				}
			}
		}()
		step := func(d time.Duration, want ...string) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			var all []string
			for range len(got) {
				all = append(all, <-got)
			}
			if !slices.Equal(all, want) {
				t.Fatalf("got %q\nwant %q", all, want)
			}
		}
		s.Create(Create{Key: []byte("a")})                       // wants no notices
		s.Create(Create{Key: []byte("a"), ProgressNotify: true}) // wants them
		s.Create(Create{Key: []byte("b"), ProgressNotify: true})
		s.Create(Create{Key: []byte("b"), Start: 100, ProgressNotify: true}) // has not begun
		step(time.Millisecond, "id=0 rev=2 created", "id=1 rev=2 created", "id=2 rev=2 created", "id=3 rev=2 created")
		step(s.interval, "id=1 rev=2", "id=2 rev=2")
		w.put(t, "a=2")
		pumpAll(t, h)
		step(s.interval, "id=0 rev=3 put(a)@3.0", "id=1 rev=3 put(a)@3.0", "id=2 rev=3")
		step(s.interval, "id=1 rev=3", "id=2 rev=3")
		s.Cancel(2)
		step(s.interval, "id=2 rev=3 canceled", "id=1 rev=3")
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		s.Close()
	})
}

func TestIntervalHasAFloor(t *testing.T) {
	w := newWorld(t, mvcc.Options{})
	defer w.close(t)
	s := New(w.store, Options{}).NewStream(StreamOptions{ProgressInterval: 1})
	defer s.Close()
	if s.interval < MinProgressInterval {
		t.Fatalf("interval is %v", s.interval)
	}
}

func TestRoomMakesAClientWaitThatDoesNotReceive(t *testing.T) {
	w := newWorld(t, mvcc.Options{})
	defer w.close(t)
	s := New(w.store, Options{}).NewStream(StreamOptions{})
	for range maxControls {
		if err := s.Room(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.Create(Create{Key: []byte("a")})
	}
	if err := s.Room(canceled()); !errors.Is(err, context.Canceled) {
		t.Fatalf("a full stream takes another request: %v", err)
	}
	waits := make(chan error)
	go func() { waits <- s.Room(t.Context()) }()
	if _, err := s.next(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if err := <-waits; err != nil {
		t.Fatal(err)
	}
	s.Create(Create{Key: []byte("a")})
	go func() { waits <- s.Room(t.Context()) }()
	s.Close()
	if err := <-waits; !errors.Is(err, ErrClosed) {
		t.Fatalf("after Close, Room says %v", err)
	}
}

func TestStreamsEndWithTheHub(t *testing.T) {
	w := newWorld(t, mvcc.Options{})
	defer w.close(t)
	h := New(w.store, Options{})
	s := h.NewStream(StreamOptions{})
	ended := make(chan error)
	go func() {
		_, err := s.Next(t.Context())
		ended <- err
	}()
	if err := h.Run(canceled()); !errors.Is(err, context.Canceled) {
		t.Fatalf("Run says %v", err)
	}
	if err := <-ended; !errors.Is(err, ErrStopped) {
		t.Fatalf("Next says %v", err)
	}
	s.Create(Create{Key: []byte("a")})
	late := h.NewStream(StreamOptions{})
	if _, err := late.Next(t.Context()); !errors.Is(err, ErrStopped) {
		t.Fatalf("a stream opened after the end: %v", err)
	}
}
