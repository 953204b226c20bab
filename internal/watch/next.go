package watch

import (
	"context"
	"maps"
	"slices"
	"time"
)

// Next waits for the next response to send. Only one goroutine may call it. It is here that watchers which
// are behind read history: between two sends, so at the pace of the client.
func (s *Stream) Next(ctx context.Context) (*Response, error) {
	for {
		select {
		case <-s.tickC():
			s.tick()
		default:
		}
		r, todo, err := s.look()
		switch {
		case r != nil || err != nil:
			return r, err
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

// look takes the oldest response. Without one, todo says whether there are watchers to catch up; the sender
// looks after those now and then even if there always is a response. With neither, the stream is marked as
// waiting for a token.
func (s *Stream) look() (r *Response, todo bool, err error) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.current != nil {
		s.queue.recycle(s.current)
		s.current = nil
	}
	if err := s.ended(); err != nil {
		if s.ticker != nil {
			s.ticker.Stop()
		}
		return nil, false, err
	}
	if s.ticks && s.ticker == nil {
		s.ticker = time.NewTicker(s.interval)
	}
	if s.nBehind > 0 && s.turns >= fairTurns && s.queue.events < h.opts.StreamEvents/2 && s.queue.bytes < h.opts.StreamBytes/2 {
		return nil, true, nil
	}
	for s.queue.len() > 0 {
		it := s.queue.pop()
		if s.queue.controls+s.asked < maxControls {
			s.giveRoom()
		}
		h.stats.Pending -= len(it.resp.Events)
		if it.w != nil && it.w.open == it {
			it.w.open = nil
		}
		if it.w != nil && it.w.state == gone && it.kind != final {
			s.queue.recycle(it)
			continue
		}
		h.stats.Sent += uint64(len(it.resp.Events))
		s.current = it
		s.turns++
		return &it.resp, false, nil
	}
	if s.nBehind > 0 {
		return nil, true, nil
	}
	s.waiting = true
	return nil, false, nil
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
