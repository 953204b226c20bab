package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// joinLag is how many entries a member that has caught up may be behind: what the puts beside it make in a tenth of a
// second.
const joinLag = besidePutsPerSecond / 10

// joinLimit bounds the time until a new member has caught up.
const joinLimit = 10 * time.Minute

// joinPoll is the pause between two looks at a new member. It bounds the error of the time.
const joinPoll = 10 * time.Millisecond

// addLimit bounds the attempts to add a member: a cluster that has just started may want to see for a while that it is
// well.
const addLimit = time.Minute

// newcomer is the name of the member that joins.
const newcomer = "new"

var (
	caughtUp = metric{name: "to caught up", unit: "ms"}
	joinRate = metric{name: "records", unit: "MB/s", moreIsBetter: true}
	joinCPU  = metric{name: "CPU of all members, beyond puts", unit: "ms"}
)

func joinGroup() group {
	return group{
		name: "join", sheet: sheetCluster,
		rows: []row{{
			id: "join", title: "a learner joins a store of %s keys with 1 KiB, beside 1,000 puts a second at the leader",
			metrics: []metric{joinRate, caughtUp, joinCPU, putP99, putP99Alone, putP99More},
			bounds:  map[string]bound{joinRate.name: {limit: 100, least: true}, putP99More.name: {limit: 30}},
		}},
		prepare:  prepareJoin,
		measure:  measureJoin,
		maxPairs: storePairs,
	}
}

// prepareJoin fills a cluster. Its places are kept, because its members know each other by them.
func prepareJoin(ctx context.Context, r *run, p product) (block, error) {
	dir := r.dataDir(p, "join")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make a directory for the members: %w", err)
	}
	places, err := layOut(dir)
	if err != nil {
		return nil, err
	}
	r.places[p.slot] = places
	c, err := startCluster(ctx, p, places)
	if err != nil {
		return nil, err
	}
	defer c.kill()
	lead, err := c.leader()
	if err != nil {
		return nil, err
	}
	if err := pour(lead, r.storeSpace()); err != nil {
		return nil, err
	}
	// The log of a store that was only just loaded still holds the load; see singlePuts.
	if err := overwrite(lead, r.storeSpace(), singlePuts); err != nil {
		return nil, err
	}
	if err := settle(c.members); err != nil {
		return nil, err
	}
	return nil, c.stop()
}

// measureJoin starts the filled cluster, puts at its leader alone and then beside a member that joins. In the end that
// one is removed, so that the next block finds the cluster as this one did.
func measureJoin(ctx context.Context, r *run, p product) (block, error) {
	c, err := startCluster(ctx, p, r.places[p.slot])
	if err != nil {
		return nil, err
	}
	defer c.kill()
	lead, err := c.leader()
	if err != nil {
		return nil, err
	}
	var alone measurement
	for range 2 { // the first is a warm-up
		alone, err = besidePace(putsBeside(), []*server{lead}, c.members, false, func() error {
			pause(ctx, r.longTime())
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	at, id, err := addLearner(ctx, lead)
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(at.dir) }()
	f, err := joinFigures(ctx, c, lead, at, r.storeSpace(), alone)
	if err != nil {
		return nil, err
	}
	if err := lead.ask(methodsCluster+"MemberRemove", &pb.MemberRemoveRequest{ID: id}, &pb.MemberRemoveResponse{}); err != nil {
		return nil, err
	}
	return block{"join": f}, c.stop()
}

// addLearner adds a learner to the cluster, as soon as the cluster lets it, and returns its place and its ID.
func addLearner(ctx context.Context, lead *server) (place, uint64, error) {
	free, err := freeAddresses(2)
	if err != nil {
		return place{}, 0, err
	}
	at := place{
		name: newcomer, dir: filepath.Join(filepath.Dir(lead.dir), newcomer), client: free[0], peer: free[1],
		initial: lead.place.initial + "," + newcomer + "=http://" + free[1],
		flags:   []string{"--initial-cluster-state", "existing"},
	}
	request := &pb.MemberAddRequest{PeerURLs: []string{"http://" + at.peer}, IsLearner: true}
	for deadline := time.Now().Add(addLimit); ; pause(ctx, agreePoll) {
		reply := &pb.MemberAddResponse{}
		err := lead.ask(methodsCluster+"MemberAdd", request, reply)
		if err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return at, reply.GetMember().GetID(), err
		}
	}
}

// joinFigures starts the new member beside puts at the leader, waits until it has caught up, looks whether it holds
// everything, and ends it.
func joinFigures(
	ctx context.Context, c *cluster, lead *server, at place, space keyspace, alone measurement,
) (figures, error) {
	var s *server
	var took time.Duration
	with, err := besidePace(putsBeside(), []*server{lead}, c.members, false, func() error {
		var failed error
		if s, failed = launch(ctx, lead.product, at); failed == nil {
			took, failed = awaitCaughtUp(ctx, lead, s)
		}
		return failed
	})
	if s != nil {
		defer s.kill()
	}
	if err != nil {
		return nil, err
	}
	spent, err := cpuTime(s.pid())
	if err != nil {
		return nil, err
	}
	if err := checkLearner(s, space); err != nil {
		return nil, err
	}
	f := besideFigures(with, alone)
	f[caughtUp.name] = millis(took)
	f[joinRate.name] = float64(space.size*(keySize+space.value)) / 1e6 / took.Seconds()
	f[joinCPU.name] = millis(beyondPuts(with, alone) + spent)
	return f, nil
}

// awaitCaughtUp waits until a new member has applied what the leader had applied just before, but for a few entries. The
// time runs from its start.
func awaitCaughtUp(ctx context.Context, lead, s *server) (time.Duration, error) {
	var last error
	for deadline := s.started.Add(joinLimit); time.Now().Before(deadline); pause(ctx, joinPoll) {
		if err := errors.Join(s.alive(), ctx.Err()); err != nil {
			return 0, err
		}
		ahead, err := statesOf([]*server{lead})
		if err != nil {
			return 0, err
		}
		behind, err := statesOf([]*server{s})
		if err != nil {
			last = err // it does not answer yet
			continue
		}
		want, has := ahead[0].GetRaftAppliedIndex(), behind[0].GetRaftAppliedIndex()
		if has+joinLag >= want {
			return time.Since(s.started), nil
		}
		last = fmt.Errorf("it has applied %d of %d", has, want)
	}
	return 0, fmt.Errorf("the new member did not catch up within %v: %w; its log says:\n%s", joinLimit, last, s.logTail())
}

// checkLearner makes sure that the new member is a learner that holds the records itself.
func checkLearner(s *server, space keyspace) error {
	states, err := statesOf([]*server{s})
	if err != nil {
		return err
	}
	if !states[0].GetIsLearner() {
		return errors.New("the new member does not say that it is a learner")
	}
	reply := &pb.RangeResponse{}
	request := &pb.RangeRequest{Key: space.key(0), RangeEnd: space.end(), CountOnly: true, Serializable: true}
	if err := s.ask(methodRange, request, reply); err != nil {
		return err
	}
	if reply.GetCount() != int64(space.size) {
		return fmt.Errorf("the new member counts %d of %v", reply.GetCount(), space)
	}
	return nil
}
