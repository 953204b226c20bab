package rpc

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keelson-db/keelson/internal/metrics"
)

func TestASnapshotComesInPiecesWithItsSum(t *testing.T) {
	h := newHouse(t, nil)
	for range 5 {
		h.put(t, "a", string(make([]byte, 50_000)))
	}
	stream, err := h.maintenance.Snapshot(t.Context(), &pb.SnapshotRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	var last *pb.SnapshotResponse
	left := -1
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if last != nil {
			all = append(all, last.Blob...)
		}
		if last = m; left >= 0 && left != int(m.RemainingBytes)+len(m.Blob) && len(m.Blob) != sha256.Size {
			t.Errorf("%d bytes were left, and now %d behind %d", left, m.RemainingBytes, len(m.Blob))
		}
		if left = int(m.RemainingBytes); m.Version != "3.7.0" || m.Header != nil || len(m.Blob) > snapshotChunk {
			t.Errorf("version %q, header %v, %d bytes", m.Version, m.Header, len(m.Blob))
		}
	}
	if sum := sha256.Sum256(all); string(last.Blob) != string(sum[:]) || left != 0 || len(all) < 250_000 {
		t.Errorf("the sum of %d bytes is wrong, or %d are left", len(all), left)
	}
}

// deaf is a stream whose client takes some messages and then no more, until the call has ended.
type deaf struct {
	grpc.ServerStream
	ctx   context.Context
	takes int
}

func (d *deaf) Context() context.Context { return d.ctx }

func (d *deaf) SendMsg(any) error {
	if d.takes--; d.takes >= 0 {
		time.Sleep(snapshotStall / 2) // slow is not deaf
		return nil
	}
	<-d.ctx.Done()
	return d.ctx.Err()
}

func TestASnapshotIsGivenUpWhenNobodyReadsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		machine := newMachine(t)
		d := Deps{Machine: machine, Replica: &loneReplica{machine: machine, index: 1}, StorageVersion: "3.7.0"}
		down := &downgradeServer{machine: machine, release: d.StorageVersion}
		s := &snapshotServer{machine: machine, versions: down.versions, took: metrics.New().Disk.BackendSnapshot,
			log: slog.New(slog.DiscardHandler), stall: snapshotStall}
		ctx, end := context.WithCancel(t.Context())
		defer synctest.Wait() // the sender ends with the call
		defer end()
		start := time.Now()
		err := s.send(nil, &deaf{ctx: ctx, takes: 1})
		if took := time.Since(start); !errors.Is(err, errSnapshotStall) || took != snapshotStall*3/2 {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

func TestWhatTheServerPreparesIsNotTheClientsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &snapshotServer{log: slog.New(slog.DiscardHandler), stall: snapshotStall}
		done := make(chan error)
		go func() {
			time.Sleep(5 * snapshotStall / 2)
			done <- nil
		}()
		if err := s.watch(t.Context(), &chunks{start: time.Now()}, done); err != nil {
			t.Error(err)
		}
	})
}

