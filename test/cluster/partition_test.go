package cluster

import (
	"errors"
	"testing"

	"github.com/keelson-db/keelson/test/harness"
)

// TestPartitions separates members from each other in several ways, under load. Whatever is separated, a majority that
// can talk serves after an election or two, and what anybody was told before, meanwhile and afterwards stays true.
func TestPartitions(t *testing.T) {
	t.Parallel()
	c := harness.Found(t, harness.Founding{Proxied: true})
	load := c.Load(t)
	load.Await(t, someCalls)
	for range rounds(1, 10) {
		for _, p := range partitions() {
			leader, others := c.Leader(t), c.Followers(t)
			p.broken(c.Proxy, leader.Place, others[0].Place, others[1].Place)
			if p.deposed {
				c.Leader(t, leader)
			} else {
				lost := others[0]
				harness.Eventually(t, harness.SettleLimit, p.name+": "+lost.Name+" sees no leader", func() error { return seesNone(t, lost) })
				if now := c.Leader(t, lost); now != leader {
					t.Errorf("%s: %s led before and %s leads now", p.name, leader.Name, now.Name)
				}
			}
			load.Await(t, someCalls)
			c.Proxy.Heal()
			c.WaitHealthy(t)
			load.Await(t, someCalls)
		}
	}
	load.Finish(t)
	c.SameData(t, c.Members...)
}

// partition is one way of separating three members; deposed says whether the leader is the one that is lost.
type partition struct {
	name    string
	deposed bool
	broken  func(p *harness.Proxy, leader, a, b int)
}

func partitions() []partition {
	hole, cut := harness.Fault{Blackhole: true}, harness.Fault{Cut: true}
	return []partition{
		{"leader from both, silently", true, func(p *harness.Proxy, leader, a, b int) {
			p.BreakBoth(leader, a, hole)
			p.BreakBoth(leader, b, hole)
		}},
		{"leader from both, with resets", true, func(p *harness.Proxy, leader, a, b int) {
			p.BreakBoth(leader, a, cut)
			p.BreakBoth(leader, b, cut)
		}},
		{"a follower from the leader only", false, func(p *harness.Proxy, leader, a, _ int) {
			p.BreakBoth(leader, a, hole)
		}},
		{"the leader is not heard", true, func(p *harness.Proxy, leader, a, b int) {
			p.Break(leader, a, hole)
			p.Break(leader, b, hole)
		}},
		{"the leader hears nobody", true, func(p *harness.Proxy, leader, a, b int) {
			p.Break(a, leader, hole)
			p.Break(b, leader, hole)
		}},
		{"a follower hears nobody", false, func(p *harness.Proxy, leader, a, b int) {
			p.Break(leader, a, hole)
			p.Break(b, a, hole)
		}},
	}
}

// seesNone asks a member whether it knows of no leader.
func seesNone(t *testing.T, m *harness.Member) error {
	t.Helper()
	s, err := m.Status(t)
	if err == nil && s.Leader != 0 {
		err = errors.New("it follows a leader")
	}
	return err
}
