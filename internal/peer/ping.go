package peer

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/keelson-db/keelson/internal/frames"
	"github.com/keelson-db/keelson/internal/replica"
)

const (
	// markBytes and pongBytes are the bodies of a ping and a pong, in bytes.
	markBytes = 8
	pongBytes = 16
	// maxClockDifference is from which difference on between two members' clocks it is worth a line in the log.
	maxClockDifference = time.Second
)

// mark tells one ping from another by when it was sent, by this member's own clock since its start.
func (m *Mesh) mark() []byte {
	return binary.LittleEndian.AppendUint64(nil, uint64(time.Since(m.start)))
}

// talk acts on a frame that is not raft's.
func (r *remote) talk(k frames.Kind, body []byte) error {
	switch {
	case k == frames.Question:
		return r.answer(body)
	case k == frames.Answer:
		return r.answered(body)
	case k == frames.Ping && len(body) == markBytes:
		r.senders[replica.Urgent].queue.put(frames.Pong, binary.LittleEndian.AppendUint64(body[:markBytes:markBytes], uint64(time.Now().UnixNano())))
	case k == frames.Pong && len(body) == pongBytes:
		r.measure(body)
	default:
		return fmt.Errorf("%w: kind %d of %d bytes", frames.ErrMalformed, k, len(body))
	}
	return nil
}

// measure notes how long a ping took to come back, and looks at the other member's clock.
func (r *remote) measure(pong []byte) {
	sent := time.Duration(binary.LittleEndian.Uint64(pong))
	took := time.Since(r.mesh.start) - sent
	if sent < 0 || took < 0 || took > time.Minute {
		return // nobody sent that
	}
	r.roundTrip.Observe(took.Seconds())
	theirs := time.Unix(0, int64(binary.LittleEndian.Uint64(pong[markBytes:])))
	difference := time.Since(theirs) - took/2
	if difference.Abs() <= maxClockDifference+took/2 {
		return
	}
	if _, ok := r.clock.due("clock"); ok {
		r.mesh.o.Log.Warn("the clocks of two members differ, and times in their logs with them", "member", r.name,
			"difference", difference.String(), "hint", "keep the machines' clocks in step, as with NTP")
	}
}
