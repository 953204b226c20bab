package member

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/keelson-db/keelson/internal/storage"
)

// The identity's row: format 1 byte, cluster ID 8 bytes, local member ID 8 bytes, big endian.
// A member's row of format 2: format 1 byte, kind 1 byte (0 voter, 1 learner, 2 removed: then that is all), name,
// peer URLs, client URLs, incarnation 8 bytes big endian, level as uvarint, version; a text is its length as
// uvarint and its bytes, a list is its count as uvarint and its texts. Rows of format 1 end with the client URLs
// and know no removed members; they are read and not written any more.
const (
	identityFormat = 1
	rowFormat      = 2
	rowFormatV1    = 1
)

// The kinds of a member's row.
const (
	rowVoter   = 0
	rowLearner = 1
	rowRemoved = 2
)

func appendIdentity(b []byte, cluster uint64, local ID) []byte {
	b = append(b, identityFormat)
	b = binary.BigEndian.AppendUint64(b, cluster)
	return binary.BigEndian.AppendUint64(b, uint64(local))
}

func parseIdentity(row []byte) (cluster uint64, local ID, ok bool) {
	if len(row) != 17 || row[0] != identityFormat {
		return 0, 0, false
	}
	return binary.BigEndian.Uint64(row[1:]), ID(binary.BigEndian.Uint64(row[9:])), true
}

func save(b *storage.Batch, m Member) {
	b.Set(storage.MemberKey(nil, uint64(m.ID)), encodeRow(m))
}

func saveRemoved(b *storage.Batch, id ID) {
	b.Set(storage.MemberKey(nil, uint64(id)), []byte{rowFormat, rowRemoved})
}

// Encode returns a member as its row has it, without its ID.
func Encode(m Member) []byte { return encodeRow(m) }

func encodeRow(m Member) []byte {
	kind := byte(rowVoter)
	if m.Learner {
		kind = rowLearner
	}
	b := []byte{rowFormat, kind}
	b = appendText(b, m.Name)
	b = appendTexts(b, m.PeerURLs)
	b = appendTexts(b, m.ClientURLs)
	b = binary.BigEndian.AppendUint64(b, m.Incarnation)
	b = binary.AppendUvarint(b, uint64(m.Level))
	return appendText(b, m.Version)
}

func load(e storage.Reader) (members []Member, removed []ID, err error) {
	it, err := e.Iter(storage.MemberSpan())
	if err != nil {
		return nil, nil, fmt.Errorf("read members: %w", err)
	}
	defer func() {
		if cerr := it.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("read members: %w", cerr)
		}
	}()
	for ok := it.First(); ok; ok = it.Next() {
		id, valid := storage.ParseMemberKey(it.Key())
		m, gone, parsed := parseRow(ID(id), it.Value())
		if !valid || !parsed {
			return nil, nil, fmt.Errorf("read members: row %x is malformed: the data was damaged or written by a newer release", it.Key())
		}
		if gone {
			removed = append(removed, m.ID)
		} else {
			members = append(members, m)
		}
	}
	return members, removed, it.Error()
}

// parseRow reads a member's row; removed says that only its ID is left.
func parseRow(id ID, row []byte) (m Member, removed, ok bool) {
	if len(row) < 2 || (row[0] != rowFormat && row[0] != rowFormatV1) || row[1] > rowRemoved {
		return Member{}, false, false
	}
	if row[1] == rowRemoved {
		return Member{ID: id}, true, row[0] == rowFormat && len(row) == 2
	}
	m = Member{ID: id, Learner: row[1] == rowLearner}
	rest := row[2:]
	if m.Name, rest, ok = takeText(rest); !ok {
		return Member{}, false, false
	}
	if m.PeerURLs, rest, ok = takeTexts(rest); !ok {
		return Member{}, false, false
	}
	if m.ClientURLs, rest, ok = takeTexts(rest); !ok {
		return Member{}, false, false
	}
	if row[0] == rowFormatV1 {
		return m, false, len(rest) == 0
	}
	ok = m.takeRelease(rest)
	return m, false, ok
}

// takeRelease reads what format 2 added.
func (m *Member) takeRelease(rest []byte) bool {
	if len(rest) < 8 {
		return false
	}
	m.Incarnation, rest = binary.BigEndian.Uint64(rest), rest[8:]
	level, n := binary.Uvarint(rest)
	if n <= 0 || level > math.MaxUint32 {
		return false
	}
	m.Level = uint32(level)
	var ok bool
	m.Version, rest, ok = takeText(rest[n:])
	return ok && len(rest) == 0
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendTexts(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendText(b, s)
	}
	return b
}

func takeText(b []byte) (s string, rest []byte, ok bool) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return "", nil, false
	}
	return string(b[w : w+int(n)]), b[w+int(n):], true
}

func takeTexts(b []byte) (list []string, rest []byte, ok bool) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return nil, nil, false
	}
	rest, ok = b[w:], true
	for ; n > 0 && ok; n-- {
		var s string
		s, rest, ok = takeText(rest)
		list = append(list, s)
	}
	return list, rest, ok
}
