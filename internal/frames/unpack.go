package frames

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// contextBytes is how long a message's context may be to lie beside it, in bytes. Those of raft are not longer.
const contextBytes = 16

// message is a message and everything its fields point to, so that it is one piece of memory and not ten.
type message struct {
	raftpb.Message
	numbers [8]uint64
	kind    raftpb.MessageType
	reject  bool
	context [contextBytes]byte
}

// entry is the same for an entry.
type entry struct {
	raftpb.Entry
	term, index uint64
	kind        raftpb.EntryType
}

// unpacker reads the messages of one frame.
type unpacker struct {
	b        []byte
	failed   bool
	from, to uint64
	entries  []entry
	pointers []*raftpb.Entry
}

// Unpack reads the body of a frame of messages from one member to another. The data of entries is not copied: it
// stays where the body is. Nothing is returned that raft would choke on.
func Unpack(body []byte, from, to uint64) ([]*raftpb.Message, error) {
	if len(body) < countsBytes {
		return nil, fmt.Errorf("%w: %d bytes of messages", ErrMalformed, len(body))
	}
	count, entries := binary.LittleEndian.Uint32(body), binary.LittleEndian.Uint32(body[4:])
	u := unpacker{b: body[countsBytes:], from: from, to: to}
	room := uint64(len(u.b))
	if count > maxMessages || uint64(count)*leastMessageBytes > room || entries > maxEntries || uint64(entries)*leastEntryBytes > room {
		return nil, fmt.Errorf("%w: %d messages and %d entries in %d bytes", ErrMalformed, count, entries, room)
	}
	u.entries, u.pointers = make([]entry, entries), make([]*raftpb.Entry, entries)
	all, messages := make([]message, count), make([]*raftpb.Message, count)
	for i := range all {
		u.message(&all[i])
		if u.failed {
			return nil, fmt.Errorf("%w: message %d of %d does not end well", ErrMalformed, i+1, count)
		}
		if err := check(&all[i].Message); err != nil {
			return nil, err
		}
		messages[i] = &all[i].Message
	}
	if len(u.b) > 0 || len(u.entries) > 0 {
		return nil, fmt.Errorf("%w: %d bytes and %d entries too many", ErrMalformed, len(u.b), len(u.entries))
	}
	return messages, nil
}

func (u *unpacker) message(m *message) {
	first := u.take(leastMessageBytes)
	if u.failed {
		return
	}
	fields := binary.LittleEndian.Uint16(first[1:])
	if fields > knownFields {
		u.failed = true
		return
	}
	m.kind = raftpb.MessageType(first[0])
	m.numbers[6], m.numbers[7] = u.from, u.to
	m.Type, m.From, m.To = &m.kind, &m.numbers[6], &m.numbers[7]
	for i, field := range [...]**uint64{&m.Term, &m.LogTerm, &m.Index, &m.Commit, &m.Vote, &m.RejectHint} {
		if fields&(1<<i) != 0 {
			m.numbers[i] = u.uvarint()
			*field = &m.numbers[i]
		}
	}
	if fields&hasReject != 0 {
		m.reject = fields&reject != 0
		m.Reject = &m.reject
	}
	if fields&hasContext != 0 {
		m.Context = append(m.context[:0], u.take(u.uvarint())...)
	}
	if fields&hasSnapshot != 0 {
		m.Snapshot = new(raftpb.Snapshot)
		if text := u.take(u.uvarint()); !u.failed {
			u.failed = proto.Unmarshal(text, m.Snapshot) != nil
		}
	}
	if fields&hasEntries != 0 {
		u.readEntries(m)
	}
}

func (u *unpacker) readEntries(m *message) {
	n := u.uvarint()
	if u.failed || n == 0 || n > uint64(len(u.entries)) {
		u.failed = true
		return
	}
	entries := u.entries[:n]
	m.Entries = u.pointers[:n:n]
	u.entries, u.pointers = u.entries[n:], u.pointers[n:]
	term, index := m.GetTerm(), m.GetIndex()+1
	for i := range entries {
		e := &entries[i]
		m.Entries[i] = &e.Entry
		fields := u.byte()
		if fields&entryHasType != 0 {
			e.kind = raftpb.EntryType(fields >> entryTypeShift & 3)
			e.Type = &e.kind
		}
		if fields&entryOwnTerm != 0 {
			term = u.uvarint()
		}
		if fields&entryHasTerm != 0 {
			e.term = term
			e.Term = &e.term
		}
		if fields&entryOwnIndex != 0 {
			index = u.uvarint()
		}
		if fields&entryHasIndex != 0 {
			e.index = index
			e.Index = &e.index
		}
		if fields&entryHasData != 0 {
			data := u.take(u.uvarint())
			e.Data = data[:len(data):len(data)]
		}
		index++
	}
}

// take returns the next n bytes.
func (u *unpacker) take(n uint64) []byte {
	if u.failed || n > uint64(len(u.b)) {
		u.failed = true
		return nil
	}
	b := u.b[:n]
	u.b = u.b[n:]
	return b
}

func (u *unpacker) byte() byte {
	if b := u.take(1); !u.failed {
		return b[0]
	}
	return 0
}

func (u *unpacker) uvarint() uint64 {
	n, width := binary.Uvarint(u.b)
	if u.failed || width <= 0 {
		u.failed = true
		return 0
	}
	u.b = u.b[width:]
	return n
}
