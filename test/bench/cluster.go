package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// clusterSize is the number of members of every cluster measured.
const clusterSize = 3

// agreeLimit bounds the wait until all members say the same.
const agreeLimit = 60 * time.Second

// agreePoll is the pause between two looks at the members.
const agreePoll = 20 * time.Millisecond

// cluster is a number of members of one product.
type cluster struct {
	members []*server
}

// layOut finds places for the members of a new cluster, with their data under dir.
func layOut(dir string) ([]place, error) {
	free, err := freeAddresses(2 * clusterSize)
	if err != nil {
		return nil, err
	}
	var places []place
	var initial []string
	for i := range clusterSize {
		name := fmt.Sprintf("m%d", i)
		at := place{name: name, dir: filepath.Join(dir, name), client: free[2*i], peer: free[2*i+1]}
		places = append(places, at)
		initial = append(initial, name+"=http://"+at.peer)
	}
	for i := range places {
		places[i].initial = strings.Join(initial, ",")
	}
	return places, nil
}

// startCluster starts members in their places and waits until all of them answer and follow the same leader.
func startCluster(ctx context.Context, p product, places []place) (*cluster, error) {
	c := &cluster{}
	for _, at := range places {
		s, err := launch(ctx, p, at)
		if err != nil {
			c.kill()
			return nil, err
		}
		c.members = append(c.members, s)
	}
	if err := c.awaitReady(); err != nil {
		c.kill()
		return nil, err
	}
	return c, nil
}

// awaitReady waits until every member answers a linearizable read and all follow one leader.
func (c *cluster) awaitReady() error {
	for _, s := range c.members {
		if _, err := s.awaitRead(); err != nil {
			return err
		}
	}
	_, err := c.leader()
	return err
}

// leader waits until all members name the same leader and returns it.
func (c *cluster) leader() (*server, error) {
	var found *server
	return found, c.await("follow one leader", func() error {
		states, err := statesOf(c.members)
		if err != nil {
			return err
		}
		for i, state := range states {
			if state.GetLeader() != states[0].GetLeader() {
				return fmt.Errorf("%s follows %x and %s %x", c.members[0].place.name, states[0].GetLeader(),
					c.members[i].place.name, state.GetLeader())
			}
			if state.GetLeader() == state.GetHeader().GetMemberId() {
				found = c.members[i]
			}
		}
		if found == nil {
			return fmt.Errorf("none of them is the leader %x", states[0].GetLeader())
		}
		return nil
	})
}

// await repeats a look at the members until it finds nothing wrong.
func (c *cluster) await(what string, look func() error) error {
	var last error
	for deadline := time.Now().Add(agreeLimit); time.Now().Before(deadline); time.Sleep(agreePoll) {
		if last = look(); last == nil {
			return nil
		}
		for _, s := range c.members {
			if err := s.alive(); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("the members did not %s within %v: %w", what, agreeLimit, last)
}

// statesOf asks members for their status.
func statesOf(members []*server) ([]*pb.StatusResponse, error) {
	var states []*pb.StatusResponse
	for _, s := range members {
		state := &pb.StatusResponse{}
		if err := s.ask(methodStatus, &pb.StatusRequest{}, state); err != nil {
			return nil, fmt.Errorf("%s: %w", s.place.name, err)
		}
		states = append(states, state)
	}
	return states, nil
}

// without returns the members that are not the given one.
func (c *cluster) without(one *server) []*server {
	return slices.DeleteFunc(slices.Clone(c.members), func(s *server) bool { return s == one })
}

// hand makes a member the leader, if it is not.
func (c *cluster) hand(to *server) error {
	states, err := statesOf([]*server{to})
	if err != nil {
		return err
	}
	target := states[0].GetHeader().GetMemberId()
	return c.await("follow the chosen leader", func() error {
		lead, err := c.leader()
		if err != nil || lead == to {
			return err
		}
		if err := lead.ask(methodMoveLeader, &pb.MoveLeaderRequest{TargetID: target}, &pb.MoveLeaderResponse{}); err != nil {
			return err
		}
		return fmt.Errorf("%s was told to hand over", lead.place.name)
	})
}

// restart starts a member that has ended in its place again and waits until the cluster is whole.
func (c *cluster) restart(ctx context.Context, old *server) error {
	s, err := launch(ctx, old.product, old.place)
	if err != nil {
		return err
	}
	c.members[slices.Index(c.members, old)] = s
	return c.awaitReady()
}

// checkAlike makes sure that the members hold the same, by a hash of each one's own data.
func (c *cluster) checkAlike() error {
	revision, err := c.members[0].revision()
	if err != nil {
		return err
	}
	var first *pb.HashKVResponse
	for _, s := range c.members {
		if _, err := s.revision(); err != nil { // it has caught up when it answers
			return err
		}
		reply := &pb.HashKVResponse{}
		if err := s.ask(methodHashKV, &pb.HashKVRequest{Revision: revision}, reply); err != nil {
			return err
		}
		if first == nil {
			first = reply
		}
		if reply.GetHash() != first.GetHash() || reply.GetCompactRevision() != first.GetCompactRevision() {
			return fmt.Errorf("members differ at revision %d: %s has hash %d and %s %d", revision,
				c.members[0].place.name, first.GetHash(), s.place.name, reply.GetHash())
		}
	}
	return nil
}

// stop ends all members in order, all at once.
func (c *cluster) stop() error {
	for _, s := range c.members {
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			return fmt.Errorf("stop %s: %w; its log says:\n%s", s.product.name, err, s.logTail())
		}
	}
	for _, s := range c.members {
		if err := s.awaitEnd(); err != nil {
			return err
		}
	}
	return nil
}

// kill ends all members as a crash would.
func (c *cluster) kill() {
	for _, s := range c.members {
		s.kill()
	}
}
