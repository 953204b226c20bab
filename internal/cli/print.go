package cli

import (
	"fmt"
	"io"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// printer is a format of the output.
type printer interface {
	put(*clientv3.PutResponse) error
	get(*clientv3.GetResponse, shown) error
	del(*clientv3.DeleteResponse) error
	watch(*clientv3.WatchResponse) error
	status([]endpointStatus) error
	members([]*pb.Member) error
	member(changedMember) error
	moved(from, to *pb.Member) error
	token(*joinToken) error
	survey(*surveyed) error
	rebuilt(*rebuilt) error
}

// shown is what of a get's answer was asked for.
type shown struct{ count, keys, values bool }

// simplePrinter prints keys and values on lines of their own, as etcdctl does.
type simplePrinter struct{ w io.Writer }

func (p *simplePrinter) put(r *clientv3.PutResponse) error {
	var b strings.Builder
	b.WriteString("OK\n")
	pair(&b, r.PrevKv)
	return p.flush(&b)
}

func (p *simplePrinter) get(r *clientv3.GetResponse, s shown) error {
	var b strings.Builder
	if s.count {
		fmt.Fprintf(&b, "%d\n", r.Count)
	}
	for _, kv := range r.Kvs {
		switch {
		case s.keys:
			fmt.Fprintf(&b, "%s\n", kv.Key)
		case s.values:
			fmt.Fprintf(&b, "%s\n", kv.Value)
		default:
			pair(&b, kv)
		}
	}
	return p.flush(&b)
}

func (p *simplePrinter) del(r *clientv3.DeleteResponse) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d\n", r.Deleted)
	for _, kv := range r.PrevKvs {
		pair(&b, kv)
	}
	return p.flush(&b)
}

func (p *simplePrinter) watch(r *clientv3.WatchResponse) error {
	var b strings.Builder
	for _, e := range r.Events {
		fmt.Fprintf(&b, "%s\n", e.Type)
		pair(&b, e.PrevKv)
		pair(&b, e.Kv)
	}
	return p.flush(&b)
}

func (p *simplePrinter) status(list []endpointStatus) error {
	var b strings.Builder
	for i, one := range list {
		if i > 0 {
			b.WriteString("\n")
		}
		if one.err != nil {
			fmt.Fprintf(&b, "%s: %v\n", one.endpoint, one.err)
			continue
		}
		s := one.status
		role := "follower"
		switch {
		case s.IsLearner:
			role = "learner"
		case s.Leader == 0:
			role = "without a leader"
		case s.Leader == s.Header.GetMemberId():
			role = "leader"
		}
		fmt.Fprintf(&b, "%s: member %x, %s\n", one.endpoint, s.Header.GetMemberId(), role)
		fmt.Fprintf(&b, "  version    %s\n", s.Version)
		fmt.Fprintf(&b, "  revision   %d\n", s.Header.GetRevision())
		fmt.Fprintf(&b, "  data       %s, of which %s in use\n", humanBytes(s.DbSize), humanBytes(s.DbSizeInUse))
		fmt.Fprintf(&b, "  raft       term %d, index %d, applied %d\n", s.RaftTerm, s.RaftIndex, s.RaftAppliedIndex)
		for _, e := range s.Errors {
			fmt.Fprintf(&b, "  problem    %s\n", e)
		}
	}
	return p.flush(&b)
}

// pair prints a key and its value; nothing for nil.
func pair(b *strings.Builder, kv *mvccpb.KeyValue) {
	if kv != nil {
		fmt.Fprintf(b, "%s\n%s\n", kv.Key, kv.Value)
	}
}

func (p *simplePrinter) flush(b *strings.Builder) error {
	if _, err := io.WriteString(p.w, b.String()); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func humanBytes(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1024, 0
	units := [...]string{"KiB", "MiB", "GiB", "TiB"}
	for v >= 1024 && unit < len(units)-1 {
		v, unit = v/1024, unit+1
	}
	return fmt.Sprintf("%.1f %s", v, units[unit])
}
