package wire

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/mem"

	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/watch"
)

// shareFrameBytes is the size in bytes from which on an encoded event is handed to the transport where it
// lies, shared with every other watcher. Copying a smaller one behind the header costs less than one more
// piece for the transport to look after.
const shareFrameBytes = 192

// inlineFieldsBytes is the room in bytes for the fields before a lone event: a header is at most 46 bytes,
// a watch identity 11.
const inlineFieldsBytes = 64

// tagReason is the tag of WatchResponse.cancel_reason: field 6, length-delimited.
const tagReason = 6<<3 | 2

// WatchEncoder turns a watch response into messages. The events come encoded, as whole fields of the
// message, so only the few fields before them are written. It is reused for all responses of a stream and
// belongs to the goroutine that sends them: SetMember once, SetTerm when it may have changed, then for each
// response Load, and Next until there are no more.
type WatchEncoder struct {
	head   pb.ResponseHeader
	header []byte // head in its wire form, which many responses in a row share; empty when it is out of date
	resp   *watch.Response
	frames [][]byte // of its events
	sent   int      // how many of them are in messages already
}

// SetMember says which member of which cluster answers.
func (e *WatchEncoder) SetMember(cluster, member uint64) {
	e.head.ClusterId, e.head.MemberId, e.header = cluster, member, e.header[:0]
}

// SetTerm says in which term the next responses are sent.
func (e *WatchEncoder) SetTerm(term uint64) {
	if e.head.RaftTerm != term {
		e.head.RaftTerm, e.header = term, e.header[:0]
	}
}

// take begins with a response that has no events yet.
func (e *WatchEncoder) take(r *watch.Response) {
	e.resp = r
	if rev := int64(r.Rev); e.head.Revision != rev {
		e.head.Revision, e.header = rev, e.header[:0]
	}
	if len(e.header) == 0 {
		e.header = appendHeaderField(e.header, &e.head)
	}
}

// Load takes the response and its events' encoded forms, which the store shares between all who ask.
func (e *WatchEncoder) Load(store *mvcc.Store, r *watch.Response) error {
	e.take(r)
	clear(e.frames) // what a slow send before left is of no use to anybody
	e.frames, e.sent = e.frames[:0], 0
	for _, ev := range r.Events {
		f, err := store.Frame(ev, r.PrevKV && ev.Pos.Rev > r.PrevAfter)
		if err != nil {
			return err
		}
		e.frames = append(e.frames, f)
	}
	return nil
}

// WatchMessage is some events of the response in hand and how many bytes a message with them has. It is good
// until the next Load.
type WatchMessage struct {
	frames   [][]byte
	fragment bool // more events of the same revision follow in other messages
	size     int
}

// Size is the length of the message in bytes.
func (m WatchMessage) Size() int { return m.size }

// Next is the next message to send, and whether there are more. Only a response whose watcher allows
// fragments, which reaches limit bytes and has several events, becomes more than one message; each takes as
// many events as stay below the limit, but at least one.
func (e *WatchEncoder) Next(limit int) (m WatchMessage, more bool) {
	m.frames = e.frames[e.sent:]
	if e.resp.Fragment && len(m.frames) > 1 && e.fieldsSize(false)+lengths(m.frames) >= limit {
		m.frames = e.fitting(m.frames, limit)
	}
	e.sent += len(m.frames)
	m.fragment = e.sent < len(e.frames)
	m.size = e.fieldsSize(m.fragment) + lengths(m.frames)
	return m, m.fragment
}

func lengths(frames [][]byte) (n int) {
	for _, f := range frames {
		n += len(f)
	}
	return n
}

// fitting are the events that go into the next fragment.
func (e *WatchEncoder) fitting(frames [][]byte, limit int) [][]byte {
	size := e.fieldsSize(true)
	for i, f := range frames {
		size += len(f)
		if i > 0 && size >= limit {
			return frames[:i]
		}
	}
	return frames
}

// AppendMessage writes a message where others stand already: m.Size() bytes, which the caller has room for.
func (e *WatchEncoder) AppendMessage(b []byte, m WatchMessage) []byte {
	b = e.appendFields(b, m.fragment)
	for _, f := range m.frames {
		b = append(b, f...)
	}
	return b
}

// Message makes a message, for Codec alone, that is sent on its own. Large events stay where they are.
func (e *WatchEncoder) Message(m WatchMessage) any {
	own, shared := m.size, 0 // bytes to write, events to share
	for _, f := range m.frames {
		if len(f) >= shareFrameBytes {
			own -= len(f)
			shared++
		}
	}
	if shared == 0 {
		r := newReply(m.size)
		r.b = e.AppendMessage(r.b, m)
		return r
	}
	if len(m.frames) == 1 && own <= inlineFieldsBytes {
		return e.lone(m.frames[0], m.fragment)
	}
	return e.pieces(m.frames, own, shared, m.fragment)
}

// loneEvent is the usual message, one event for one watcher, in one allocation.
type loneEvent struct {
	Encoded
	parts  [2]mem.SliceBuffer
	bufs   [2]mem.Buffer
	fields [inlineFieldsBytes]byte
}

func (e *WatchEncoder) lone(frame []byte, fragment bool) *Encoded {
	m := new(loneEvent)
	m.parts[0], m.parts[1] = e.appendFields(m.fields[:0], fragment), frame
	m.bufs[0], m.bufs[1] = &m.parts[0], &m.parts[1]
	m.Bufs = m.bufs[:]
	return &m.Encoded
}

// pieces writes a message of which some events stay where they are: own bytes and shared ones in turn.
func (e *WatchEncoder) pieces(frames [][]byte, size, shared int, fragment bool) *Encoded {
	own := e.appendFields(make([]byte, 0, size), fragment)
	begun := 0 // where the piece of own bytes in hand begins
	parts := make([]mem.SliceBuffer, 0, 2*shared+1)
	for _, f := range frames {
		if len(f) < shareFrameBytes {
			own = append(own, f...)
			continue
		}
		if len(own) > begun {
			parts = append(parts, own[begun:len(own):len(own)])
			begun = len(own)
		}
		parts = append(parts, f)
	}
	if len(own) > begun {
		parts = append(parts, own[begun:])
	}
	bufs := make(mem.BufferSlice, len(parts))
	for i := range parts {
		bufs[i] = &parts[i] // a pointer fits the interface without an allocation of its own
	}
	return &Encoded{Bufs: bufs}
}

// fieldsSize is the size of everything before the events.
func (e *WatchEncoder) fieldsSize(fragment bool) int {
	r := e.resp
	n := len(e.header) + sizeInt(uint64(r.ID)) + sizeBool(r.Created) + sizeBool(r.Canceled) +
		sizeInt(uint64(r.CompactRev)) + sizeBool(fragment)
	if r.Reason != "" {
		n += sizeLen(len(r.Reason))
	}
	return n
}

// appendFields writes everything before the events.
func (e *WatchEncoder) appendFields(b []byte, fragment bool) []byte {
	r := e.resp
	b = append(b, e.header...)
	b = appendInt(b, tag2Varint, uint64(r.ID))
	b = appendBool(b, tag3Varint, r.Created)
	b = appendBool(b, tag4Varint, r.Canceled)
	b = appendInt(b, tag5Varint, uint64(r.CompactRev))
	if r.Reason != "" {
		b = append(appendLen(b, tagReason, len(r.Reason)), r.Reason...)
	}
	return appendBool(b, tag7Varint, fragment)
}
