package replica

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/raft/v3/raftpb"
)

// TestWhatHasNoRoomIsLostAndCounted fills an outbox by messages and by bytes. What finds it closed is lost as on a cut
// wire, which is counted where the wire is.
func TestWhatHasNoRoomIsLostAndCounted(t *testing.T) {
	full := &counter{}
	small := &raftpb.Message{}
	large := &raftpb.Message{Entries: []*raftpb.Entry{{Data: make([]byte, MaxOutboxBytes)}}}
	o := newOutbox(full)
	if o.put(small) || full.n != 0 {
		t.Error("a closed outbox takes a message, or calls itself full")
	}
	o.Open()
	for i := range MaxOutboxMessages {
		if !o.put(small) {
			t.Fatalf("message %d has no room", i)
		}
	}
	if o.put(small) || full.n != 1 {
		t.Errorf("too many messages: %d were counted", full.n)
	}
	if n := len(o.Take()); n != MaxOutboxMessages {
		t.Errorf("%d messages", n)
	}
	if !o.put(large) || o.put(large) || !o.put(small) || full.n != 2 {
		t.Errorf("too many bytes: %d were counted", full.n)
	}
}

// counter is one that can be read.
type counter struct {
	prometheus.Counter
	n int
}

func (c *counter) Inc() { c.n++ }
