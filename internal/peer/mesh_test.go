package peer

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/replica"
	"github.com/keelson-db/keelson/internal/storage"
)

func TestThreeMembersTalk(t *testing.T) {
	sites := town(t, 3, nil)
	for _, s := range sites {
		s.open()
	}
	meet(t, sites...)
	for _, a := range sites {
		for _, b := range sites {
			if a == b {
				continue
			}
			want := []*raftpb.Message{appendOf(7, 3, 100), plain(raftpb.MsgHeartbeat, 3), appendOf(10, 1, 200<<10), appendOf(11, 1, 3<<20)}
			for _, m := range want {
				lane := replica.Bulk
				if m.GetType() == raftpb.MsgHeartbeat {
					lane = replica.Urgent
				}
				a.send(b.id, lane, m)
				got := b.receive()
				if got.from != a.id || !proto.Equal(got.m, m) {
					t.Fatalf("from %d to %d came from %d\n%v, want\n%v", a.id, b.id, got.from, got.m, m)
				}
			}
		}
	}
	if sent := metric(t, sites[0], "etcd_network_peer_sent_bytes_total", "2"); sent < 3<<20 || sent > 4<<20 {
		t.Errorf("member 1 counts %v bytes sent to 2", sent)
	}
	if got := metric(t, sites[0], "etcd_network_peer_received_bytes_total", "3"); got < 3<<20 || got > 4<<20 {
		t.Errorf("member 1 counts %v bytes received from 3", got)
	}
	if metric(t, sites[0], "etcd_network_known_peers", "1", "2") != 1 || metric(t, sites[0], "etcd_network_active_peers", "1", "3") != 1 {
		t.Error("member 1 does not show its peers")
	}
}

// TestManyMessagesKeepTheirOrder fills the outbox faster than it can be emptied.
func TestManyMessagesKeepTheirOrder(t *testing.T) {
	sites := town(t, 2, nil)
	sites[0].open()
	sites[1].open()
	meet(t, sites...)
	const n = 20000
	go func() {
		for i := range uint64(n) {
			m := appendOf(i, 1, int(i%2000))
			m.From, m.To = new(uint64(1)), new(uint64(2))
			sites[0].order.Outbox(2, replica.Bulk).put(m)
		}
	}()
	for i := range uint64(n) {
		if got := sites[1].receive(); got.m.GetIndex() != i || len(got.m.Entries[0].GetData()) != int(i%2000) {
			t.Fatalf("message %d has index %d", i, got.m.GetIndex())
		}
	}
}

// TestDataIsTheReceivers: what came is not touched by what comes after it.
func TestDataIsTheReceivers(t *testing.T) {
	sites := town(t, 2, nil)
	sites[0].open()
	sites[1].open()
	meet(t, sites...)
	var came []*raftpb.Message
	for i := range uint64(50) {
		vote := plain(raftpb.MsgVote, 1)
		vote.Context = []byte(fmt.Sprintf("context %04d", i))
		sites[0].send(2, replica.Urgent, vote)
		came = append(came, sites[1].receive().m)
		app := appendOf(i, 1, 0)
		app.Entries[0].Data = []byte(fmt.Sprintf("data %04d", i))
		sites[0].send(2, replica.Bulk, app)
		came = append(came, sites[1].receive().m)
	}
	for i, m := range came {
		got, want := string(m.GetContext()), fmt.Sprintf("context %04d", i/2)
		if m.GetType() == raftpb.MsgApp {
			got, want = string(m.Entries[0].GetData()), fmt.Sprintf("data %04d", i/2)
		}
		if got != want {
			t.Fatalf("message %d holds %q, want %q", i, got, want)
		}
	}
}

// TestAHeartbeatPassesAStuckAppend: the bulk lane is full of an append of 64 MiB that its receiver does not read.
func TestAHeartbeatPassesAStuckAppend(t *testing.T) {
	sites := town(t, 2, nil)
	sites[1].order.stuck = make(chan struct{})
	sites[0].open()
	sites[1].open()
	meet(t, sites...)
	sites[0].send(2, replica.Bulk, appendOf(1, 1, 10)) // the reader gets stuck with this
	sites[0].send(2, replica.Bulk, appendOf(2, 64, 1<<20))
	box := sites[0].order.Outbox(2, replica.Bulk)
	eventually(t, "the append is taken", func() bool { box.mu.Lock(); defer box.mu.Unlock(); return len(box.messages) == 0 })
	for i := range uint64(100) {
		beat := plain(raftpb.MsgHeartbeat, 1)
		beat.Commit = new(i)
		sites[0].send(2, replica.Urgent, beat)
		if got := sites[1].receive(); got.m.GetType() != raftpb.MsgHeartbeat || got.m.GetCommit() != i {
			t.Fatalf("came %v, want heartbeat %d", got.m, i)
		}
	}
	close(sites[1].order.stuck)
	if got := sites[1].receive(); got.m.GetType() != raftpb.MsgApp || got.m.GetIndex() != 1 {
		t.Fatalf("came %v, want the first append", got.m)
	}
}

