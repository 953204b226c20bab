package frames

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// appendOf is an append as a leader sends it: so many entries of so many bytes behind an index.
func appendOf(index uint64, entries, size int) *raftpb.Message {
	m := &raftpb.Message{
		Type: raftpb.MsgApp.Enum(), From: new(uint64(1)), To: new(uint64(2)), Term: new(uint64(7)), LogTerm: new(uint64(6)),
		Index: new(index), Commit: new(index),
	}
	for i := range entries {
		e := &raftpb.Entry{Term: new(uint64(7)), Index: new(index + 1 + uint64(i)), Type: raftpb.EntryNormal.Enum()}
		if size > 0 {
			e.Data = bytes.Repeat([]byte{byte(i)}, size)
		}
		m.Entries = append(m.Entries, e)
	}
	return m
}

func plain(t raftpb.MessageType, term uint64) *raftpb.Message {
	m := &raftpb.Message{Type: t.Enum(), From: new(uint64(1)), To: new(uint64(2))}
	if term > 0 {
		m.Term = new(term)
	}
	return m
}

// sentByRaft is one message of every type, with the fields that raft gives it.
func sentByRaft() []*raftpb.Message {
	question := []*raftpb.Entry{{Data: []byte("question")}}
	proposal := plain(raftpb.MsgProp, 5)
	proposal.Entries = []*raftpb.Entry{{Data: []byte("put")}, {Type: raftpb.EntryConfChange.Enum(), Data: []byte{}}, {}}
	refused := plain(raftpb.MsgAppResp, 9)
	refused.Index, refused.Reject, refused.RejectHint, refused.LogTerm = new(uint64(90)), new(true), new(uint64(80)), new(uint64(8))
	accepted := plain(raftpb.MsgAppResp, 9)
	accepted.Index, accepted.Reject = new(uint64(math.MaxUint64)), new(false)
	vote := plain(raftpb.MsgVote, 10)
	vote.Index, vote.LogTerm, vote.Context = new(uint64(90)), new(uint64(9)), []byte("CampaignTransfer")
	beat := plain(raftpb.MsgHeartbeat, 10)
	beat.Commit, beat.Context = new(uint64(0)), []byte{}
	long := plain(raftpb.MsgHeartbeatResp, 10)
	long.Context = bytes.Repeat([]byte("long"), 20)
	asked := plain(raftpb.MsgReadIndex, 0)
	asked.Entries = question
	told := plain(raftpb.MsgReadIndexResp, 10)
	told.Entries, told.Index = question, new(uint64(90))
	copied := plain(raftpb.MsgSnap, 10)
	copied.Snapshot = &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
		Index: new(uint64(50)), Term: new(uint64(3)), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2}, Learners: []uint64{1 << 63}},
	}}
	older := appendOf(90, 3, 5)
	older.Entries[0].Term, older.Entries[1].Term = new(uint64(6)), new(uint64(6))
	older.Entries[2].Type = nil
	return []*raftpb.Message{
		proposal, refused, accepted, vote, beat, long, asked, told, copied, older,
		appendOf(0, 0, 0), appendOf(1<<40, 2, 0), appendOf(5, 1, 300), plain(raftpb.MsgVoteResp, 1), plain(raftpb.MsgTransferLeader, 3),
		plain(raftpb.MsgTimeoutNow, 3), plain(raftpb.MsgPreVote, 1), plain(raftpb.MsgPreVoteResp, math.MaxUint64),
	}
}

// framesOf packs messages and returns the frames.
func framesOf(t testing.TB, limit int, messages ...*raftpb.Message) []byte {
	t.Helper()
	p := NewPacker(limit)
	for _, m := range messages {
		if err := p.Add(m); err != nil {
			t.Fatalf("pack %v: %v", m, err)
		}
	}
	p.close()
	return p.buf
}

// unframe reads frames of messages from 1 to 2.
func unframe(b []byte, limit int) (all []*raftpb.Message, frames int, err error) {
	for len(b) > 0 {
		if len(b) < HeadBytes {
			return nil, 0, ErrMalformed
		}
		h, err := parseHead(b, limit)
		if err != nil {
			return nil, 0, err
		}
		if uint64(len(b)) < HeadBytes+uint64(h.length) {
			return nil, 0, ErrMalformed
		}
		body := b[HeadBytes : HeadBytes+h.length]
		if err := h.check(b, body); err != nil {
			return nil, 0, err
		}
		messages, err := Unpack(body, 1, 2)
		if err != nil {
			return nil, 0, err
		}
		all, b = append(all, messages...), b[HeadBytes+h.length:]
		frames++
	}
	return all, frames, nil
}

func sameMessages(t *testing.T, got, want []*raftpb.Message) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d messages came, want %d", len(got), len(want))
	}
	for i := range want {
		if !proto.Equal(got[i], want[i]) {
			t.Errorf("message %d came as\n%v, want\n%v", i, got[i], want[i])
		}
	}
}

