package watch

import (
	"context"
	"time"

	"github.com/keelson-db/keelson/internal/mvcc"
)

// Stream is the watchers of one client connection and the responses that wait
// for it. One goroutine calls Next; the other methods may be called by others
// at the same time.
type Stream struct {
	hub      *Hub
	interval time.Duration // between two progress ticks, jitter included
	wakeup   chan struct{} // holds a token when the sender has to look again
	room     chan struct{} // holds a token when an answer left the queue

	// The Hub's mutex guards these.
	watchers map[int64]*watcher
	nextID   int64
	queue    queue
	epoch    uint64     // grows with each stream-wide progress answer, which no earlier item may then overtake
	late     []*watcher // those behind that wait for the sender; may hold cancelled ones
	nBehind  int        // watchers behind
	nLost    int        // watchers lost
	asked    int        // progress requests that wait for the Hub
	askedRev mvcc.Rev   // the revision it must reach first
	ticks    bool       // some watcher asked for progress notices
	closed   bool
	waiting  bool // the sender waits for a token
	crowded  bool // somebody waits for room
	touched  bool // listed in Hub.touched
	overfull bool // listed in Hub.overfull

	interrupted bool // Next is to return

	// The sender alone uses these.
	taken  []*item     // what the responses of the turn stand in
	turn   []*Response // what Next returned last
	ticker *time.Ticker
	sent   int // responses handed out since watchers that are behind were looked after
	reader reader
}