// TestAKilledMemberIsKnownToBeDead, and one that comes back is connected again.
func TestAKilledMemberIsKnownToBeDead(t *testing.T) {
	sites := town(t, 3, nil)
	for _, s := range sites {
		s.open()
	}
	meet(t, sites...)
	for round := 1; round <= 3; round++ {
		sites[2].kill()
		for _, s := range sites[:2] {
			o := s.order
			eventually(t, "the others know", func() bool { return o.count(o.dead, 3) == round && o.count(o.lost, 3) >= 2*round })
			for lane := range replica.Lanes {
				if s.order.Outbox(3, lane).put(addressed(plain(raftpb.MsgHeartbeat, 1), s.id, 3)) {
					t.Errorf("the outbox of %d for lane %d is open", s.id, lane)
				}
			}
			eventually(t, "alerts see it", func() bool { return metric(t, s, "etcd_network_peer_sent_failures_total", "3") >= float64(2*round) })
			if _, ok := s.mesh.ActiveSince(3); ok {
				t.Errorf("member %d says that 3 is connected", s.id)
			}
			if _, ok := s.mesh.ActiveSince(3 - s.id); !ok {
				t.Errorf("member %d has lost the other one as well", s.id)
			}
			if got := metric(t, s, "etcd_network_disconnected_peers_total", hex(s.id), "3"); got != float64(round) {
				t.Errorf("member %d counts %v lost connections, want %d", s.id, got, round)
			}
		}
		sites[2].open()
		meet(t, sites...)
		sites[2].send(1, replica.Urgent, plain(raftpb.MsgHeartbeatResp, 1))
		sites[0].receive()
	}
	if sites[0].order.count(sites[0].order.dead, 2) > 0 {
		t.Error("member 1 takes 2 for dead")
	}
}

// TestMembersComeMoveAndGo follows the member table.
func TestMembersComeMoveAndGo(t *testing.T) {
	sites := town(t, 3, nil)
	// At first there are two.
	sites[1].table = tableOf(t, testCluster, 2, member.Member{ID: 1, PeerURLs: []string{sites[0].url}}, member.Member{ID: 2, PeerURLs: []string{sites[1].url}})
	sites[0].table = tableOf(t, testCluster, 1, sites[1].table.List()...)
	for _, s := range sites[:2] {
		s.open()
	}
	meet(t, sites[:2]...)
	for _, s := range sites[:2] {
		changeTable(t, func(b *storage.Batch) error {
			return s.table.Add(b, member.Member{ID: 3, PeerURLs: []string{sites[2].url}})
		})
	}
	sites[2].open()
	meet(t, sites...)

	moved := town(t, 1, nil)[0]
	before := sites[0].order.count(sites[0].order.connected, 3)
	for _, s := range sites {
		changeTable(t, func(b *storage.Batch) error { return s.table.Update(b, 3, []string{moved.url}) })
	}
	old := sites[2].listener
	sites[2].url, sites[2].listener = moved.url, moved.listener
	go func() { _ = sites[2].server.Serve(moved.listener) }()
	_ = old.Close()
	eventually(t, "1 connects to the new address", func() bool {
		return sites[0].order.count(sites[0].order.connected, 3) > before
	})
	meet(t, sites...)

	for _, s := range sites[:2] {
		changeTable(t, func(b *storage.Batch) error { return s.table.Remove(b, 3) })
		s.order.judge(3, replica.ErrRemoved)
	}
	select {
	case err := <-sites[2].ended:
		if !errors.Is(err, replica.ErrRemoved) {
			t.Errorf("the removed member ends with %v", err)
		}
		sites[2].ended <- nil
	case <-time.After(patience):
		t.Fatal("the removed member goes on")
	}
	for _, s := range sites[:2] {
		eventually(t, "3 is forgotten", func() bool { return s.mesh.remote(3) == nil })
		if metric(t, s, "etcd_network_known_peers", hex(s.id), "3") != 0 || metric(t, s, "etcd_network_known_peers", hex(s.id), hex(3-s.id)) != 1 {
			t.Errorf("member %d shows other peers than it has", s.id)
		}
	}
}

// TestPingsMeasureTheWay uses a short time to read, of which a fifth passes between two pings.
func TestPingsMeasureTheWay(t *testing.T) {
	sites := town(t, 2, func(o *Options) { o.ReadTimeout = 500 * time.Millisecond })
	sites[0].open()
	sites[1].open()
	meet(t, sites...)
	eventually(t, "round trips are counted", func() bool {
		return metric(t, sites[0], "etcd_network_peer_round_trip_time_seconds", "2") > 3
	})
	if lost := sites[0].order.count(sites[0].order.lost, 2); lost > 0 {
		t.Errorf("connections broke %d times while pings were sent", lost)
	}
}

// TestAMemberThatClosesIsNotDead: its connections break and somebody listens at its address still.
func TestAMemberThatClosesIsNotDead(t *testing.T) {
	sites := town(t, 2, nil)
	sites[0].open()
	sites[1].open()
	meet(t, sites...)
	sites[1].stopRun()
	eventually(t, "the other one knows", func() bool {
		_, ok := sites[0].mesh.ActiveSince(2)
		return !ok && sites[0].order.count(sites[0].order.lost, 2) == 2 && sites[0].log.has("error sender not found")
	})
	if sites[0].order.count(sites[0].order.dead, 2) > 0 {
		t.Error("a member that listens is taken for dead")
	}
	sites[1].kill()
	eventually(t, "the other one knows that it is dead", func() bool { return sites[0].order.count(sites[0].order.dead, 2) == 1 })
}

// TestSocketsOfThisMachine connects members over unix sockets.
func TestSocketsOfThisMachine(t *testing.T) {
	sites := town(t, 2, nil)
	dir := t.TempDir()
	var members []member.Member
	for _, s := range sites {
		_ = s.listener.Close()
		path := fmt.Sprintf("%s/%d", dir, s.id)
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		s.listener, s.url = l, "unix://"+path
		members = append(members, member.Member{ID: member.ID(s.id), PeerURLs: []string{s.url}})
	}
	for _, s := range sites {
		s.table = tableOf(t, testCluster, s.id, members...)
		s.open()
	}
	meet(t, sites...)
	sites[0].send(2, replica.Bulk, appendOf(1, 1, 1<<20))
	sites[1].receive()
}
