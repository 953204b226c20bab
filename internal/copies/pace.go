package copies

import (
	"context"
	"sync"
	"time"
)

const (
	// minRest is the least time from one frame to the next: 256 MiB a second, unpacked. A sender that never rests
	// takes the processor and the disk from those who wait for a put.
	minRest = time.Second * pieceBytes / (256 << 20)
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

// wait rests after a frame of so many bytes, which was begun at a time.
func (p *pace) wait(ctx context.Context, began time.Time, bytes int) error {
	until := began.Add(minRest)
	if after := p.take(bytes); after.After(until) {
		until = after
	}
	rest := time.NewTimer(time.Until(until))
	defer rest.Stop()
	select {
	case <-rest.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// take uses up bytes of the rate, and returns when they have gone out.
func (p *pace) take(bytes int) (after time.Time) {
	if p.rate == 0 {
		return after
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.next.Before(now) {
		p.next = now
	}
	p.next = p.next.Add(time.Duration(float64(bytes) / float64(p.rate) * float64(time.Second)))
	return p.next
}
