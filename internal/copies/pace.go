package copies

import (
	"context"
	"sync"
	"time"
)

const (
	// restBytes is how much is sent, unpacked, before the sender rests, in bytes.
	restBytes = 512 << 10
	// restRate is how much it sends a second at most, unpacked, in bytes: one that is faster rests longer. A disk that
	// is read without a break makes the log wait for its syncs.
	restRate = 256 << 20
	// minRest is the least rest. A sender that never rests takes the processor from those who wait for a put.
	minRest = 500 * time.Microsecond
	// tolerance is how late a timer is on a machine that has nothing to do.
	tolerance = time.Millisecond
	// courtesy is how many times as long as it was let wait a sender rests. Who is let wait for the processor is not
	// alone on it, and a put is let wait as well.
	courtesy = 4
	// maxCourtesy is the longest such rest.
	maxCourtesy = 4 * time.Millisecond
	// minPiece is the least length of a frame that a low rate leaves, in bytes.
	minPiece = 4 << 10
)

// pace spreads what is sent over time, for all senders together.
type pace struct {
	rate int64 // bytes a second; 0 is no limit

	mu   sync.Mutex // guards next
	next time.Time  // when the next byte may go out
}

// piece is the length of a frame: what goes out in a second, if that is less than usual.
func (p *pace) piece() int {
	if p.rate == 0 {
		return pieceBytes
	}
	return int(min(pieceBytes, max(minPiece, p.rate)))
}

// take uses up bytes of the rate, and returns how long that takes from now on.
func (p *pace) take(bytes int) time.Duration {
	if p.rate == 0 {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	p.next = p.next.Add(time.Duration(float64(bytes) / float64(p.rate) * float64(time.Second)))
	return p.next.Sub(now)
}

// sender is one of those who keep the pace. It belongs to one goroutine.
type sender struct {
	pace  *pace
	began time.Time     // when it has rested last
	bytes int           // unpacked, since then
	late  time.Duration // how long it was let wait of late
}

// keep keeps the pace after a frame that was sent.
func (s *sender) keep(ctx context.Context, unpacked, packed int) error {
	rest := s.pace.take(packed)
	if s.bytes += unpacked; s.bytes >= restBytes {
		due := time.Duration(s.bytes) * time.Second / restRate
		rest = max(rest, minRest, due-time.Since(s.began), min(courtesy*s.late, maxCourtesy))
	}
	if rest == 0 {
		return nil
	}
	began := time.Now()
	timer := time.NewTimer(rest)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	s.began, s.bytes = time.Now(), 0
	s.late = max(s.late/2, s.began.Sub(began)-rest-tolerance)
	return nil
}
