package watch

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/keelson-db/keelson/internal/mvcc"
)

// follower is what one watcher was promised and what it got.
type follower struct {
	opts     Create
	start    mvcc.Rev
	canceled bool
	got      []mvcc.Pos
	marks    []mark
}

// mark says how many events a watcher had when the progress answer of a revision came.
type mark struct {
	rev    mvcc.Rev
	events int
}

// wants is the naive form of what a watcher asked for.
func (f *follower) wants(e *mvcc.Event) bool {
	if e.Pos.Rev < f.start || e.Delete && f.opts.NoDelete || !e.Delete && f.opts.NoPut {
		return false
	}
	key, end := string(f.opts.Key), string(f.opts.End)
	switch end {
	case "":
		return e.Key == key
	case "\x00":
		return e.Key >= key
	}
	return key <= e.Key && e.Key < end
}

// crew is one stream of the race: a client that receives and checks, and one that creates and cancels.
type crew struct {
	t      *testing.T
	world  *world
	stream *Stream
	rng    *rand.Rand

	mu      sync.Mutex
	asked   []Create // not yet answered, in order
	alive   map[int64]*follower
	all     []*follower
	reached mvcc.Rev // of the newest progress answer
}

func randomCreate(rng *rand.Rand, current mvcc.Rev) Create {
	key := func() []byte { return fmt.Appendf(nil, "k%02d", rng.IntN(20)) }
	c := Create{Key: key(), NoPut: rng.IntN(10) == 0, NoDelete: rng.IntN(10) == 0, PrevKV: rng.IntN(2) == 0}
	switch rng.IntN(4) {
	case 0:
		c.End = []byte{0}
	case 1, 2:
		if end := key(); string(end) > string(c.Key) {
			c.End = end
		}
	}
	switch rng.IntN(3) {
	case 0:
		c.Start = 1 + mvcc.Rev(rng.Int64N(int64(current)))
	case 1:
		c.Start = current + mvcc.Rev(rng.Int64N(20))
	}
	return c
}

// command sends requests at random until the context ends.
func (c *crew) command(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		if c.stream.Room(ctx) != nil {
			return
		}
		c.mu.Lock()
		n := len(c.alive)
		c.mu.Unlock()
		switch k := c.rng.IntN(10); {
		case k < 4 && n < 40:
			cr := randomCreate(c.rng, c.world.store.Stats().Rev)
			c.mu.Lock()
			c.asked = append(c.asked, cr)
			c.mu.Unlock()
			c.stream.Create(cr)
		case k < 7 && n > 20:
			c.stream.Cancel(c.rng.Int64N(200))
		default:
			c.stream.RequestProgress()
		}
		yieldSome(c.rng)
	}
}

func yieldSome(rng *rand.Rand) {
	for range rng.IntN(20) {
		runtime.Gosched()
	}
}

// receive takes responses until the stream ends.
func (c *crew) receive(ctx context.Context) {
	rng := rand.New(rand.NewPCG(uint64(len(c.alive)), 7))
	for {
		turn, err := c.stream.Next(ctx)
		if err != nil {
			if !errors.Is(err, context.Canceled) && !errors.Is(err, ErrStopped) {
				c.t.Errorf("stream ends: %v", err)
			}
			return
		}
		for _, r := range turn {
			c.take(r)
		}
		if rng.IntN(4) == 0 {
			yieldSome(rng)
		}
	}
}

func (c *crew) take(r *Response) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.alive[r.ID]
	switch {
	case r.Created:
		f = &follower{opts: c.asked[0], start: c.asked[0].Start}
		c.asked = c.asked[1:]
		if f.start == 0 {
			f.start = r.Rev + 1
		}
		c.alive[r.ID] = f
		c.all = append(c.all, f)
	case r.Canceled:
		f.canceled = true
		delete(c.alive, r.ID)
	case r.ID == NoID:
		if r.Rev < c.reached {
			c.t.Errorf("progress goes back from %d to %d", c.reached, r.Rev)
		}
		c.reached = r.Rev
		for _, f := range c.alive {
			f.marks = append(f.marks, mark{r.Rev, len(f.got)})
		}
	case f == nil:
		c.t.Errorf("events for watcher %d, which does not exist", r.ID)
	default:
		for _, e := range r.Events {
			f.got = append(f.got, e.Pos)
		}
		if last := r.Events[len(r.Events)-1].Pos.Rev; r.Rev < last {
			c.t.Errorf("header revision %d is below that of event %d", r.Rev, last)
		}
	}
}

