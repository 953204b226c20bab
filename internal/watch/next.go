package watch

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

// Next waits for the next responses to send and returns what is there, oldest first, up to a bound. They
// are valid until it is called again. Only one goroutine may call it. It is here that watchers which are
// behind read history: between two sends, so at the pace of the client. After an Interrupt it returns once without
// anything.
func (s *Stream) Next(ctx context.Context) ([]*Response, error) { return s.next(ctx, turnResponses) }

func (s *Stream) next(ctx context.Context, limit int) ([]*Response, error) {
	for {
		select {
		case <-s.tickC():
			s.tick()
		default:
		}
		turn, todo, err := s.look(limit)
		switch {
		case errors.Is(err, errInterrupted):
			return nil, nil
		case len(turn) > 0 || err != nil:
			return turn, err
		case todo:
			if err := s.catchUp(); err != nil {
				return nil, err
			}
			continue
		}
		select {
		case <-s.wakeup:
		case <-s.tickC():
			s.tick()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// look takes the oldest responses. Without any, todo says whether there are watchers to catch up; the sender
// looks after those now and then even if there always is a response. With neither, the stream is marked as
// waiting for a token.
func (s *Stream) look(limit int) (turn []*Response, todo bool, err error) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s.forget()
	if err := s.ended(); err != nil {
		if s.ticker != nil {
			s.ticker.Stop()
		}
		return nil, false, err
	}
	if s.interrupted {
		s.interrupted = false
		return nil, false, errInterrupted
	}
	if s.ticks && s.ticker == nil {
		s.ticker = time.NewTicker(s.interval)
	}
	if s.nBehind > 0 && s.sent >= fairResponses && s.queue.events < h.opts.StreamEvents/2 && s.queue.bytes < h.opts.StreamBytes/2 {
		return nil, true, nil
	}
	for size := int64(0); len(s.turn) < limit && size < turnBytes && s.queue.len() > 0; {
		if it := s.pop(); it != nil {
			s.taken, s.turn = append(s.taken, it), append(s.turn, &it.resp)
			size += it.bytes
		}
	}
	switch {
	case len(s.turn) > 0:
		s.sent += len(s.turn)
	case s.nBehind > 0:
		return nil, true, nil
	default:
		s.waiting = true
	}
	return s.turn, false, nil
}

// pop takes the oldest response, or nil if it is for a watcher that has been cancelled since.
func (s *Stream) pop() *item {
	it := s.queue.pop()
	if s.queue.controls+s.asked < maxControls {
		s.giveRoom()
	}
	s.hub.stats.Pending -= len(it.resp.Events)
	if it.w != nil && it.w.open == it {
		it.w.open = nil
	}
	if it.w != nil && it.w.state == gone && it.kind != final {
		s.queue.recycle(it)
		return nil
	}
	s.hub.stats.Sent += uint64(len(it.resp.Events))
	return it
}

// forget gives back what the turn before was made of.
func (s *Stream) forget() {
	for _, it := range s.taken {
		s.queue.recycle(it)
	}
	clear(s.taken)
	clear(s.turn)
	s.taken, s.turn = s.taken[:0], s.turn[:0]
}

// tickC is the channel of the progress ticker, or nil as long as nobody asked for notices.
func (s *Stream) tickC() <-chan time.Time {
	if s.ticker == nil {
		return nil
	}
	return s.ticker.C
}

// ids are the identities of the stream's watchers in order, so that what they get is queued in order.
func (s *Stream) ids() []int64 { return slices.Sorted(maps.Keys(s.watchers)) }
