package command

import (
	"encoding/binary"
	"fmt"
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// Encoded is a command as an entry holds it: known by its ID, its body not yet read. The member that
// proposed it still has the request in hand and need not read it again.
type Encoded struct {
	ID   uint64
	Kind Kind
	Body []byte // aliases the entry
	// Whole is the command as AppendEncoded wrote it, size first. It aliases the entry.
	Whole []byte
}

// Split reads an entry's commands in order and yields them until yield returns false. It fails, having
// yielded what came before, when the bytes are no commands; the log's checksums make that a bug and not
// a disk's doing.
func Split(entry []byte, yield func(Encoded) bool) error {
	if len(entry) == 0 {
		return nil
	}
	if entry[0] != FormatV1 {
		return fmt.Errorf("entry format %d: %w", entry[0], ErrUnknownKind)
	}
	rest := entry[1:]
	for len(rest) > 0 {
		size, n := binary.Uvarint(rest)
		if n <= 0 || size < headBytes || size > uint64(len(rest)-n) {
			return fmt.Errorf("%w: a size does not fit its entry", ErrMalformed)
		}
		whole := rest[:n+int(size)]
		word := whole[n:]
		rest = rest[len(whole):]
		e := Encoded{ID: binary.BigEndian.Uint64(word), Kind: Kind(word[8]), Body: word[headBytes:], Whole: whole}
		if !yield(e) {
			return nil
		}
	}
	return nil
}

// Count returns how many commands an entry holds, or an error when it is none that Split reads to its end.
func Count(entry []byte) (n int, err error) {
	err = Split(entry, func(Encoded) bool {
		n++
		return true
	})
	return n, err
}

// Plain is the command's kind, whether it is signed or not.
func (e Encoded) Plain() Kind { return e.Kind.plain() }

// Decode reads the command's body.
func (e Encoded) Decode() (Op, error) {
	if e.Kind&signed != 0 {
		return e.decodeSigned()
	}
	switch e.Kind {
	case Put:
		return decodeMessage(e.Body, new(pb.PutRequest))
	case DeleteRange:
		return decodeMessage(e.Body, new(pb.DeleteRangeRequest))
	case Txn:
		return decodeMessage(e.Body, new(pb.TxnRequest))
	case Compact:
		return decodeMessage(e.Body, new(pb.CompactionRequest))
	case GrantLease:
		return decodeMessage(e.Body, new(pb.LeaseGrantRequest))
	case RevokeLeases:
		return decodeLeaseRevoke(e.Body)
	case CheckpointLease:
		return decodeLeaseCheckpoint(e.Body)
	case PublishMember, AnnounceMember:
		return decodeMemberPublish(e.Body, e.Kind == AnnounceMember)
	case UpdateMember:
		d := reader{b: e.Body}
		return &MemberUpdate{ID: d.uvarint(), PeerURLs: d.texts()}, d.end()
	case MarkDigest:
		d := reader{b: e.Body}
		return &DigestMark{ID: d.uvarint()}, d.end()
	case ReportDigest:
		return decodeDigestReport(e.Body)
	case SetLevel:
		d := reader{b: e.Body}
		return &ClusterLevel{Level: d.uint32()}, d.end()
	case RaiseAlarm:
		return decodeMessage(e.Body, new(pb.AlarmRequest))
	case SetDowngrade:
		d := reader{b: e.Body}
		return &Downgrade{Target: d.text()}, d.end()
	}
	return e.decodeAuth()
}

// decodeSigned reads who asks, and then for what.
func (e Encoded) decodeSigned() (Op, error) {
	d := reader{b: e.Body}
	var by Identity
	switch d.byte() {
	case byUser:
		by.AuthRev = d.uvarint()
		by.User = d.text()
	case byMember:
		by.Member = true
	default:
		d.fail()
	}
	if d.err != nil {
		return nil, d.err
	}
	e.Kind &^= signed
	e.Body = d.b
	op, err := e.Decode()
	if err != nil {
		return nil, err
	}
	return Signed{By: by, Op: op}, nil
}

// decodeAuth reads the kinds that are about users and roles.
func (e Encoded) decodeAuth() (Op, error) {
	switch e.Kind {
	case EnableAuth:
		d := reader{b: e.Body}
		return &AuthEnable{Key: []byte(d.text())}, d.end()
	case DisableAuth:
		return decodeMessage(e.Body, new(pb.AuthDisableRequest))
	case AddUser:
		return decodeMessage(e.Body, new(pb.AuthUserAddRequest))
	case DeleteUser:
		return decodeMessage(e.Body, new(pb.AuthUserDeleteRequest))
	case ChangePassword:
		return decodeMessage(e.Body, new(pb.AuthUserChangePasswordRequest))
	case GrantRole:
		return decodeMessage(e.Body, new(pb.AuthUserGrantRoleRequest))
	case RevokeRole:
		return decodeMessage(e.Body, new(pb.AuthUserRevokeRoleRequest))
	case AddRole:
		return decodeMessage(e.Body, new(pb.AuthRoleAddRequest))
	case DeleteRole:
		return decodeMessage(e.Body, new(pb.AuthRoleDeleteRequest))
	case GrantPermission:
		return decodeMessage(e.Body, new(pb.AuthRoleGrantPermissionRequest))
	case RevokePermission:
		return decodeMessage(e.Body, new(pb.AuthRoleRevokePermissionRequest))
	}
	return nil, fmt.Errorf("command kind %d: %w", e.Kind, ErrUnknownKind)
}

// decodeMessage drops fields it does not know: no command may depend on what this release cannot read.
func decodeMessage[M proto.Message](body []byte, m M) (Op, error) {
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, m); err != nil {
		return nil, fmt.Errorf("%w: read %T: %w", ErrMalformed, m, err)
	}
	return m, nil
}

