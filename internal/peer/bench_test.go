package peer

import (
	"syscall"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/keelson-db/keelson/internal/replica"
)

// processorTime is what this process has used of the processors.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkAppend sends an append to another member and waits for the answer: what a put costs on its way, with the
// time of both members' processors.
func BenchmarkAppend(b *testing.B) {
	t := new(testing.T)
	sites := town(t, 2, nil)
	defer sites[0].kill()
	defer sites[1].kill()
	sites[0].open()
	sites[1].open()
	meet(t, sites...)
	for name, size := range map[string]int{"300B": 300, "16KiB": 16 << 10, "1MiB": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			before := processorTime(b)
			there, back := sites[0].order.Outbox(2, replica.Bulk), sites[1].order.Outbox(1, replica.Urgent)
			m := appendOf(1, 1, size)
			answer := plain(raftpb.MsgAppResp, 7)
			for b.Loop() {
				there.put(m)
				<-sites[1].order.came
				back.put(answer)
				<-sites[0].order.came
			}
			b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}
