package frames

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// feed writes to a reader's connection in pieces, and closes it.
func feed(t *testing.T, b []byte, piece int) net.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	go func() {
		for len(b) > 0 {
			n, err := theirs.Write(b[:min(piece, len(b))])
			if err != nil {
				return
			}
			b = b[n:]
		}
		_ = theirs.Close()
	}()
	t.Cleanup(func() { _ = ours.Close() })
	return ours
}

// TestFramesAreReadInAnyPieces: small frames, frames as long as what is read at once, and longer ones.
func TestFramesAreReadInAnyPieces(t *testing.T) {
	var want []*raftpb.Message
	var all []byte
	for _, size := range []int{0, 1, 100, readBufferBytes - 100, readBufferBytes, 3 * firstStepBytes, 5, 70 << 10, 1} {
		m := appendOf(uint64(size), 1, size)
		want = append(want, m)
		all = append(all, framesOf(t, DefaultBytes, m)...)
		all = Append(all, Here)
		all = Append(all, Ping, 1, 2, 3)
	}
	for _, c := range []struct{ came, piece int }{{0, 1 << 30}, {0, 1000}, {1000, 4096}, {readBufferBytes + 7, 1 << 16}, {len(all), 1}} {
		r := NewReader(feed(t, all[c.came:], c.piece), all[:c.came], time.Minute, DefaultBytes)
		var got []*raftpb.Message
		count := map[Kind]int{}
		for {
			kind, body, err := r.Next()
			if err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) {
					t.Fatal(err)
				}
				break
			}
			if count[kind]++; kind != Messages {
				continue
			}
			messages, err := Unpack(body, 1, 2)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, messages...)
		}
		sameMessages(t, got, want)
		if count[Here] != len(want) || count[Ping] != len(want) {
			t.Errorf("%+v: came %v", c, count)
		}
	}
}

// TestALongLieReservesNothing: a head that promises the longest body, and nothing behind it.
func TestALongLieReservesNothing(t *testing.T) {
	lie := framesOf(t, DefaultBytes, appendOf(1, 1, 100))
	copy(lie, []byte{0, 0, 0, 0x20}) // 512 MiB
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _, err := NewReader(feed(t, lie, 1<<20), nil, time.Minute, DefaultBytes).Next()
	runtime.ReadMemStats(&after)
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("it ends with %v", err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 3*firstStepBytes {
		t.Errorf("it took %d bytes", took)
	}
	lie[0] = 1
	if _, _, err := NewReader(feed(t, lie, 1<<20), nil, time.Minute, DefaultBytes).Next(); !errors.Is(err, ErrMalformed) {
		t.Errorf("a byte more than is allowed: %v", err)
	}
	talk := Append(nil, Question, make([]byte, MaxTalkBytes+1)...)
	if _, _, err := NewReader(feed(t, talk, 1<<20), nil, time.Minute, DefaultBytes).Next(); !errors.Is(err, ErrMalformed) {
		t.Errorf("a question that is too long: %v", err)
	}
}

// TestSilenceEndsInTime: bytes that come now and then are no silence.
func TestSilenceEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		defer theirs.Close()
		frame := framesOf(t, DefaultBytes, plain(raftpb.MsgHeartbeat, 1))
		go func() {
			for i := range frame {
				time.Sleep(4 * time.Second)
				if _, err := theirs.Write(frame[i : i+1]); err != nil {
					return
				}
			}
		}()
		r := NewReader(ours, nil, 5*time.Second, DefaultBytes)
		if _, body, err := r.Next(); err != nil || !bytes.Equal(body, frame[HeadBytes:]) {
			t.Errorf("came %x, %v", body, err)
		}
		begun := time.Now()
		if _, _, err := r.Next(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) != 5*time.Second {
			t.Errorf("silence ends with %v after %v", err, time.Since(begun))
		}
	})
}
