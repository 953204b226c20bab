package command

import (
	"encoding/binary"
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// FormatV1 is the first byte of every entry that carries commands.
const FormatV1 = 1

// MaxEntryBytes bounds the commands collected into one entry. A single larger command still travels,
// alone: its own limit is the server's request limit.
const MaxEntryBytes = 1 << 20

// headBytes is what stands between a command's size and its body.
const headBytes = 8 + 1

// identityOverhead is the most that an identity's encoding has beside the name.
const identityOverhead = 1 + 2*binary.MaxVarintLen64

// Who signed a command, in its first byte.
const (
	byUser   = 0
	byMember = 1
)

// putOverhead is the most that a put's encoding has beside its key and value.
const putOverhead = binary.MaxVarintLen32 + headBytes + 3*(1+binary.MaxVarintLen64) + 3*2

// AppendEncoded appends one command to b in the form an entry holds it, size first.
func AppendEncoded(b []byte, c Command) ([]byte, error) {
	kind, err := kindOf(c.Op)
	if err != nil {
		return b, err
	}
	// The size stands in front and is known only after the body is written: leave room for the longest
	// form and close the gap, which for the usual small request is a short copy.
	start := len(b)
	inner := c.Op
	if s, ok := inner.(Signed); ok {
		b = slices.Grow(b, len(s.By.User)+identityOverhead)
		inner = s.Op
	}
	if put, ok := inner.(*pb.PutRequest); ok {
		b = slices.Grow(b, putOverhead+len(put.Key)+len(put.Value)) // one allocation for the usual command
	}
	b = append(b, make([]byte, binary.MaxVarintLen32)...)
	b = binary.BigEndian.AppendUint64(b, c.ID)
	b = append(b, byte(kind))
	if b, err = appendBody(b, c.Op); err != nil {
		return b[:start], err
	}
	size := len(b) - start - binary.MaxVarintLen32
	n := binary.PutUvarint(b[start:start+binary.MaxVarintLen32], uint64(size))
	copy(b[start+n:], b[start+binary.MaxVarintLen32:])
	return b[:start+n+size], nil
}

func appendBody(b []byte, op Op) ([]byte, error) {
	switch op := op.(type) {
	case Signed:
		return appendBody(op.By.append(b), op.Op)
	case *pb.PutRequest:
		return appendPut(b, op), nil
	case *AuthEnable:
		return appendText(b, string(op.Key)), nil
	case *Downgrade:
		return appendText(b, op.Target), nil
	case *LeaseRevoke:
		return op.append(b), nil
	case *LeaseCheckpoint:
		return op.append(b), nil
	case *MemberPublish:
		return op.append(b), nil
	case *MemberUpdate:
		return appendTexts(binary.AppendUvarint(b, op.ID), op.PeerURLs), nil
	case *DigestMark:
		return binary.AppendUvarint(b, op.ID), nil
	case *DigestReport:
		return op.append(b), nil
	case *ClusterLevel:
		return binary.AppendUvarint(b, uint64(op.Level)), nil
	case proto.Message:
		b, err := proto.MarshalOptions{}.MarshalAppend(b, op)
		if err != nil {
			return b, fmt.Errorf("encode %T: %w", op, err)
		}
		return b, nil
	}
	return b, fmt.Errorf("encode %T: %w", op, ErrUnknownKind)
}

// appendPut is the protobuf encoding of a put, written out because puts are most of what is ever logged.
func appendPut(b []byte, r *pb.PutRequest) []byte {
	if len(r.Key) > 0 {
		b = protowire.AppendTag(b, 1, protowire.BytesType)
		b = protowire.AppendBytes(b, r.Key)
	}
	if len(r.Value) > 0 {
		b = protowire.AppendTag(b, 2, protowire.BytesType)
		b = protowire.AppendBytes(b, r.Value)
	}
	if r.Lease != 0 {
		b = protowire.AppendTag(b, 3, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(r.Lease))
	}
	for i, set := range [...]bool{r.PrevKv, r.IgnoreValue, r.IgnoreLease} {
		if set {
			b = protowire.AppendTag(b, protowire.Number(4+i), protowire.VarintType)
			b = append(b, 1)
		}
	}
	return b
}

func (i Identity) append(b []byte) []byte {
	if i.Member {
		return append(b, byMember)
	}
	b = binary.AppendUvarint(append(b, byUser), i.AuthRev)
	return appendText(b, i.User)
}

func (r *LeaseRevoke) append(b []byte) []byte {
	b = append(b, boolByte(r.Expired))
	b = binary.AppendUvarint(b, uint64(len(r.IDs)))
	for _, id := range r.IDs {
		b = binary.AppendUvarint(b, uint64(id))
	}
	return b
}

func (c *LeaseCheckpoint) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(c.Leases)))
	for _, l := range c.Leases {
		b = binary.AppendUvarint(b, uint64(l.ID))
		b = binary.AppendUvarint(b, uint64(l.Seconds))
	}
	return b
}

func (m *MemberPublish) append(b []byte) []byte {
	b = binary.AppendUvarint(b, m.ID)
	b = appendText(b, m.Name)
	b = appendTexts(b, m.ClientURLs)
	if m.Level == 0 {
		return b
	}
	b = binary.AppendUvarint(b, m.Incarnation)
	b = binary.AppendUvarint(b, uint64(m.Level))
	return appendText(b, m.Version)
}

func appendTexts(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendText(b, s)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}
