package command

import (
	"bytes"
	"errors"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

func everyOp() []Op {
	return []Op{
		&pb.PutRequest{Key: []byte("k"), Value: []byte("v"), Lease: -5, PrevKv: true, IgnoreValue: true, IgnoreLease: true},
		&pb.PutRequest{},
		&pb.PutRequest{Key: bytes.Repeat([]byte("k"), 3000), Value: bytes.Repeat([]byte{0}, 70000)},
		&pb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte("b"), PrevKv: true},
		&pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte("k"), Target: pb.Compare_MOD}}},
		&pb.CompactionRequest{Revision: 7, Physical: true},
		&pb.LeaseGrantRequest{ID: 9, TTL: 60},
		&LeaseRevoke{IDs: []int64{1, 1 << 62, -1}, Expired: true},
		&LeaseRevoke{},
		&LeaseCheckpoint{Leases: []Remaining{{ID: 4, Seconds: 17}, {ID: 5}}},
		&MemberPublish{ID: 1 << 63, Name: "näme", ClientURLs: []string{"http://a", ""}},
		&MemberPublish{ID: 3, Name: "n", Incarnation: 1 << 60, Level: 2, Version: "v1"},
		&MemberUpdate{ID: 1 << 63, PeerURLs: []string{"http://a", "b"}},
		&ClusterLevel{Level: 300},
		&DigestMark{ID: 1 << 63},
		&DigestReport{Mark: 1 << 63, Member: 7, Compact: -1, Hash: 9, Rest: 1 << 50},
		&AuthEnable{Key: []byte("key")},
		&pb.AuthDisableRequest{},
		&pb.AuthUserAddRequest{Name: "u", HashedPassword: "aGFzaA==", Options: &authpb.UserAddOptions{NoPassword: true}},
		&pb.AuthUserDeleteRequest{Name: "u"},
		&pb.AuthUserChangePasswordRequest{Name: "u", HashedPassword: "aGFzaA=="},
		&pb.AuthUserGrantRoleRequest{User: "u", Role: "r"},
		&pb.AuthUserRevokeRoleRequest{Name: "u", Role: "r"},
		&pb.AuthRoleAddRequest{Name: "r"},
		&pb.AuthRoleDeleteRequest{Role: "r"},
		&pb.AuthRoleGrantPermissionRequest{Name: "r", Perm: &authpb.Permission{PermType: authpb.Permission_READWRITE, Key: []byte("k")}},
		&pb.AuthRoleRevokePermissionRequest{Role: "r", Key: []byte("k"), RangeEnd: []byte("l")},
		&pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 1 << 63, Alarm: pb.AlarmType_NOSPACE},
		&Downgrade{Target: "3.6.0"},
		&Downgrade{},
		Signed{By: Identity{User: "näme", AuthRev: 300}, Op: &pb.PutRequest{Key: []byte("k"), Value: []byte("v")}},
		Signed{By: Identity{Member: true}, Op: &pb.CompactionRequest{Revision: 7}},
		Signed{Op: &LeaseRevoke{IDs: []int64{9}}},
	}
}

func sameOp(a, b Op) bool {
	if m, ok := a.(proto.Message); ok {
		n, ok := b.(proto.Message)
		return ok && proto.Equal(m, n)
	}
	x, err1 := appendBody(nil, a)
	y, err2 := appendBody(nil, b)
	ka, _ := kindOf(a)
	kb, _ := kindOf(b)
	return err1 == nil && err2 == nil && ka == kb && bytes.Equal(x, y)
}

func TestAnEntryReturnsItsCommandsInOrder(t *testing.T) {
	entry := []byte{FormatV1}
	for i, op := range everyOp() {
		var err error
		if entry, err = AppendEncoded(entry, Command{ID: uint64(i) << 40, Op: op}); err != nil {
			t.Fatal(err)
		}
	}
	i := 0
	err := Split(entry, func(e Encoded) bool {
		op, err := e.Decode()
		if err != nil {
			t.Fatalf("command %d: %v", i, err)
		}
		if e.ID != uint64(i)<<40 || !sameOp(op, everyOp()[i]) {
			t.Fatalf("command %d came back as id %x %v, want %v", i, e.ID, op, everyOp()[i])
		}
		i++
		return true
	})
	if err != nil || i != len(everyOp()) {
		t.Fatalf("read %d of %d commands, err %v", i, len(everyOp()), err)
	}
}

func TestTheHandWrittenPutIsProtobuf(t *testing.T) {
	for _, op := range everyOp() {
		put, ok := op.(*pb.PutRequest)
		if !ok {
			continue
		}
		got := new(pb.PutRequest)
		if err := proto.Unmarshal(appendPut(nil, put), got); err != nil || !proto.Equal(got, put) {
			t.Errorf("%v came back as %v, err %v", put, got, err)
		}
	}
}

func TestBytesThatAreNoCommandsAreRefused(t *testing.T) {
	for _, entry := range [][]byte{
		{9},
		{FormatV1, 0},
		{FormatV1, 200},
		{FormatV1, 9, 0, 0, 0, 0, 0, 0, 0, 0},
	} {
		err := Split(entry, func(Encoded) bool { return true })
		if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnknownKind) {
			t.Errorf("% x was read, err %v", entry, err)
		}
	}
	for _, e := range []Encoded{
		{Kind: 99},
		{Kind: Put, Body: []byte{0x0a, 0xff}},
		{Kind: RevokeLeases},
		{Kind: RevokeLeases, Body: []byte{0, 1, 1, 1}},
		{Kind: CheckpointLease, Body: []byte{0xff, 0xff, 0xff, 0x7f}},
		{Kind: PublishMember, Body: []byte{1, 9, 'x'}},
	} {
		if op, err := e.Decode(); err == nil {
			t.Errorf("%+v was read as %v", e, op)
		}
	}
}

func FuzzSplit(f *testing.F) {
	entry := []byte{FormatV1}
	for _, op := range everyOp() {
		one, _ := AppendEncoded([]byte{FormatV1}, Command{ID: 1, Op: op})
		f.Add(one)
		entry, _ = AppendEncoded(entry, Command{ID: 2, Op: op})
	}
	f.Add(entry)
	f.Fuzz(func(t *testing.T, entry []byte) {
		_ = Split(entry, func(e Encoded) bool {
			op, err := e.Decode()
			if err != nil {
				return true
			}
			// What can be read can be written and read again: no command changes its meaning on its way.
			again, err := AppendEncoded([]byte{FormatV1}, Command{ID: e.ID, Op: op})
			if err != nil {
				t.Fatalf("%v cannot be written: %v", op, err)
			}
			_ = Split(again, func(e2 Encoded) bool {
				op2, err := e2.Decode()
				if err != nil || e2.ID != e.ID || !sameOp(op, op2) {
					t.Fatalf("%v became %v, err %v", op, op2, err)
				}
				return true
			})
			return true
		})
	})
}
