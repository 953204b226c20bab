package command

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// TestTheBytesOfTheLogStayWhatTheyAre holds every kind of command to the bytes that are on disks already.
func TestTheBytesOfTheLogStayWhatTheyAre(t *testing.T) {
	for _, c := range []struct {
		op   Op
		want string // behind the format: size, id, kind, body
	}{
		{&pb.PutRequest{Key: []byte("k"), Value: []byte("v"), Lease: 7, PrevKv: true, IgnoreValue: true, IgnoreLease: true},
			"17" + "0102030405060708" + "01" + "0a016b" + "120176" + "1807" + "2001" + "2801" + "3001"},
		{&pb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte("b"), PrevKv: true},
			"11" + "0102030405060708" + "02" + "0a0161" + "120162" + "1801"},
		{&pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("a")}}}}},
			"10" + "0102030405060708" + "03" + "1205" + "0a03" + "0a0161"},
		{&pb.CompactionRequest{Revision: 300}, "0c" + "0102030405060708" + "04" + "08ac02"},
		{&pb.LeaseGrantRequest{TTL: 60, ID: 9}, "0d" + "0102030405060708" + "05" + "083c" + "1009"},
		{&LeaseRevoke{IDs: []int64{1, 300}, Expired: true}, "0e" + "0102030405060708" + "06" + "01" + "02" + "01" + "ac02"},
		{&LeaseCheckpoint{Leases: []Remaining{{ID: 4, Seconds: 17}}}, "0c" + "0102030405060708" + "07" + "01" + "04" + "11"},
		{&MemberPublish{ID: 5, Name: "n", ClientURLs: []string{"u", ""}},
			"10" + "0102030405060708" + "08" + "05" + "016e" + "02" + "0175" + "00"},
		{&AuthEnable{Key: []byte("key")}, "0d" + "0102030405060708" + "09" + "036b6579"},
		{&pb.AuthDisableRequest{}, "09" + "0102030405060708" + "0a"},
		{&pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: 5, Alarm: pb.AlarmType_NOSPACE},
			"0f" + "0102030405060708" + "14" + "0802" + "1005" + "1801"},
		{&Downgrade{Target: "3.6.0"}, "0f" + "0102030405060708" + "15" + "05332e362e30"},
		{&MemberPublish{ID: 5, Name: "n", Incarnation: 300, Level: 2, Version: "v"},
			"12" + "0102030405060708" + "16" + "05" + "016e" + "00" + "ac02" + "02" + "0176"},
		{&MemberUpdate{ID: 5, PeerURLs: []string{"u"}}, "0d" + "0102030405060708" + "17" + "05" + "01" + "0175"},
		{&ClusterLevel{Level: 2}, "0a" + "0102030405060708" + "18" + "02"},
		{&DigestMark{ID: 300}, "0b" + "0102030405060708" + "19" + "ac02"},
		{&DigestReport{Mark: 300, Member: 5, Compact: -1, Hash: 6, Rest: 7},
			"18" + "0102030405060708" + "1a" + "ac02" + "05" + "ffffffffffffffffff01" + "06" + "07"},
		{Signed{By: Identity{User: "me", AuthRev: 300}, Op: &pb.PutRequest{Key: []byte("k")}},
			"12" + "0102030405060708" + "81" + "00" + "ac02" + "026d65" + "0a016b"},
		{Signed{By: Identity{Member: true}, Op: &pb.CompactionRequest{Revision: 300}}, "0d" + "0102030405060708" + "84" + "01" + "08ac02"},
	} {
		got, err := AppendEncoded([]byte{FormatV1}, Command{ID: 0x0102030405060708, Op: c.op})
		if err != nil || hex.EncodeToString(got) != "01"+c.want {
			t.Errorf("%T is written as %x, %v; want 01%s", c.op, got, err, c.want)
		}
	}
}

