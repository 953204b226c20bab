package integration

import (
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/test/harness"
)

// TestAThousandWatchersSeeTheSame puts 100 watches on each of 10 streams, half of them from history, and counts.
func TestAThousandWatchersSeeTheSame(t *testing.T) {
	t.Parallel()
	const streams, watches, puts = 10, 100, 40
	n := harness.Start(t, harness.Options{})
	kv := pb.NewKVClient(n.Conn(t))
	put := func(i int) {
		if _, err := kv.Put(harness.Ctx(t), &pb.PutRequest{Key: fmt.Appendf(nil, "fan/%d", i%5), Value: fmt.Append(nil, i)}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range puts / 2 {
		put(i)
	}
	var open []*harness.WatchStream
	for range streams {
		w := harness.OpenWatch(t, n.WatchClient(t))
		for id := range watches {
			w.Create(t, &pb.WatchCreateRequest{Key: []byte("fan/"), RangeEnd: []byte("fan0"), StartRevision: int64(id%2) * 2, WatchId: int64(id + 1)})
		}
		open = append(open, w)
	}
	// Every watch must exist before the second half is written, or those without a start would see less.
	for _, w := range open {
		var early []*pb.WatchResponse
		for created := 0; created < watches; {
			r, err := w.NextNew(harness.ArriveLimit)
			if err != nil {
				t.Fatal(err)
			}
			if r.Created {
				created++
				continue
			}
			early = append(early, r)
		}
		w.Held = early
	}
	for i := puts / 2; i < puts; i++ {
		put(i)
	}
	for s, w := range open {
		next := map[int64]int64{} // watch to the revision it must see next
		for id := range int64(watches) {
			next[id+1] = 2
			if id%2 == 0 {
				next[id+1] = puts/2 + 2
			}
		}
		for done := 0; done < watches; {
			r, err := w.Next(harness.ArriveLimit)
			if err != nil {
				t.Fatalf("stream %d has %d of %d watches done: %v", s, done, watches, err)
			}
			for _, ev := range r.Events {
				if ev.Kv.ModRevision != next[r.WatchId] {
					t.Fatalf("watch %d of stream %d sees %d, want %d", r.WatchId, s, ev.Kv.ModRevision, next[r.WatchId])
				}
				if next[r.WatchId]++; next[r.WatchId] == puts+2 {
					done++
				}
			}
		}
	}
}