func TestMessagesComeAsTheyWent(t *testing.T) {
	want := sentByRaft()
	got, frames, err := unframe(framesOf(t, DefaultBytes, want...), DefaultBytes)
	if err != nil || frames != 1 {
		t.Fatalf("%d frames, %v", frames, err)
	}
	sameMessages(t, got, want)
}

// TestRandomMessagesComeAsTheyWent sets and leaves out every field as the dice fall.
func TestRandomMessagesComeAsTheyWent(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	number := func() *uint64 {
		switch dice.IntN(4) {
		case 0:
			return nil
		case 1:
			return new(uint64(0))
		case 2:
			return new(dice.Uint64N(300))
		}
		return new(dice.Uint64())
	}
	data := func() []byte {
		if n := dice.IntN(4); n > 0 {
			return make([]byte, (n-1)*dice.IntN(200))
		}
		return nil
	}
	for range 2000 {
		m := &raftpb.Message{
			Type: raftpb.MsgApp.Enum(), From: new(uint64(1)), To: new(uint64(2)), Term: number(), LogTerm: number(), Index: number(),
			Commit: number(), Vote: number(), RejectHint: number(), Context: data(),
		}
		if dice.IntN(2) == 0 {
			m.Reject = new(dice.IntN(2) == 0)
		}
		for range dice.IntN(4) {
			e := &raftpb.Entry{Term: number(), Index: number(), Data: data()}
			if dice.IntN(2) == 0 {
				e.Type = raftpb.EntryType(dice.IntN(3)).Enum()
			}
			m.Entries = append(m.Entries, e)
		}
		b, err := appendMessage(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		u := &unpacker{b: b, from: 1, to: 2, entries: make([]entry, len(m.Entries)), pointers: make([]*raftpb.Entry, len(m.Entries))}
		var got message
		if u.message(&got); u.failed || len(u.b) > 0 || !proto.Equal(&got.Message, m) {
			t.Fatalf("failed %v, %d bytes left, came as\n%v, want\n%v", u.failed, len(u.b), &got.Message, m)
		}
	}
}

// TestFramesAreCut: a frame ends when it is long enough or unfolds to enough, and a message that is too long alone is
// refused without harm to the others.
func TestFramesAreCut(t *testing.T) {
	large := appendOf(1, 1, fullBytes)
	if _, frames, err := unframe(framesOf(t, DefaultBytes, large, large, large), DefaultBytes); err != nil || frames != 3 {
		t.Errorf("large messages: %d frames, %v, want one each", frames, err)
	}
	many := appendOf(1, maxEntries/2+1, 0)
	if _, frames, err := unframe(framesOf(t, DefaultBytes, many, many), DefaultBytes); err != nil || frames != 2 {
		t.Errorf("many entries: %d frames, %v, want 2", frames, err)
	}
	small := slices.Repeat([]*raftpb.Message{plain(raftpb.MsgHeartbeat, 1)}, maxMessages+1)
	if _, frames, err := unframe(framesOf(t, DefaultBytes, small...), DefaultBytes); err != nil || frames != 2 {
		t.Errorf("many messages: %d frames, %v, want 2", frames, err)
	}
	p := NewPacker(1000)
	want := []*raftpb.Message{appendOf(1, 1, 600), appendOf(2, 1, 600), appendOf(4, 1, 10)}
	for _, m := range []*raftpb.Message{want[0], want[1], appendOf(3, 1, 1000), plain(raftpb.MsgHup, 0), want[2]} {
		if err := p.Add(m); (err != nil) != (len(m.GetEntries()) == 0 || len(m.Entries[0].Data) == 1000) || (err != nil && !errors.Is(err, ErrNotCarried)) {
			t.Errorf("add %v: %v", m.GetType(), err)
		}
	}
	p.close()
	got, frames, err := unframe(p.buf, 1000)
	if err != nil || frames != 3 {
		t.Fatalf("%d frames, %v, want 3", frames, err)
	}
	sameMessages(t, got, want)
}

// TestDamagedFramesAreRefused turns every bit of frames over, and cuts them at every byte.
func TestDamagedFramesAreRefused(t *testing.T) {
	whole := framesOf(t, DefaultBytes, sentByRaft()...)
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			if _, _, err := unframe(b, DefaultBytes); !errors.Is(err, ErrMalformed) {
				t.Fatalf("bit %d of byte %d is turned over: %v", bit, i, err)
			}
		}
		if _, _, err := unframe(whole[:i], DefaultBytes); i > 0 && !errors.Is(err, ErrMalformed) {
			t.Fatalf("%d of %d bytes: %v", i, len(whole), err)
		}
	}
}