// TestACommandCutShortIsNoOther cuts an entry of each kind at every byte: none of it is read as a whole
// command, and a body cut alone is refused or is a shorter message of protobuf.
func TestACommandCutShortIsNoOther(t *testing.T) {
	for _, op := range everyOp() {
		entry, err := AppendEncoded([]byte{FormatV1}, Command{ID: 3, Op: op})
		if err != nil {
			t.Fatal(err)
		}
		for n := 2; n < min(len(entry), 400); n++ {
			err := Split(entry[:n], func(e Encoded) bool {
				t.Fatalf("%T cut to %d of %d bytes yielded %+v", op, n, len(entry), e)
				return false
			})
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("%T cut to %d bytes: %v", op, n, err)
			}
		}
		kind, _ := kindOf(op)
		body, err := appendBody(nil, op)
		if err != nil {
			t.Fatal(err)
		}
		for n := range min(len(body), 400) {
			cut, err := Encoded{Kind: kind, Body: body[:n]}.Decode()
			if err == nil && (!isMessage(op) || sameOp(cut, op)) {
				t.Fatalf("%d of %d bytes of %T are read as %v", n, len(body), op, cut)
			}
			if err != nil && !errors.Is(err, ErrMalformed) {
				t.Fatalf("%d bytes of %T: %v", n, op, err)
			}
		}
	}
}

// isMessage says that a command's body is, behind its author, a message of protobuf, which may lack its end.
func isMessage(op Op) bool {
	if s, ok := op.(Signed); ok {
		op = s.Op
	}
	_, ok := op.(proto.Message)
	return ok
}

func TestACommandIsSignedOnce(t *testing.T) {
	twice := Signed{Op: Signed{Op: &pb.PutRequest{}}}
	if _, err := AppendEncoded(nil, Command{Op: twice}); !errors.Is(err, ErrUnknownKind) {
		t.Fatalf("a command signed twice: %v", err)
	}
}

func TestWhatIsNoCommandIsNotWritten(t *testing.T) {
	before := []byte{FormatV1, 9, 9}
	got, err := AppendEncoded(bytes.Clone(before), Command{Op: "a text"})
	if !errors.Is(err, ErrUnknownKind) || !bytes.Equal(got, before) {
		t.Fatalf("a text left %x, %v", got, err)
	}
	// An authentication request is a message of etcd's, but no command.
	if _, err := AppendEncoded(nil, Command{Op: &pb.AuthEnableRequest{}}); !errors.Is(err, ErrUnknownKind) {
		t.Fatalf("a message that is no command: %v", err)
	}
}

func TestReadingEndsWhereTheReaderWants(t *testing.T) {
	entry := []byte{FormatV1}
	for id := range uint64(5) {
		entry, _ = AppendEncoded(entry, Command{ID: id, Op: &pb.CompactionRequest{Revision: 1}})
	}
	var ids []uint64
	err := Split(append(entry, 200), func(e Encoded) bool {
		ids = append(ids, e.ID)
		return e.ID < 2
	})
	if err != nil || len(ids) != 3 {
		t.Fatalf("read %v, %v; want the first three and nothing of what follows", ids, err)
	}
	if err := Split(append(entry, 200), func(e Encoded) bool { ids = append(ids, e.ID); return true }); !errors.Is(err, ErrMalformed) || len(ids) != 8 {
		t.Fatalf("read %v, %v; want all five more and then an error", ids, err)
	}
	if err := Split(nil, func(Encoded) bool { t.Fatal("an empty entry holds a command"); return false }); err != nil {
		t.Fatal(err)
	}
}

// TestFieldsOfANewerReleaseAreDropped reads a put with a field that etcd's API does not have.
func TestFieldsOfANewerReleaseAreDropped(t *testing.T) {
	op, err := Encoded{Kind: Put, Body: []byte{0x0a, 1, 'k', 0xfa, 0x07, 1, 'x'}}.Decode()
	put, ok := op.(*pb.PutRequest)
	if err != nil || !ok || string(put.Key) != "k" || len(put.ProtoReflect().GetUnknown()) != 0 {
		t.Fatalf("read %v, %v", op, err)
	}
}
