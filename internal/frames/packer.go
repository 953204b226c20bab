package frames

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// The body of a frame of messages: their number (4), the number of all their entries (4), and the messages.
//
// A message is type (1), fields (2) and then, in the order of the bits, a uvarint for each number that is there, the
// context behind its length, the snapshot in raft's own encoding behind its length, and the entries behind their
// count. Who sends and who receives is known from the connection and does not travel.
//
// An entry is fields (1), the term and the index where they are not what follows from the entry before, each as
// uvarint, and the data behind its length. What follows is the same term, and the next index; the first entry
// follows the message's own.
const (
	hasTerm = 1 << iota
	hasLogTerm
	hasIndex
	hasCommit
	hasVote
	hasRejectHint
	hasReject
	reject
	hasContext
	hasSnapshot
	hasEntries
	knownFields = 1<<iota - 1
)

const (
	entryHasType   = 1 << 0
	entryTypeShift = 1 // two bits
	entryHasTerm   = 1 << 3
	entryHasIndex  = 1 << 4
	entryOwnTerm   = 1 << 5
	entryOwnIndex  = 1 << 6
	entryHasData   = 1 << 7
)

// leastEntryBytes and leastMessageBytes are what the shortest entry and message take on the wire, in bytes.
const (
	leastEntryBytes   = 1
	leastMessageBytes = 3
	countsBytes       = 8
	// maxEntryHeadBytes is the most that an entry takes beside its data, in bytes.
	maxEntryHeadBytes = 1 + 3*binary.MaxVarintLen64
)

// ErrNotCarried means that a message is none that members send each other.
var ErrNotCarried = errors.New("the message is not one that members send each other")

// Packer makes frames of messages, one behind the other in one buffer.
type Packer struct {
	buf   []byte
	limit int // of a body
	at    int // where the open frame begins; -1 when none is open
	count struct{ messages, entries uint32 }
	flags byte
}

// NewPacker builds a packer of frames whose bodies are at most limit bytes long.
func NewPacker(limit int) *Packer { return &Packer{limit: limit, at: -1} }

// Add puts a message into the open frame, or into a new one. With an error nothing is added.
func (p *Packer) Add(m *raftpb.Message) error {
	if !carried(m.GetType()) || len(m.GetResponses()) > 0 || len(m.GetEntries()) > maxEntries {
		return fmt.Errorf("%w: %s of %d entries", ErrNotCarried, m.GetType(), len(m.GetEntries()))
	}
	if p.at >= 0 && (len(p.buf)-p.at >= fullBytes || p.count.messages == maxMessages ||
		int(p.count.entries)+len(m.GetEntries()) > maxEntries) {
		p.close()
	}
	if p.at < 0 {
		p.open()
	}
	before := len(p.buf)
	size := leastMessageBytes
	for _, e := range m.GetEntries() {
		size += len(e.GetData()) + maxEntryHeadBytes
	}
	p.buf = slices.Grow(p.buf, size)
	var err error
	if p.buf, err = appendMessage(p.buf, m); err != nil {
		p.buf = p.buf[:before]
		return err
	}
	if len(p.buf)-p.at-HeadBytes > p.limit && p.count.messages > 0 {
		// It does not fit in behind the others: it begins a frame of its own.
		p.buf = p.buf[:before]
		p.close()
		return p.Add(m)
	}
	if size := len(p.buf) - p.at - HeadBytes; size > p.limit {
		p.buf, p.at = p.buf[:p.at], -1
		return fmt.Errorf("%w: %s of %d bytes, where %d are allowed", ErrNotCarried, m.GetType(), size, p.limit)
	}
	p.count.messages++
	p.count.entries += uint32(len(m.GetEntries()))
	if len(m.GetEntries()) > 0 {
		p.flags |= flagData
	}
	return nil
}

// Begin begins anew behind whole frames, in their buffer.
func (p *Packer) Begin(frames []byte) { p.buf, p.at = frames, -1 }

// Len is how many bytes are there by now.
func (p *Packer) Len() int { return len(p.buf) }

// Take ends the frame that is open and returns everything. The buffer is the caller's then.
func (p *Packer) Take() []byte {
	p.close()
	b := p.buf
	p.buf = nil
	return b
}

func (p *Packer) open() {
	p.at, p.flags = len(p.buf), 0
	p.count.messages, p.count.entries = 0, 0
	p.buf = append(openFrame(p.buf), make([]byte, countsBytes)...)
}

// close ends the open frame, if there is one. A frame without a message is taken back.
func (p *Packer) close() {
	if p.at < 0 {
		return
	}
	if p.count.messages == 0 {
		p.buf = p.buf[:p.at]
	} else {
		binary.LittleEndian.PutUint32(p.buf[p.at+HeadBytes:], p.count.messages)
		binary.LittleEndian.PutUint32(p.buf[p.at+HeadBytes+4:], p.count.entries)
		closeFrame(p.buf, p.at, Messages, p.flags)
	}
	p.at = -1
}

func appendMessage(b []byte, m *raftpb.Message) ([]byte, error) {
	fields := fieldsOf(m)
	b = append(b, byte(m.GetType()), byte(fields), byte(fields>>8))
	b = appendNumber(b, m.Term)
	b = appendNumber(b, m.LogTerm)
	b = appendNumber(b, m.Index)
	b = appendNumber(b, m.Commit)
	b = appendNumber(b, m.Vote)
	b = appendNumber(b, m.RejectHint)
	if m.Context != nil {
		b = binary.AppendUvarint(b, uint64(len(m.Context)))
		b = append(b, m.Context...)
	}
	if m.Snapshot != nil {
		text, err := proto.Marshal(m.Snapshot)
		if err != nil {
			return b, fmt.Errorf("encode a snapshot message: %w", err)
		}
		b = binary.AppendUvarint(b, uint64(len(text)))
		b = append(b, text...)
	}
	if len(m.Entries) > 0 {
		b = appendEntries(b, m)
	}
	return b, nil
}

func fieldsOf(m *raftpb.Message) (fields uint16) {
	for i, there := range [...]bool{
		m.Term != nil, m.LogTerm != nil, m.Index != nil, m.Commit != nil, m.Vote != nil, m.RejectHint != nil,
		m.Reject != nil, m.GetReject(), m.Context != nil, m.Snapshot != nil, len(m.Entries) > 0,
	} {
		if there {
			fields |= 1 << i
		}
	}
	return fields
}

func appendNumber(b []byte, n *uint64) []byte {
	if n == nil {
		return b
	}
	return binary.AppendUvarint(b, *n)
}

func appendEntries(b []byte, m *raftpb.Message) []byte {
	b = binary.AppendUvarint(b, uint64(len(m.Entries)))
	term, index := m.GetTerm(), m.GetIndex()+1
	for _, e := range m.Entries {
		at := len(b)
		b = append(b, 0)
		fields := byte(e.GetType()&3) << entryTypeShift
		if e.Type != nil {
			fields |= entryHasType
		}
		if e.Term != nil {
			fields |= entryHasTerm
			if *e.Term != term {
				fields |= entryOwnTerm
				term = *e.Term
				b = binary.AppendUvarint(b, term)
			}
		}
		if e.Index != nil {
			fields |= entryHasIndex
			if *e.Index != index {
				fields |= entryOwnIndex
				index = *e.Index
				b = binary.AppendUvarint(b, index)
			}
		}
		if e.Data != nil {
			fields |= entryHasData
			b = binary.AppendUvarint(b, uint64(len(e.Data)))
			b = append(b, e.Data...)
		}
		b[at] = fields
		index++
	}
	return b
}
