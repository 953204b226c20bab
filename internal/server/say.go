package server

import (
	"context"
	"fmt"
	"time"

	"github.com/keelson-db/keelson/internal/copies"
)

// sayPause is the time between two lines about a copy that is on its way.
const sayPause = time.Second

// say tells the operator something, if there is one.
func (e Env) say(format string, args ...any) {
	if e.Say != nil {
		e.Say(fmt.Sprintf(format, args...))
	}
}

// sayCopying tells the operator how far a copy is, until it is told how that ended.
func (e Env) sayCopying(p *copies.Progress) (ended func(error)) {
	if e.Say == nil {
		return func(error) {}
	}
	start, stop, done := time.Now(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(sayPause)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
			if total := p.Total.Load(); total > 0 {
				n := p.Done.Load()
				e.say("copying its state: %s of about %s at %s", amount(n), amount(total), speed(n, start))
			}
		}
	}()
	return func(err error) {
		close(stop)
		<-done
		if n := p.Done.Load(); err == nil {
			e.say("copied %s in %v", amount(n), time.Since(start).Round(100*time.Millisecond))
		}
	}
}

func amount(n int64) string {
	switch {
	case n < 1e6:
		return fmt.Sprintf("%d kB", (n+999)/1000)
	case n < 1e9:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.2f GB", float64(n)/1e9)
}

func speed(n int64, since time.Time) string {
	return fmt.Sprintf("%.0f MB/s", float64(n)/1e6/time.Since(since).Seconds())
}

// tellVote tells the operator of a member that has just joined when it has caught up, and when it has its vote.
func (s *Server) tellVote(ctx context.Context) error {
	if s.env.Say == nil || !s.data.begun {
		return nil
	}
	select {
	case <-ctx.Done():
		return nil
	case <-s.ready:
	}
	members, told := s.data.machine.Members(), false
	for {
		changed := members.Changed()
		if local, ok := members.Get(members.Local()); !ok || !local.Learner {
			if told {
				s.env.say("promoted: it has a vote now")
			}
			return nil
		}
		if !told {
			s.env.say("caught up, as a learner; it gets its vote when the leader has seen that")
			told = true
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}
