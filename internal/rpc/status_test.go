package rpc

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

func TestMembersAreListedWithoutARevision(t *testing.T) {
	h := newHouse(t, nil)
	h.put(t, "a", "1")
	got, err := h.cluster.MemberList(context.Background(), &pb.MemberListRequest{Linearizable: true})
	if err != nil {
		t.Fatal(err)
	}
	wantHeader(t, "member list", got.Header, 0)
	want := &pb.Member{ID: houseMember, Name: "default", PeerURLs: []string{"http://p"}, ClientURLs: []string{"http://c"}}
	if len(got.Members) != 1 || !proto.Equal(got.Members[0], want) {
		t.Errorf("got %v", got.Members)
	}
}

func TestStatusTellsEverythingAndWaitsForNothing(t *testing.T) {
	h := newHouse(t, nil)
	h.put(t, "a", "1")
	h.raise(t, houseMember, pb.AlarmType_NOSPACE)
	fail := func() error { return errors.New("no quorum") }
	h.replica.onBarrier.Store(&fail)
	got, err := h.maintenance.Status(context.Background(), &pb.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	wantHeader(t, "status", got.Header, 2)
	got.Header = nil
	texts := got.Errors
	got.Errors = nil
	want := &pb.StatusResponse{
		Version: "3.7.3", DbSize: 4096, DbSizeInUse: 1024, Leader: houseMember, RaftIndex: 77, RaftTerm: 2, RaftAppliedIndex: 76,
		StorageVersion: "3.7.0", DbSizeQuota: 2 << 30, DowngradeInfo: &pb.DowngradeInfo{},
	}
	if !proto.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if len(texts) != 1 || strings.ReplaceAll(texts[0], "  ", " ") != "memberID:17 alarm:NOSPACE" {
		t.Errorf("errors %q", texts)
	}

	h.replica.leader.Store(0)
	if got, err = h.maintenance.Status(context.Background(), &pb.StatusRequest{}); err != nil {
		t.Fatal(err)
	}
	if got.Leader != 0 || !slices.Contains(got.Errors, "etcdserver: no leader") {
		t.Errorf("without a leader: %v", got)
	}
}

func TestTheSizeIsNeverZero(t *testing.T) {
	h := newHouse(t, func(d *Deps) { d.DatabaseBytes = func() (int64, int64) { return 0, 0 } })
	got, err := h.maintenance.Status(context.Background(), &pb.StatusRequest{})
	if err != nil || got.DbSize <= 0 {
		t.Errorf("%v, %v", got, err)
	}
}
