package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// fakeMember is a member that says the same of itself all the time.
func fakeMember(id, leader uint64) *fakeStore {
	return &fakeStore{state: func() *pb.StatusResponse {
		return &pb.StatusResponse{Header: &pb.ResponseHeader{MemberId: id}, Leader: leader, RaftTerm: id}
	}}
}

func TestPlacesDifferAndNameEachOther(t *testing.T) {
	places, err := layOut("dir")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, at := range places {
		for _, own := range []string{at.name, at.dir, at.client, at.peer} {
			if seen[own] {
				t.Errorf("%q is taken twice", own)
			}
			seen[own] = true
		}
		if at.initial != places[0].initial || !strings.Contains(at.initial, at.name+"=http://"+at.peer) {
			t.Errorf("%s begins with %s", at.name, at.initial)
		}
	}
	if len(places) != clusterSize || strings.Count(places[0].initial, ",") != clusterSize-1 {
		t.Errorf("%d places, %s", len(places), places[0].initial)
	}
}

func TestTheLeaderIsTheOneAllFollow(t *testing.T) {
	late := fakeMember(3, 0)
	var asked atomic.Int64
	still := late.state
	late.state = func() *pb.StatusResponse {
		state := still()
		if asked.Add(1) > 2 { // it learns of the leader after a while
			state.Leader = 2
		}
		return state
	}
	c := &cluster{members: []*server{serve(t, fakeMember(1, 2)), serve(t, fakeMember(2, 2)), serve(t, late)}}
	lead, err := c.leader()
	if err != nil || lead != c.members[1] || asked.Load() < 3 {
		t.Errorf("found %+v after %d questions, %v", lead, asked.Load(), err)
	}
	if others := c.without(lead); !slices.Equal(others, []*server{c.members[0], c.members[2]}) || len(c.members) != 3 {
		t.Errorf("without it there are %v of %v", others, c.members)
	}
	if term, err := highestTerm(c.members); err != nil || term != 3 {
		t.Errorf("term %d, %v", term, err)
	}
}

func TestMembersThatDifferAreFound(t *testing.T) {
	stores := []*fakeStore{{hash: 7}, {hash: 7}, {hash: 7}}
	c := &cluster{}
	for _, store := range stores {
		c.members = append(c.members, serve(t, store))
	}
	if err := c.checkAlike(); err != nil {
		t.Error(err)
	}
	stores[2].hash = 8
	if err := c.checkAlike(); err == nil || !strings.Contains(err.Error(), "differ") {
		t.Errorf("got %v", err)
	}
}

func TestConnectionsAreDealtOutInTurn(t *testing.T) {
	stores := []*fakeStore{{}, {}, {}}
	var servers []*server
	for _, store := range stores {
		servers = append(servers, serve(t, store))
	}
	conns, err := connectOver(servers, 7)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(conns)
	for _, c := range conns {
		if _, err := c.call(methodPut, appendPut(nil, []byte("k"), newRandom())); err != nil {
			t.Fatal(err)
		}
	}
	if a, b, c := stores[0].puts.Load(), stores[1].puts.Load(), stores[2].puts.Load(); a != 3 || b != 2 || c != 2 {
		t.Errorf("%d, %d and %d connections", a, b, c)
	}
}

func TestALearnerHasCaughtUpWhenItHasAppliedAlmostEverything(t *testing.T) {
	lead := &fakeStore{state: func() *pb.StatusResponse { return &pb.StatusResponse{RaftAppliedIndex: 1000} }}
	var applied atomic.Uint64
	space := keyspace{prefix: "t/", size: 2}
	learner := &fakeStore{keys: []string{"t/0", "t/1"}}
	learner.state = func() *pb.StatusResponse {
		return &pb.StatusResponse{RaftAppliedIndex: applied.Add(300), IsLearner: true}
	}
	s := serve(t, learner)
	s.started = time.Now()
	if _, err := awaitCaughtUp(t.Context(), serve(t, lead), s); err != nil || applied.Load() != 900 {
		t.Errorf("it had caught up with %d of 1000, %v", applied.Load(), err)
	}
	if err := checkLearner(s, space); err != nil {
		t.Error(err)
	}
	learner.keys = learner.keys[:1]
	if err := checkLearner(s, space); err == nil {
		t.Error("a learner that holds half of the records was accepted")
	}
	if err := checkLearner(serve(t, lead), space); err == nil {
		t.Error("a voter was taken for a learner")
	}
}

func TestAMeterAddsUpWhatItsServersUsed(t *testing.T) {
	own, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	s := &server{cmd: &exec.Cmd{Process: own}}
	one := &meter{}
	for one.serverCPU == 0 { // the kernel counts in steps
		if one, err = startMeter(s); err != nil {
			t.Fatal(err)
		}
	}
	three, err := startMeter(s, s, s)
	if err != nil {
		t.Fatal(err)
	}
	if three.serverCPU < 3*one.serverCPU || three.written < 3*one.written {
		t.Errorf("three times %v and %d are %v and %d", one.serverCPU, one.written, three.serverCPU, three.written)
	}
}