// NewStream begins a stream, which its owner must Close.
func (h *Hub) NewStream(o StreamOptions) *Stream {
	o = o.withDefaults()
	s := &Stream{
		hub:      h,
		wakeup:   make(chan struct{}, 1),
		room:     make(chan struct{}, 1),
		watchers: make(map[int64]*watcher),
		reader:   reader{max: firstReadEvents},
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s.interval = o.ProgressInterval + time.Duration(h.rng.Int64N(int64(o.ProgressInterval)/progressJitter))
	h.streams[s] = struct{}{}
	h.stats.Streams++
	return s
}

// Room waits until the stream can take another request. Answers are bounded, so a client that sends
// requests and never reads is made to wait.
func (s *Stream) Room(ctx context.Context) error {
	for {
		s.hub.mu.Lock()
		err := s.ended()
		free := s.queue.controls+s.asked < maxControls
		s.crowded = !free
		s.hub.mu.Unlock()
		if err != nil || free {
			return err
		}
		select {
		case <-s.room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Create adds a watcher. The answer, positive or not, is the next response of its kind in the order of the
// requests, and comes before any event of that watcher.
func (s *Stream) Create(c Create) {
	h := s.hub
	w, ok := newWatcher(s, c)
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.ended() != nil {
		return
	}
	current, _ := h.revs() // under the mutex: so it cannot be less than pos
	id, reason := s.admit(c, ok)
	if reason != "" {
		s.reply(Response{ID: NoID, Rev: current, Created: true, Canceled: true, Reason: reason})
		return
	}
	w.id, w.next = id, c.Start
	if c.Start == 0 {
		w.next = current + 1
	}
	s.watchers[id] = w
	s.ticks = s.ticks || c.ProgressNotify
	h.stats.Watchers++
	s.reply(Response{ID: id, Rev: current, Created: true})
	s.place(w)
}

// admit chooses the watcher's identity or says why there can be none.
func (s *Stream) admit(c Create, validRange bool) (id int64, reason string) {
	switch {
	case c.Start < 0:
		return 0, reasonCompacted
	case !validRange:
		return 0, reasonEmptyRange
	case len(s.watchers) >= maxWatchers:
		return 0, reasonTooMany
	}
	if c.ID != 0 {
		if s.watchers[c.ID] != nil {
			return 0, reasonDuplicate
		}
		return c.ID, ""
	}
	for s.watchers[s.nextID] != nil {
		s.nextID++
	}
	id = s.nextID
	s.nextID++
	return id, ""
}

// Cancel ends a watcher, drops its queued events and answers; an unknown id gets no answer.
func (s *Stream) Cancel(id int64) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	w := s.watchers[id]
	if w == nil || s.ended() != nil {
		return
	}
	s.drop(w)
	current, _ := h.revs()
	s.reply(Response{ID: id, Rev: current, Canceled: true})
}

// RequestProgress asks for a response that says how far all of the stream's watchers are. It is answered
// only if all are attached now and when the Hub has distributed what is current now; otherwise never.
func (s *Stream) RequestProgress() {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	current, _ := h.revs()
	if s.ended() != nil || !s.synced(current) {
		return
	}
	s.asked++
	s.askedRev = current
	if !s.answerProgress() && s.asked == 1 {
		h.asking = append(h.asking, s)
	}
	s.rouse()
}

// Close ends the stream; a call of Next returns ErrClosed.
func (s *Stream) Close() {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	for _, w := range s.watchers {
		s.drop(w)
	}
	h.stats.Streams--
	h.stats.Pending -= s.queue.events
	s.queue, s.late = queue{}, nil
	delete(h.streams, s)
	s.rouse()
	s.giveRoom()
}

// ended says why the stream no longer works, if so.
func (s *Stream) ended() error {
	switch {
	case s.closed:
		return ErrClosed
	case s.hub.stopped:
		return ErrStopped
	}
	return nil
}

// reply queues an answer.
func (s *Stream) reply(r Response) {
	it := s.queue.push(control, nil)
	r.Events = it.resp.Events
	it.resp = r
	s.rouse()
}

// place attaches the watcher if it needs nothing that was already distributed, else leaves it to the sender.
func (s *Stream) place(w *watcher) {
	if w.next > s.hub.pos {
		w.state = attached
		s.hub.ranges.add(w)
		return
	}
	s.leaveBehind(w)
}

func (s *Stream) leaveBehind(w *watcher) {
	w.state, w.open = behind, nil
	s.late = append(s.late, w)
	s.nBehind++
	s.hub.stats.Slow++
}

// detachAll leaves every attached watcher behind, to go on at revision next.
func (s *Stream) detachAll(next mvcc.Rev) {
	for _, w := range s.watchers {
		if w.state == attached {
			s.hub.ranges.remove(w)
			w.next = max(w.next, next)
			s.leaveBehind(w)
		}
	}
}

// drop forgets a watcher in whatever state it is.
func (s *Stream) drop(w *watcher) {
	switch w.state {
	case attached:
		s.hub.ranges.remove(w)
	case behind:
		s.nBehind--
		s.hub.stats.Slow--
	case lost:
		s.nLost--
	}
	w.state, w.open = gone, nil
	delete(s.watchers, w.id)
	s.hub.stats.Watchers--
}

// offer queues an event for a watcher, in the item that is still open if there is one. The sender is woken
// at the end of the Hub's turn.
func (s *Stream) offer(w *watcher, e *mvcc.Event) {
	it := w.open
	if it == nil || it.epoch != s.epoch || it.full(e.Pos.Rev) {
		it = s.begin(w)
		w.open = it
	}
	it.resp.Rev = e.Pos.Rev
	s.queue.take(it, e, w.weight(e))
	w.active = true
	s.hub.stats.Pending++
	s.touch()
	o := &s.hub.opts
	if !s.overfull && (s.queue.events > o.StreamEvents || s.queue.bytes > o.StreamBytes) {
		s.overfull = true
		s.hub.overfull = append(s.hub.overfull, s)
	}
}

// begin queues an item for events of the watcher.
func (s *Stream) begin(w *watcher) *item {
	it := s.queue.push(data, w)
	it.epoch = s.epoch
	it.resp.ID, it.resp.PrevKV, it.resp.Fragment = w.id, w.opts.PrevKV, w.opts.Fragment
	return it
}

// touch lists the stream for waking at the end of the turn.
func (s *Stream) touch() {
	if !s.touched {
		s.touched = true
		s.hub.touched = append(s.hub.touched, s)
	}
}

// rouse wakes the sender if it waits.
func (s *Stream) rouse() {
	if s.waiting {
		s.waiting = false
		signal(s.wakeup)
	}
}

// giveRoom wakes whoever waits in Room.
func (s *Stream) giveRoom() {
	if s.crowded {
		s.crowded = false
		signal(s.room)
	}
}

// signal leaves a token if there is none yet.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
