package cluster

import (
	"testing"

	"github.com/keelson-db/keelson/test/harness"
)

// TestAClusterWithCertificates runs a cluster that speaks TLS between its members and to its clients and demands
// certificates of both: it survives the death of any one member, and one is replaced.
func TestAClusterWithCertificates(t *testing.T) {
	t.Parallel()
	c := harness.Found(t, harness.Founding{TLS: true, Proxied: true, Args: quick()})
	load := c.Load(t)
	load.Await(t, someCalls)
	tableShows(t, c, c.Leader(t), 3, 0)
	for range rounds(1, 5) {
		leader := c.Leader(t)
		leader.Kill9(t)
		load.Await(t, someCalls)
		c.Start(t, leader)
		c.WaitHealthy(t)
		leader, others := c.Leader(t), c.Followers(t)
		for _, m := range others {
			c.Proxy.BreakBoth(leader.Place, m.Place, harness.Fault{Cut: true})
		}
		c.Leader(t, leader)
		load.Await(t, someCalls)
		c.Proxy.Heal()
		c.WaitHealthy(t)
	}
	dead := c.Leader(t)
	load.Leave(dead)
	dead.Kill9(t)
	c.Remove(t, dead)
	fresh := c.Add(t, false)
	c.Start(t, fresh)
	c.WaitHealthy(t)
	load.Join(t, fresh)
	load.Await(t, someCalls)
	tableShows(t, c, fresh, 3, 0)
	load.Finish(t)
	c.SameData(t, c.Running()...)
}

// TestConfusedNewcomersHarmNobody starts members that have no business in a cluster: with another token, under an
// address that the cluster does not know, and with the addresses of a cluster that runs. The cluster goes on as before.
func TestConfusedNewcomersHarmNobody(t *testing.T) {
	t.Parallel()
	c := harness.Found(t, harness.Founding{})
	load := c.Load(t)
	load.Await(t, someCalls)
	leader := c.Leader(t)
	term := termOf(t, leader)
	addr := harness.FreeAddr(t)
	known := "m1=" + c.Members[0].AdvertisedURL() + ",m2=" + c.Members[1].AdvertisedURL()
	for _, n := range []struct {
		name, cluster string
		args          []string
	}{
		{"another token", known + ",n1=http://" + addr, []string{"--initial-cluster-token", "another"}},
		{"nobody added it", known + ",n1=http://" + addr, []string{"--initial-cluster-state", "existing"}},
		{"a new cluster with members of another", known + ",n1=http://" + addr, nil},
	} {
		stranger := harness.New(t, harness.Options{
			PeerAddr: addr, InitialCluster: n.cluster, Args: append(quick(), n.args...), QuietLog: true,
		})
		stranger.Launch(t)
		load.Await(t, 2*someCalls)
		if now := c.Leader(t); now != leader || termOf(t, leader) != term {
			t.Errorf("%s: %s leads in term %d, before it was %s in term %d", n.name, now.Name, termOf(t, now), leader.Name, term)
		}
		stranger.Proc().End()
	}
	tableShows(t, c, leader, 3, 0)
	load.Finish(t)
	c.SameData(t, c.Members...)
}

func termOf(t *testing.T, m *harness.Member) uint64 {
	t.Helper()
	s, err := m.Status(t)
	if err != nil {
		t.Fatalf("status of %s: %v", m.Name, err)
	}
	return s.RaftTerm
}
