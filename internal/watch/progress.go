package watch

import "github.com/keelson-db/keelson/internal/mvcc"

// synced reports whether the stream has watchers and every one of them is attached and has reached the start
// its client asked for.
func (s *Stream) synced(current mvcc.Rev) bool {
	if len(s.watchers) == 0 || s.nBehind > 0 || s.nLost > 0 {
		return false
	}
	for _, w := range s.watchers {
		if w.opts.Start > current {
			return false
		}
	}
	return true
}

// answerProgress settles the stream's progress requests and reports true, unless the Hub has yet to reach
// their revision. The answer stands in the queue behind every event up to its revision, and a new epoch
// keeps later events from joining items before it, so that revisions on the stream do not go backwards.
func (s *Stream) answerProgress() bool {
	if s.asked == 0 {
		return true
	}
	if s.hub.pos < s.askedRev {
		return false
	}
	if s.synced(s.hub.pos) {
		for range s.asked {
			s.reply(Response{ID: NoID, Rev: s.hub.pos})
		}
		s.epoch++
	}
	s.asked = 0
	s.giveRoom()
	return true
}

// tick queues a notice for every attached watcher that asked for them and had no events since the last
// tick. While notices of the tick before still wait it does nothing, so that they cannot pile up.
func (s *Stream) tick() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if s.queue.notices > 0 {
		return
	}
	for _, id := range s.ids() {
		w := s.watchers[id]
		if !w.opts.ProgressNotify {
			continue
		}
		if !w.active && w.state == attached && w.opts.Start <= s.hub.pos {
			it := s.queue.push(notice, w)
			it.resp.ID, it.resp.Rev = w.id, s.hub.pos
			w.open = nil
		}
		w.active = false
	}
}