// check compares what was received with history: all of it, or if the watcher was cancelled a beginning of
// it; and at each progress answer exactly what belongs to its revision. (Not so for a cancelled one: what was
// queued for it is dropped at once, while older answers still come.)
func (f *follower) check(t *testing.T, history []*mvcc.Event) {
	t.Helper()
	var want []mvcc.Pos
	marks := f.marks
	for _, e := range history {
		for len(marks) > 0 && marks[0].rev < e.Pos.Rev {
			if !f.canceled && marks[0].events != len(want) {
				t.Errorf("%v had %d events at the progress answer of %d, want %d", f, marks[0].events, marks[0].rev, len(want))
			}
			marks = marks[1:]
		}
		if f.wants(e) {
			want = append(want, e.Pos)
		}
	}
	if f.canceled {
		want = want[:min(len(want), len(f.got))]
	}
	if !slices.Equal(f.got, want) {
		t.Errorf("%v got %d events, want %d\n%v\n%v", f, len(f.got), len(want), f.got, want)
	}
}

func (f *follower) String() string {
	return fmt.Sprintf("watcher %q..%q from %d", f.opts.Key, f.opts.End, f.start)
}

// TestEveryWatcherSeesExactlyItsHistory lets a writer, many clients that come and go, and queues that are far
// too small race; every watcher must get every event it wants once and in order.
func TestEveryWatcherSeesExactlyItsHistory(t *testing.T) {
	const groups, streams = 300, 8
	w := newWorld(t, mvcc.Options{HistoryEvents: 100}) // so that history is read from the engine as well
	defer w.close(t)
	h := New(w.store, Options{StreamEvents: 30})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var hub, clients, commands sync.WaitGroup
	hub.Go(func() {
		if err := h.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("hub ends: %v", err)
		}
	})
	commanding, quiet := context.WithCancel(ctx)
	defer quiet()
	crews := make([]*crew, streams)
	for i := range crews {
		c := &crew{t: t, world: w, stream: h.NewStream(StreamOptions{}), rng: rand.New(rand.NewPCG(uint64(i), 3)), alive: map[int64]*follower{}}
		crews[i] = c
		clients.Go(func() { c.receive(ctx) })
		commands.Go(func() { c.command(commanding) })
	}
	rng := rand.New(rand.NewPCG(9, 9))
	for range groups {
		w.write(t, func(wr *mvcc.Writer) {
			for range 1 + rng.IntN(4) {
				tx := wr.NewTx()
				for range 1 + rng.IntN(3) {
					k := fmt.Sprintf("k%02d=%d", rng.IntN(20), rng.IntN(100))
					if rng.IntN(4) == 0 {
						k = "-" + k[:3]
					}
					change(t, tx, k)
				}
				tx.End()
			}
		})
		yieldSome(rng)
	}
	quiet()
	commands.Wait()
	last := w.store.Stats().Rev
	for _, c := range crews {
		c.settle(last)
	}
	cancel()
	clients.Wait()
	hub.Wait()
	history, _, err := w.store.Since(0, math.MaxInt, nil)
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, c := range crews {
		c.stream.Close()
		for _, f := range c.all {
			f.check(t, history)
			total += len(f.got)
		}
	}
	if total == 0 {
		t.Error("no watcher received anything")
	}
	if got := h.Stats(); got.Streams+got.Watchers+got.Slow+got.Pending != 0 || len(h.ranges.points) != 0 || h.ranges.root != nil {
		t.Errorf("after all streams closed something is left: %+v", got)
	}
	t.Logf("%d revisions, %d events received", last, total)
}

// settle waits for a progress answer at the last revision, which proves that all is received.
func (c *crew) settle(last mvcc.Rev) {
	for c.t.Context().Err() == nil {
		c.mu.Lock()
		done := c.reached >= last
		// A watcher whose start was never reached keeps progress from being answered.
		var future []int64
		for id, f := range c.alive {
			if f.start > last {
				future = append(future, id)
			}
		}
		none := len(c.alive) == len(future) && len(c.asked) == 0
		c.mu.Unlock()
		if done || none {
			return
		}
		for _, id := range slices.Sorted(slices.Values(future)) {
			c.stream.Cancel(id)
		}
		if c.stream.Room(c.t.Context()) != nil {
			return
		}
		c.stream.RequestProgress()
		yieldSome(c.rng)
	}
}
