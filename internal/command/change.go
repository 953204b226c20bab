package command

import (
	"encoding/binary"
	"fmt"
)

// ChangeKind says what a change of the membership does. The numbers are on disk.
type ChangeKind uint8

// The kinds of changes.
const (
	AddVoter      ChangeKind = 1
	AddLearner    ChangeKind = 2
	PromoteMember ChangeKind = 3
	RemoveMember  ChangeKind = 4
)

// MemberChange adds, promotes or removes one member. It is no command among others in an entry: it stands in an
// entry of its own that raft understands, as that entry's context.
type MemberChange struct {
	Kind     ChangeKind
	Member   uint64
	PeerURLs []string // of a member that is added
}

// AppendChange appends a change and the ID of its proposal to b: format (1), ID (8, big endian), kind (1), member,
// peer URLs behind their count, as uvarints and texts.
func AppendChange(b []byte, id uint64, c MemberChange) []byte {
	b = binary.BigEndian.AppendUint64(append(b, FormatV1), id)
	b = binary.AppendUvarint(append(b, byte(c.Kind)), c.Member)
	return appendTexts(b, c.PeerURLs)
}

// DecodeChange reads what AppendChange wrote.
func DecodeChange(b []byte) (id uint64, c MemberChange, err error) {
	if len(b) < 1+headBytes {
		return 0, c, fmt.Errorf("%w: a change of the membership is cut short", ErrMalformed)
	}
	if b[0] != FormatV1 {
		return 0, c, fmt.Errorf("change of the membership in format %d: %w", b[0], ErrUnknownKind)
	}
	id = binary.BigEndian.Uint64(b[1:])
	d := reader{b: b[1+headBytes:]}
	c = MemberChange{Kind: ChangeKind(b[headBytes]), Member: d.uvarint(), PeerURLs: d.texts()}
	if c.Kind < AddVoter || c.Kind > RemoveMember {
		return 0, c, fmt.Errorf("change of the membership of kind %d: %w", c.Kind, ErrUnknownKind)
	}
	return id, c, d.end()
}
