package member

import (
	"encoding/binary"
	"fmt"

	"github.com/keelson-db/keelson/internal/storage"
)

// The identity's row: format 1 byte, cluster ID 8 bytes, local member ID 8 bytes, big endian.
// A member's row: format 1 byte, learner 1 byte, name, peer URLs, client URLs; a text is its length as
// uvarint and its bytes, a list is its count as uvarint and its texts.
const rowFormat = 1

func appendIdentity(b []byte, cluster uint64, local ID) []byte {
	b = append(b, rowFormat)
	b = binary.BigEndian.AppendUint64(b, cluster)
	return binary.BigEndian.AppendUint64(b, uint64(local))
}

func parseIdentity(row []byte) (cluster uint64, local ID, ok bool) {
	if len(row) != 17 || row[0] != rowFormat {
		return 0, 0, false
	}
	return binary.BigEndian.Uint64(row[1:]), ID(binary.BigEndian.Uint64(row[9:])), true
}

func save(b *storage.Batch, m Member) {
	b.Set(storage.MemberKey(nil, uint64(m.ID)), encodeRow(m))
}

func encodeRow(m Member) []byte {
	learner := byte(0)
	if m.Learner {
		learner = 1
	}
	b := []byte{rowFormat, learner}
	b = appendText(b, m.Name)
	b = appendTexts(b, m.PeerURLs)
	return appendTexts(b, m.ClientURLs)
}

func load(e storage.Reader) (members []Member, err error) {
	it, err := e.Iter(storage.MemberSpan())
	if err != nil {
		return nil, fmt.Errorf("read members: %w", err)
	}
	defer func() {
		if cerr := it.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("read members: %w", cerr)
		}
	}()
	for ok := it.First(); ok; ok = it.Next() {
		id, valid := storage.ParseMemberKey(it.Key())
		m, parsed := parseRow(ID(id), it.Value())
		if !valid || !parsed {
			return nil, fmt.Errorf("read members: row %x is malformed: the data was damaged or written by a newer release", it.Key())
		}
		members = append(members, m)
	}
	return members, it.Error()
}

func parseRow(id ID, row []byte) (Member, bool) {
	if len(row) < 2 || row[0] != rowFormat || row[1] > 1 {
		return Member{}, false
	}
	m := Member{ID: id, Learner: row[1] == 1}
	var ok bool
	rest := row[2:]
	if m.Name, rest, ok = takeText(rest); !ok {
		return Member{}, false
	}
	if m.PeerURLs, rest, ok = takeTexts(rest); !ok {
		return Member{}, false
	}
	m.ClientURLs, rest, ok = takeTexts(rest)
	return m, ok && len(rest) == 0
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