func decodeLeaseRevoke(body []byte) (Op, error) {
	d := reader{b: body}
	r := &LeaseRevoke{Expired: d.byte() == 1}
	for n := d.count(1); n > 0; n-- {
		r.IDs = append(r.IDs, int64(d.uvarint()))
	}
	return r, d.end()
}

func decodeLeaseCheckpoint(body []byte) (Op, error) {
	d := reader{b: body}
	c := new(LeaseCheckpoint)
	for n := d.count(2); n > 0; n-- {
		c.Leases = append(c.Leases, Remaining{ID: int64(d.uvarint()), Seconds: int64(d.uvarint())})
	}
	return c, d.end()
}

func decodeMemberPublish(body []byte, announced bool) (Op, error) {
	d := reader{b: body}
	m := &MemberPublish{ID: d.uvarint(), Name: d.text(), ClientURLs: d.texts()}
	if announced {
		m.Incarnation, m.Level, m.Version = d.uvarint(), d.uint32(), d.text()
		if m.Level == 0 {
			d.fail()
		}
	}
	return m, d.end()
}

// reader takes varints off a body and remembers the first thing that was wrong.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail() {
	r.b = nil
	r.err = ErrMalformed
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads how many elements follow, each at least width bytes, so that a wrong count cannot make
// us reserve or loop beyond what is there.
func (r *reader) count(width int) uint64 {
	n := r.uvarint()
	if n > uint64(len(r.b)/width) {
		r.fail()
		return 0
	}
	return n
}

func (r *reader) uint32() uint32 {
	v := r.uvarint()
	if v > math.MaxUint32 {
		r.fail()
		return 0
	}
	return uint32(v)
}

func (r *reader) texts() (list []string) {
	for n := r.count(1); n > 0; n-- {
		list = append(list, r.text())
	}
	return list
}

func (r *reader) text() string {
	n := r.count(1)
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%w: bytes are left over", ErrMalformed)
	}
	return r.err
}