// TestLiesAreRefused: bodies whose checksum is right and whose content is not.
func TestLiesAreRefused(t *testing.T) {
	body := func(change func(b []byte) []byte, messages ...*raftpb.Message) []byte {
		return change(bytes.Clone(framesOf(t, DefaultBytes, messages...)[HeadBytes:]))
	}
	put := func(at int, n uint32) func(b []byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint32(b[at:], n); return b }
	}
	beat, one := plain(raftpb.MsgHeartbeat, 1), appendOf(5, 2, 3)
	for name, b := range map[string][]byte{
		"nothing":                   nil,
		"more messages than bytes":  body(put(0, 1<<20), beat),
		"more messages than come":   body(put(0, 2), beat),
		"fewer messages than come":  body(put(0, 1), beat, beat),
		"more entries than bytes":   body(put(4, 1<<17), one),
		"more entries than come":    body(put(4, 3), one),
		"fewer entries than come":   body(put(4, 1), one),
		"a byte behind the end":     body(func(b []byte) []byte { return append(b, 0) }, beat),
		"a field that nobody knows": body(func(b []byte) []byte { b[countsBytes+2] |= 8; return b }, beat),
		"a local message":           body(func(b []byte) []byte { b[countsBytes] = byte(raftpb.MsgHup); return b }, beat),
		"a message of no type":      body(func(b []byte) []byte { b[countsBytes] = 200; return b }, beat),
		"an endless number":         append(body(put(0, 1), beat)[:countsBytes+3], 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255),
	} {
		if got, err := Unpack(b, 1, 2); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// TestWhatRaftWouldChokeOnIsRefused: messages that are well-formed and make no sense.
func TestWhatRaftWouldChokeOnIsRefused(t *testing.T) {
	gap, back, far, ahead, odd := appendOf(5, 2, 1), appendOf(5, 2, 1), appendOf(math.MaxUint64, 1, 1), appendOf(5, 1, 1), appendOf(5, 1, 1)
	gap.Entries[1].Index = new(uint64(8))
	back.Entries[1].Term = new(uint64(6))
	ahead.Entries[0].Term = new(uint64(8))
	odd.Entries[0].Type = raftpb.EntryType(3).Enum()
	bare, beat, snap := appendOf(5, 1, 1), plain(raftpb.MsgHeartbeat, 1), plain(raftpb.MsgSnap, 1)
	bare.Entries[0].Index = nil
	beat.Entries = []*raftpb.Entry{{}}
	read, strange := plain(raftpb.MsgReadIndex, 0), plain(raftpb.MsgProp, 5)
	strange.Entries = []*raftpb.Entry{{Type: raftpb.EntryType(3).Enum()}}
	wrong := plain(raftpb.MsgHeartbeat, 1)
	wrong.Snapshot = &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: new(uint64(1))}}
	for _, m := range []*raftpb.Message{
		gap, back, far, ahead, odd, bare, beat, snap, read, strange, wrong, plain(raftpb.MsgProp, 0), plain(raftpb.MsgReadIndexResp, 1),
		plain(raftpb.MsgProp, 3), plain(raftpb.MsgApp, 0), plain(raftpb.MsgVote, 0),
	} {
		if got, _, err := unframe(framesOf(t, DefaultBytes, m), DefaultBytes); !errors.Is(err, ErrMalformed) {
			t.Errorf("%v came through as %v, %v", m, got, err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	for _, m := range sentByRaft() {
		f.Add(framesOf(f, DefaultBytes, m)[HeadBytes:])
	}
	f.Add(framesOf(f, DefaultBytes, sentByRaft()...)[HeadBytes:])
	f.Fuzz(func(t *testing.T, body []byte) {
		messages, err := Unpack(body, 1, 2)
		if err != nil {
			return
		}
		// What was understood is understood again in the same way.
		b := framesOf(t, math.MaxInt32, messages...)
		again, _, err := unframe(b, math.MaxInt32)
		if err != nil {
			t.Fatalf("%v after packing again", err)
		}
		sameMessages(t, again, messages)
	})
}

// benchmarked are the two messages that nearly all traffic consists of: an append with one entry, and its answer.
func benchmarked() map[string]*raftpb.Message {
	answer := plain(raftpb.MsgAppResp, 7)
	answer.Index, answer.Commit = new(uint64(100001)), new(uint64(100000))
	return map[string]*raftpb.Message{"append-of-16KiB": appendOf(100000, 1, 16<<10), "append-of-300B": appendOf(100000, 1, 300), "answer": answer}
}

func BenchmarkEncode(b *testing.B) {
	for name, m := range benchmarked() {
		b.Run(name+"/ours", func(b *testing.B) {
			b.ReportAllocs()
			p := NewPacker(DefaultBytes)
			for b.Loop() {
				p.buf = p.buf[:0]
				if err := p.Add(m); err != nil {
					b.Fatal(err)
				}
				p.close()
			}
		})
		b.Run(name+"/proto", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := proto.Marshal(m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for name, m := range benchmarked() {
		frame := framesOf(b, DefaultBytes, m)
		text, err := proto.Marshal(m)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name+"/ours", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := unframe(bytes.Clone(frame), DefaultBytes); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/proto", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := proto.Unmarshal(text, new(raftpb.Message)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
