package replica

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/keelson-db/keelson/internal/command"
)

// TestRunIsWokenOnlyForWhatItCanUse counts the tokens that commands leave for Run: none while it has not found the queue
// empty, one for the first that comes afterwards.
func TestRunIsWokenOnlyForWhatItCanUse(t *testing.T) {
	p := newProposals(1)
	own := func() error {
		return p.add(&proposal{id: p.newID(), encoded: []byte("own"), done: make(chan outcome, 1)})
	}
	passed := func() error {
		if !p.forward(forwarded{[]byte("\x01passed"), 1}, 1) {
			return errors.New("there is no room")
		}
		return nil
	}
	woken := func() bool {
		select {
		case <-p.ready:
			return true
		default:
			return false
		}
	}
	for name, come := range map[string]func() error{"own": own, "passed": passed} {
		if p.any() {
			t.Fatalf("%s: something is queued", name)
		}
		for i := range 3 {
			if err := come(); err != nil {
				t.Fatal(err)
			}
			if first := i == 0; woken() != first {
				t.Errorf("%s: woken by command %d: %v", name, i, !first)
			}
		}
		if !p.any() {
			t.Fatalf("%s: nothing is queued", name)
		}
		if b := p.next(1, true); b.commands != 3 {
			t.Errorf("%s: a batch of %d", name, b.commands)
		}
		if err := come(); err != nil || woken() {
			t.Errorf("%s: woken while it makes batches: %v", name, err)
		}
		for b := p.next(1, true); b.entry != nil; b = p.next(1, true) {
		}
		if err := come(); err != nil || !woken() {
			t.Errorf("%s: not woken by what came after the last batch: %v", name, err)
		}
		p.next(1, true)
	}
}

// TestWhatABatchHolds mixes commands of a member's own with what others passed on, takes them out, and puts them back.
func TestWhatABatchHolds(t *testing.T) {
	for name, c := range map[string]struct {
		passed, own []string
		want        string
	}{
		"own":            {nil, []string{"a", "b"}, "\x01ab"},
		"passed at once": {[]string{"xy"}, nil, "\x01xy"},
		"passed":         {[]string{"x", "y"}, nil, "\x01xy"},
		"both":           {[]string{"x", "y"}, []string{"a", "b"}, "\x01xyab"},
	} {
		p := newProposals(1)
		for _, one := range c.passed {
			p.forward(forwarded{[]byte("\x01" + one), len(one)}, 1)
		}
		for _, one := range c.own {
			if err := p.add(&proposal{id: p.newID(), encoded: []byte(one), done: make(chan outcome, 1)}); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			b := p.next(1, true)
			if string(b.entry) != c.want || b.commands != len(c.want)-1 || len(b.own) != len(c.own) {
				t.Errorf("%s: %q, %d commands, %d of its own", name, b.entry, b.commands, len(b.own))
			}
			if p.forwardedBytes != 0 || p.any() {
				t.Errorf("%s: something stayed", name)
			}
			p.putBack(b)
		}
	}
}

// TestABatchFitsAnEntry queues more than an entry holds, and things that are larger than one.
func TestABatchFitsAnEntry(t *testing.T) {
	const third = command.MaxEntryBytes / 3
	p := newProposals(1)
	for _, size := range []int{third, third, third, 2 * command.MaxEntryBytes, 7} {
		p.forward(forwarded{append([]byte{command.FormatV1}, bytes.Repeat([]byte("p"), size)...), 1}, 1)
		if err := p.add(&proposal{id: p.newID(), encoded: bytes.Repeat([]byte("o"), size), done: make(chan outcome, 1)}); err != nil {
			t.Fatal(err)
		}
	}
	count, commands := 0, 0
	for b := p.next(1, true); b.entry != nil; b = p.next(1, true) {
		if len(b.entry) > command.MaxEntryBytes && b.commands > 1 {
			t.Errorf("%d commands in an entry of %d bytes", b.commands, len(b.entry))
		}
		if rest := bytes.TrimLeft(bytes.TrimLeft(b.entry[1:], "p"), "o"); len(rest) > 0 {
			t.Error("what others passed on is not in front")
		}
		count, commands = count+1, commands+b.commands
	}
	if commands != 10 || count < 6 {
		t.Errorf("%d commands in %d entries", commands, count)
	}
}

// TestWhatCannotBeReadIsNotPutIntoTheLog has a member pass on something that is no command. Every member would end when
// it is to be applied.
func TestWhatCannotBeReadIsNotPutIntoTheLog(t *testing.T) {
	story(t, nil, func(t *testing.T, c *cluster) {
		lead, from := c.leader(), c.follower()
		w := c.members[lead]
		before := w.Machine().Applied().Index
		for _, data := range []string{"\x01\xff", "\x02what a later release might send", "\x01\x01\x00"} {
			w.Receive(from, []*raftpb.Message{{
				Type: raftpb.MsgProp.Enum(), From: new(from), To: new(lead), Term: new(w.Status().Term),
				Entries: []*raftpb.Entry{{Data: []byte(data)}},
			}})
		}
		if _, err := c.members[from].put(t.Context(), "k", "v"); err != nil {
			t.Fatal(err)
		}
		if err := w.Barrier(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := w.Machine().Applied().Index; got != before+1 {
			t.Errorf("%d entries were applied", got-before)
		}
	})
}

// TestALeaderDoesNotWaitLongForTheQuorum keeps the acknowledgements from the leader. It makes the next batch all the same
// when a part of a heartbeat has passed, although nothing else happens to it.
func TestALeaderDoesNotWaitLongForTheQuorum(t *testing.T) {
	story(t, nil, func(t *testing.T, c *cluster) {
		lead, follower := c.leader(), c.follower()
		c.deafen(lead, true)
		log := c.members[follower].log
		before, err := log.LastIndex()
		if err != nil {
			t.Fatal(err)
		}
		beat := c.members[lead].opts.Heartbeat
		time.Sleep(beat - time.Duration(time.Now().UnixNano())%beat + beat/20) // just behind a tick
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for _, key := range []string{"first", "second"} {
			go func() {
				_, _ = c.members[lead].Propose(ctx, &pb.PutRequest{Key: []byte(key)}) // it ends with the story
			}()
			synctest.Wait()
		}
		time.Sleep(beat / pipelineParts)
		synctest.Wait()
		after, err := log.LastIndex()
		if err != nil {
			t.Fatal(err)
		}
		if after != before+2 {
			t.Errorf("the follower has %d of two batches", after-before)
		}
	})
}
