package cluster

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/keelson-db/keelson/test/harness"
)

// chaosSeedEnv fixes the faults of a chaos test.
const chaosSeedEnv = "KEELSON_CLUSTER_SEED"

func chaosDice(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv(chaosSeedEnv); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("read %s: %v", chaosSeedEnv, err)
		}
		seed = n
	}
	t.Logf("%s=%d fixes the faults", chaosSeedEnv, seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// TestWatchersFollowFailovers is about watchers: they stay through failovers on bad networks, with delay, jitter, losses
// and narrow wires between the members, and hear of everything once.
func TestWatchersFollowFailovers(t *testing.T) {
	t.Parallel()
	dice := chaosDice(t)
	c := harness.Found(t, harness.Founding{Proxied: true, Args: quick()})
	load := c.Load(t)
	for range rounds(3, 30) {
		for range 3 {
			load.Watch(t)
		}
		for from := range c.Members {
			for to := range c.Members {
				c.Proxy.Break(from, to, harness.Fault{
					Delay: time.Duration(dice.IntN(10)) * time.Millisecond, Jitter: time.Duration(dice.IntN(20)) * time.Millisecond,
					Loss: dice.Float64() * 0.02, Rate: 100_000 + dice.IntN(1_000_000),
				})
			}
		}
		load.Await(t, someCalls)
		leader := c.Leader(t)
		if dice.IntN(2) == 0 {
			leader.Kill9(t)
			load.Await(t, someCalls)
			c.Start(t, leader)
		} else {
			c.MoveLeader(t, c.Followers(t)[dice.IntN(2)])
		}
		load.Await(t, someCalls)
	}
	c.Proxy.Heal()
	c.WaitHealthy(t)
	load.Finish(t)
	c.SameData(t, c.Members...)
}

// TestPacketsAreLost is a cluster on a network that loses packets below TCP, up to all of them in one direction.
func TestPacketsAreLost(t *testing.T) {
	t.Parallel()
	net := harness.NewNet(t)
	c := harness.Found(t, harness.Founding{Net: net, Args: quick()})
	load := c.Load(t)
	load.Await(t, someCalls)
	for range rounds(1, 10) {
		for place := range c.Members {
			net.Lose(t, place, 0.03, 0, 1, 2)
		}
		load.Await(t, 2*someCalls)
		// One direction goes dark for good, and TCP with it: without acknowledgements the other does not go on either.
		leader := c.Leader(t)
		for place := range c.Members {
			net.Lose(t, place, 0)
		}
		var others []int
		for _, m := range c.Followers(t) {
			others = append(others, m.Place)
		}
		net.Lose(t, leader.Place, 1, others...)
		c.Leader(t, leader)
		load.Await(t, someCalls)
		net.Lose(t, leader.Place, 0)
		c.WaitHealthy(t)
		load.Await(t, someCalls)
	}
	load.Finish(t)
	c.SameData(t, c.Members...)
}

// TestEverythingAtRandom throws one fault after another at five members, two of them hurt at most at a time, while leases
// are renewed and others end.
func TestEverythingAtRandom(t *testing.T) {
	t.Parallel()
	if !*long {
		t.Skip("NOT IN THE EVERYDAY RUN: everything that it mixes has a scenario of its own")
	}
	dice := chaosDice(t)
	args, ways := quick(), 4
	if onKeelson() {
		args, ways = append(args, "--auto-rejoin"), 5
	}
	c := harness.Found(t, harness.Founding{Size: 5, Proxied: true, Args: args})
	load := c.Load(t)
	for range 100 {
		leases := c.Leases(t, leaseTTL, 3, 3)
		hurt := dice.Perm(len(c.Members))[:2]
		for _, place := range hurt {
			harm(t, c, place, dice.IntN(ways))
		}
		load.Await(t, someCalls)
		c.Proxy.Heal()
		for _, place := range hurt {
			m := c.Members[place]
			if m.Proc().Exited() {
				c.Launch(t, m)
			}
			m.Resume(t)
		}
		c.WaitHealthy(t)
		load.Await(t, someCalls)
		if onKeelson() {
			leases.Finish(t) // see TestALeaderOfThePastRenewsNothing
		}
	}
	load.Finish(t)
	c.SameData(t, c.Members...)
}

// harm does one of the things to a member that break members.
func harm(t *testing.T, c *harness.Cluster, place, way int) {
	t.Helper()
	m := c.Members[place]
	isolate := func(f harness.Fault) {
		for other := range c.Members {
			c.Proxy.BreakBoth(place, other, f)
		}
	}
	switch way {
	case 0:
		m.Kill9(t)
	case 1:
		m.Pause(t)
	case 2:
		isolate(harness.Fault{Cut: true})
	case 3:
		for other := range c.Members {
			c.Proxy.Break(place, other, harness.Fault{Blackhole: true})
		}
	default:
		m.Kill9(t)
		m.Wipe(t)
	}
}