func TestDowngradesAnswerAsEtcdDoes(t *testing.T) {
	h := newHouse(t, nil)
	const validate, enable, cancel = pb.DowngradeRequest_VALIDATE, pb.DowngradeRequest_ENABLE, pb.DowngradeRequest_CANCEL
	for _, c := range []struct {
		action  pb.DowngradeRequest_DowngradeAction
		version string
		want    error
		told    string
		storage string
	}{
		{validate, "3.6", nil, "3.7", "3.7.0"},
		{validate, "3.6.5", nil, "3.7", "3.7.0"},
		{validate, "3.5", rpctypes.ErrGRPCInvalidDowngradeTargetVersion, "", "3.7.0"},
		{validate, "3.7", rpctypes.ErrGRPCInvalidDowngradeTargetVersion, "", "3.7.0"},
		{validate, "2.6", rpctypes.ErrGRPCInvalidDowngradeTargetVersion, "", "3.7.0"},
		{validate, "x", rpctypes.ErrGRPCWrongDowngradeVersionFormat, "", "3.7.0"},
		{validate, "", rpctypes.ErrGRPCWrongDowngradeVersionFormat, "", "3.7.0"},
		{validate, "3", rpctypes.ErrGRPCWrongDowngradeVersionFormat, "", "3.7.0"},
		{validate, "v3.6", rpctypes.ErrGRPCWrongDowngradeVersionFormat, "", "3.7.0"},
		{cancel, "", nil, "3.7", "3.7.0"},
		{enable, "3.8", rpctypes.ErrGRPCInvalidDowngradeTargetVersion, "", "3.7.0"},
		{enable, "3.6", nil, "3.7", "3.6.0"},
		{enable, "3.6", rpctypes.ErrGRPCDowngradeInProcess, "", "3.6.0"},
		{validate, "3.6", rpctypes.ErrGRPCDowngradeInProcess, "", "3.6.0"},
		{7, "3.6", errUnknownAction, "", "3.6.0"},
		{cancel, "", nil, "3.6", "3.7.0"},
		{validate, "3.6", nil, "3.7", "3.7.0"},
	} {
		r, err := h.maintenance.Downgrade(t.Context(), &pb.DowngradeRequest{Action: c.action, Version: c.version})
		if status.Convert(err).String() != status.Convert(c.want).String() || r.GetVersion() != c.told {
			t.Errorf("%v %q: %q %v, want %q %v", c.action, c.version, r.GetVersion(), err, c.told, c.want)
		}
		st, err := h.maintenance.Status(t.Context(), &pb.StatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		on := c.storage == "3.6.0"
		if st.StorageVersion != c.storage || st.DowngradeInfo.Enabled != on || (st.DowngradeInfo.TargetVersion == "3.6.0") != on {
			t.Errorf("after %v %q: storage %s, %v", c.action, c.version, st.StorageVersion, st.DowngradeInfo)
		}
	}
}

func TestLeadershipMovesToNobodyElse(t *testing.T) {
	h := newHouse(t, nil)
	for target, want := range map[uint64]error{houseMember: nil, 0: rpctypes.ErrGRPCBadLeaderTransferee, 99: rpctypes.ErrGRPCBadLeaderTransferee} {
		if _, err := h.maintenance.MoveLeader(t.Context(), &pb.MoveLeaderRequest{TargetID: target}); status.Convert(err).String() != status.Convert(want).String() {
			t.Errorf("to %x: %v, want %v", target, err, want)
		}
	}
	h.replica.leader.Store(0)
	if _, err := h.maintenance.MoveLeader(t.Context(), &pb.MoveLeaderRequest{TargetID: houseMember}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("without a leader: %v", err)
	}
}

func TestHashesTellTheirRevisions(t *testing.T) {
	h := newHouse(t, nil)
	h.put(t, "a", "1")
	r, err := h.maintenance.HashKV(t.Context(), &pb.HashKVRequest{Revision: 1})
	if err != nil || r.Header.Revision != 2 || r.HashRevision != 1 || r.CompactRevision != -1 {
		t.Errorf("%v %v", r, err)
	}
	if _, err := h.maintenance.HashKV(t.Context(), &pb.HashKVRequest{Revision: 3}); status.Convert(err).Message() != rpctypes.ErrorDesc(rpctypes.ErrGRPCFutureRev) {
		t.Error(err)
	}
	one, err := h.maintenance.Hash(t.Context(), &pb.HashRequest{})
	if err != nil || one.Header.Revision != 2 {
		t.Fatalf("%v %v", one, err)
	}
	h.put(t, "a", "2")
	if two, err := h.maintenance.Hash(t.Context(), &pb.HashRequest{}); err != nil || two.Hash == one.Hash {
		t.Errorf("%v %v", two, err)
	}
	if d, err := h.maintenance.Defragment(t.Context(), &pb.DefragmentRequest{}); err != nil || d.Header != nil {
		t.Errorf("%v %v", d, err)
	}
}
