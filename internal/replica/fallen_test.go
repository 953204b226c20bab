package replica

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/member"
)

// What only the leader of a term may decide is not carried into the next one: not by who led, not by who never did.
func TestWhatALeaderDecidedEndsWithItsTerm(t *testing.T) {
	story(t, nil, func(t *testing.T, c *cluster) {
		old := c.leader()
		at, term := c.members[old], c.members[old].Status().Term
		decide := func(at *world, term uint64, key string) error {
			_, err := at.ProposeIn(t.Context(), term, &pb.PutRequest{Key: []byte(key)})
			return err
		}
		if err := decide(at, term, "in time"); err != nil {
			t.Fatal(err)
		}
		if err := decide(c.members[c.follower()], term, "follower"); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a follower decides: %v", err)
		}
		c.isolate(old, true)
		late := make(chan error, 1)
		go func() { late <- decide(at, term, "late") }()
		delete(c.members, old)
		next := c.leader()
		c.members[old] = at
		if _, err := c.members[next].put(t.Context(), "k", "after"); err != nil {
			t.Fatal(err)
		}
		c.isolate(old, false)
		c.leader()
		if err := <-late; !errors.Is(err, ErrNotLeader) {
			t.Errorf("what it decided when it led no longer: %v", err)
		}
		if err := decide(at, term, "later"); !errors.Is(err, ErrNotLeader) {
			t.Errorf("what it decides for a term that is over: %v", err)
		}
		if _, err := at.put(t.Context(), "k", "in the end"); err != nil { // behind whatever was handed in
			t.Fatal(err)
		}
		view := c.look(next)
		defer view.Close()
		for _, key := range []string{"follower", "late", "later"} {
			if _, ok := view.Get([]byte(key)); ok {
				t.Errorf("%q took effect", key)
			}
		}
	})
}

// A change of the membership that the leader of a term decided is made in that term and by that leader, or not at all.
func TestAChangeThatALeaderDecidedEndsWithItsTerm(t *testing.T) {
	story(t, nil, func(t *testing.T, c *cluster) {
		old := c.leader()
		at, term := c.members[old], c.members[old].Status().Term
		remove := func(at *world, term uint64) error {
			result, err := at.ChangeIn(t.Context(), term, command.MemberChange{Kind: command.RemoveMember, Member: old})
			return errors.Join(err, result.Err)
		}
		if err := remove(c.members[c.follower()], term); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a follower decides: %v", err)
		}
		if err := remove(at, term-1); !errors.Is(err, ErrNotLeader) {
			t.Errorf("what was decided in an earlier term: %v", err)
		}
		c.isolate(old, true)
		delete(c.members, old)
		next := c.leader()
		c.members[old] = at
		c.isolate(old, false)
		c.leader()
		if err := remove(at, term); !errors.Is(err, ErrNotLeader) {
			t.Errorf("what it decides for a term that is over: %v", err)
		}
		c.look(next).Close()
		if _, ok := c.members[next].Machine().Members().Get(member.ID(old)); !ok {
			t.Error("it was removed all the same")
		}
		if err := remove(c.members[next], c.members[next].Status().Term); err != nil {
			t.Errorf("what the leader decides: %v", err)
		}
		if _, ok := c.members[next].Machine().Members().Get(member.ID(old)); ok {
			t.Error("it was not removed when the leader decided it")
		}
	})
}

// What a follower has given to a leader that falls is given to the next one, and takes effect once.
func TestWhatALeaderTookWithItTakesEffectOnce(t *testing.T) {
	story(t, nil, func(t *testing.T, c *cluster) {
		for round := range 8 {
			leader, at := c.leader(), c.members[c.follower()]
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() {
					key := fmt.Sprintf("%d/%d", round, i)
					if _, err := at.put(t.Context(), key, "v"); err != nil {
						t.Errorf("put %s: %v", key, err)
					}
				})
			}
			if round%2 == 0 {
				synctest.Wait() // all are acknowledged, or with the leader
			}
			c.isolate(leader, round%4 < 2)
			c.kill(leader, true)
			wg.Wait()
			next := c.leader()
			view := c.look(next)
			for i := range 20 {
				item, ok := view.Get(fmt.Appendf(nil, "%d/%d", round, i))
				if !ok || item.Version != 1 {
					t.Errorf("round %d: key %d: %v %+v", round, i, ok, item)
				}
			}
			view.Close()
			c.start(leader)
			c.isolate(leader, false)
		}
	})
}
