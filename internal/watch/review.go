package watch

import "errors"

// Refuse answers a request for a watcher that there may not be, in the order of the requests.
func (s *Stream) Refuse(reason string) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.ended() != nil {
		return
	}
	current, _ := h.revs()
	s.reply(Response{ID: NoID, Rev: current, Created: true, Canceled: true, Reason: reason})
}

// errInterrupted tells Next that the stream was interrupted.
var errInterrupted = errors.New("the stream was interrupted")

// Interrupt makes Next return on every stream, once and with nothing, so that whoever calls it can look
// whether what the watchers see may still be seen.
func (h *Hub) Interrupt() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.streams {
		s.interrupted = true
		s.rouse()
	}
}

// Review ends every watcher for which judge has a reason, and returns what is left of the responses that Next
// returned last: nothing more is seen through a watcher that was ended. Only the caller of Next may call it.
// A range has the form that it has in Create.
func (s *Stream) Review(judge func(key, end []byte) (reason string)) []*Response {
	denied := map[*watcher]string{}
	for _, w := range s.live() {
		if reason := judge(w.wire()); reason != "" {
			denied[w] = reason
		}
	}
	if len(denied) > 0 {
		s.deny(denied)
	}
	return s.turn
}

// live are the watchers that may yet see something. They are judged without the Hub's mutex, which everybody
// else needs meanwhile.
func (s *Stream) live() []*watcher {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	list := make([]*watcher, 0, len(s.watchers))
	for _, id := range s.ids() {
		if w := s.watchers[id]; w.state != lost {
			list = append(list, w)
		}
	}
	return list
}

// deny ends watchers that their client has not cancelled meanwhile, and takes from the turn what is for any
// that ended.
func (s *Stream) deny(denied map[*watcher]string) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.ended() != nil {
		return
	}
	current, _ := h.revs()
	for _, id := range s.ids() {
		if w := s.watchers[id]; denied[w] != "" {
			s.drop(w)
			s.reply(Response{ID: id, Rev: current, Canceled: true, Reason: denied[w]})
		}
	}
	s.turn = s.turn[:0]
	for _, it := range s.taken {
		if it.w == nil || it.w.state != gone || it.kind == final {
			s.turn = append(s.turn, &it.resp)
		}
	}
	clear(s.turn[len(s.turn):len(s.taken)])
}

// wire is the watcher's range as Create has it.
func (w *watcher) wire() (key, end []byte) {
	switch {
	case w.point:
	case w.to.open:
		end = []byte{0}
	default:
		end = []byte(w.to.key)
	}
	return []byte(w.from), end
}
