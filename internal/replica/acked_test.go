package replica

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// TestAPutCostsOneAnswerOfEachFollower puts, waits until all know that it is committed, and counts what was carried.
func TestAPutCostsOneAnswerOfEachFollower(t *testing.T) {
	story(t, nil, func(t *testing.T, c *cluster) {
		leader := c.leader()
		const puts = 10
		settled := func() map[raftpb.MessageType]int {
			synctest.Wait() // all that follows from the puts has happened, and no time has passed
			c.mu.Lock()
			defer c.mu.Unlock()
			carried := c.carried
			c.carried = map[raftpb.MessageType]int{}
			return carried
		}
		if _, err := c.members[leader].put(t.Context(), "k", "first"); err != nil {
			t.Fatal(err)
		}
		settled()
		for i := range puts {
			if _, err := c.members[leader].put(t.Context(), "k", fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		others := len(c.members) - 1
		carried := settled()
		if got := carried[raftpb.MsgApp]; got != 2*puts*others {
			t.Errorf("%d appends, want the entry and its commit to each of %d, %d times", got, others, puts)
		}
		if got := carried[raftpb.MsgAppResp]; got != puts*others {
			t.Errorf("%d answers to %d puts of %d followers", got, puts, others)
		}
		for id := range c.members {
			if v := c.value(id, "k"); v != fmt.Sprint(puts-1) {
				t.Errorf("member %x holds %q", id, v)
			}
		}
	})
}

// TestAnAcknowledgementThatWasLostIsGivenAgain loses it while the connections stand, which nobody is told: an entry that a quorum
// holds is then committed with one of the next heartbeats, and nobody is elected for it.
func TestAnAcknowledgementThatWasLostIsGivenAgain(t *testing.T) {
	story(t, nil, func(t *testing.T, c *cluster) {
		leader := c.leader()
		at := c.members[leader]
		term := at.Status().Term
		if _, err := at.put(t.Context(), "k", "before"); err != nil {
			t.Fatal(err)
		}
		c.deafen(leader, true)
		began, done := time.Now(), make(chan error, 1)
		go func() {
			_, err := at.put(t.Context(), "k", "after")
			done <- err
		}()
		synctest.Wait() // the followers have acknowledged it
		if len(done) != 0 {
			t.Fatal("it was committed without them")
		}
		c.deafen(leader, false)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 3*at.opts.Heartbeat || at.Status().Term != term {
			t.Errorf("it took %v, and the term is %d after %d", took, at.Status().Term, term)
		}
	})
}

// TestOnlyAnswersThatSayNothingWait tells which append messages have to be looked at now.
func TestOnlyAnswersThatSayNothingWait(t *testing.T) {
	a := acked{}
	hard := func(commit uint64, responses ...*raftpb.Message) *raftpb.Message {
		return &raftpb.Message{Term: new(uint64(3)), Vote: new(uint64(1)), Commit: &commit, Responses: responses}
	}
	ack := func(index uint64) *raftpb.Message {
		return &raftpb.Message{Type: raftpb.MsgAppResp.Enum(), To: new(uint64(2)), Term: new(uint64(3)), Index: &index}
	}
	entry := hard(4, ack(5))
	entry.Entries = []*raftpb.Entry{{}}
	refusal := ack(5)
	refusal.Reject = new(true)
	own := &raftpb.Message{Type: raftpb.MsgStorageAppendResp.Enum(), To: new(uint64(1))}
	again := &raftpb.Message{Responses: []*raftpb.Message{ack(5)}}
	for i, step := range []struct {
		m    *raftpb.Message
		news bool
		left int // answers
	}{
		{entry, true, 1},
		{hard(5, ack(5)), false, 0},
		{hard(5), false, 0},
		{again, true, 1},
		{hard(6, ack(5), refusal), true, 1},
		{hard(7, ack(5), own), true, 1},
		{hard(7, ack(6)), true, 1},
		{hard(8, ack(6)), false, 0},
	} {
		if got := a.news(step.m); got != step.news || len(step.m.Responses) != step.left {
			t.Errorf("step %d: %v, %d answers", i, got, len(step.m.Responses))
		}
	}
	a.lost(9)
	if a.news(hard(9, ack(6))) {
		t.Error("another member's connection broke")
	}
	a.lost(2)
	if !a.news(hard(10, ack(6))) {
		t.Error("what was said before the connection broke is not said again")
	}
	voted := hard(10)
	voted.Vote = new(uint64(2))
	if !a.news(voted) {
		t.Error("a vote is not written")
	}
}
