package cluster

import (
	"context"
	"fmt"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/test/harness"
)

// TestAWatchOfTheFuture opens watches at revisions that are not there yet, on members of which one is cut off and so
// behind the others. None may tell of anything older than its revision, neither events nor progress.
func TestAWatchOfTheFuture(t *testing.T) {
	t.Parallel()
	const ahead = 40 // revisions
	c := harness.Found(t, harness.Founding{Proxied: true, Args: quick()})
	client := c.Client(t)
	put, err := client.Put(harness.Ctx(t), "future/first", "x")
	if err != nil {
		t.Fatal(err)
	}
	from := put.Header.Revision + ahead
	behind := c.Followers(t)[0]
	for _, m := range c.Members {
		c.Proxy.BreakBoth(m.Place, behind.Place, harness.Fault{Blackhole: true})
	}
	ctx := harness.CtxFor(t, harness.SettleLimit)
	var channels []clientv3.WatchChan
	var watchers []*clientv3.Client
	for _, m := range c.Members {
		w := c.Client(t, m)
		watchers = append(watchers, w)
		channels = append(channels, w.Watch(ctx, "future/", clientv3.WithPrefix(), clientv3.WithRev(from), clientv3.WithProgressNotify()))
	}
	leader := c.Client(t, c.Leader(t, behind))
	for i := range 2 * ahead {
		if _, err := leader.Put(harness.Ctx(t), fmt.Sprint("future/", i), "x"); err != nil {
			t.Fatal(err)
		}
		for _, w := range watchers {
			_ = w.RequestProgress(ctx)
		}
	}
	c.Proxy.Heal()
	for i, channel := range channels {
		next := from
		for next <= put.Header.Revision+2*ahead {
			resp, open := <-channel
			if !open || resp.Err() != nil {
				t.Fatalf("the watch on %s ended before revision %d: %v", c.Members[i].Name, next, resp.Err())
			}
			if resp.IsProgressNotify() && resp.Header.Revision < from-1 {
				t.Errorf("%s tells of progress at %d to a watch from %d on", c.Members[i].Name, resp.Header.Revision, from)
			}
			for _, ev := range resp.Events {
				if ev.Kv.ModRevision != next {
					t.Errorf("%s tells of revision %d where %d is due", c.Members[i].Name, ev.Kv.ModRevision, next)
				}
				next = ev.Kv.ModRevision + 1
			}
		}
	}
}

// TestAStreamThatIsNotRead opens many watches on one stream of each member and does not read it while more is written than
// any buffer holds; then it reads, and every watch has every event, once and in order.
func TestAStreamThatIsNotRead(t *testing.T) {
	t.Parallel()
	const watches, changes = 20, 400
	c := harness.Found(t, harness.Founding{Args: quick()})
	client := c.Client(t)
	first, err := client.Put(harness.Ctx(t), "starved/first", "x")
	if err != nil {
		t.Fatal(err)
	}
	var streams []pb.Watch_WatchClient
	for _, m := range c.Members {
		ctx, cancel := context.WithCancel(context.Background())
		t.Cleanup(cancel)
		stream, err := m.WatchClient(t).Watch(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for id := range int64(watches) {
			err := stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
				Key: []byte("starved/"), RangeEnd: []byte("starved0"), StartRevision: first.Header.Revision + 1, WatchId: id + 1,
			}}})
			if err != nil {
				t.Fatal(err)
			}
		}
		streams = append(streams, stream)
	}
	value := string(make([]byte, 4<<10))
	for i := range changes {
		if _, err := client.Put(harness.Ctx(t), fmt.Sprint("starved/", i%7), value); err != nil {
			t.Fatal(err)
		}
		if i == changes/2 {
			c.MoveLeader(t, c.Followers(t)[0])
		}
	}
	for i, stream := range streams {
		if err := readStarved(stream, watches, first.Header.Revision, changes); err != nil {
			t.Errorf("stream of %s: %v", c.Members[i].Name, err)
		}
	}
}

// readStarved reads a stream until each of its watches has had all changes that follow a revision.
func readStarved(stream pb.Watch_WatchClient, watches int, after int64, changes int64) error {
	limit := time.AfterFunc(harness.SettleLimit, func() { _ = stream.CloseSend() })
	defer limit.Stop()
	next := map[int64]int64{}
	for done := 0; done < watches; {
		resp, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("after %d complete watches: %w", done, err)
		}
		for _, ev := range resp.Events {
			if next[resp.WatchId] == 0 {
				next[resp.WatchId] = after + 1
			}
			if ev.Kv.ModRevision != next[resp.WatchId] {
				return fmt.Errorf("watch %d has revision %d where %d is due", resp.WatchId, ev.Kv.ModRevision, next[resp.WatchId])
			}
			next[resp.WatchId]++
			if next[resp.WatchId] == after+changes+1 {
				done++
			}
		}
	}
	return nil
}
