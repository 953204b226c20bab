package web

import "testing"

func TestConnectionsPastTheLimitWaitAndTakeThePlaceOfSilentOnes(t *testing.T) {
	slots := NewSlots(2)
	s, other := startSplit(t, nil, SplitOptions{Slots: slots}), startSplit(t, nil, SplitOptions{Slots: slots})
	silent := s.dial("")
	eventually(t, "it is inside", func() bool { return len(slots.taken) == 1 })
	other.dial("GET /")
	acceptFrom(t, other.HTTP())
	s.dial("GET /")
	first := acceptFrom(t, s.HTTP())
	closedByServer(t, silent)

	s.dial(preface)
	eventually(t, "the limit is told of", func() bool { return s.log.count("as many client connections as there may be") == 1 })
	select {
	case <-s.grpc.conns:
		t.Error("there is one connection more than there may be")
	default:
	}
	first.Close()
	first.Close() // gives back nothing a second time
	acceptFrom(t, s.GRPC())
	if n := len(slots.taken); n != 2 {
		t.Errorf("%d slots are taken, want 2", n)
	}

	s.dial("GET /")
	eventually(t, "it waits", func() bool { return s.fullComplaint.seen() == 2 })
	s.cancel() // nobody waits for a slot then
	<-s.ended
	s.ended <- nil
}

// seen is how often something was complained of, aloud or not.
func (c *complaint) seen() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next.IsZero() {
		return 0
	}
	return c.missed + 1
}
