package harness

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// echo is a server that says what it hears; it ends with the test.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

// said sends a word and says how long its echo took.
func said(c net.Conn, word string, limit time.Duration) (time.Duration, error) {
	began := time.Now()
	if err := c.SetDeadline(began.Add(limit)); err != nil {
		return 0, err
	}
	if _, err := io.WriteString(c, word); err != nil {
		return 0, err
	}
	_, err := io.ReadFull(c, make([]byte, len(word)))
	return time.Since(began), err
}

// TestAProxyHasItsFaults breaks the directions between the test's process, which plays member 0, and an echo, member 1.
func TestAProxyHasItsFaults(t *testing.T) {
	p := NewProxy(t, func(client, server net.Addr) int { return socketOwner(client, server, []int{os.Getpid()}) })
	front := p.Front(t, 1, echo(t))
	dial := func() net.Conn {
		c, err := net.Dial("tcp", front)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	c := dial()
	if _, err := said(c, "hello", time.Second); err != nil {
		t.Fatal(err)
	}
	p.Break(1, 0, Fault{Delay: 60 * time.Millisecond})
	if took, err := said(c, "slow", time.Second); err != nil || took < 60*time.Millisecond {
		t.Errorf("a delayed direction took %v: %v", took, err)
	}
	p.Heal()
	p.Break(0, 1, Fault{Rate: 1000})
	if took, err := said(c, string(make([]byte, 100)), time.Second); err != nil || took < 90*time.Millisecond {
		t.Errorf("100 bytes at 1000 bytes per second took %v: %v", took, err)
	}
	p.Heal()
	p.Break(0, 1, Fault{Loss: 1})
	if took, err := said(c, "lost", time.Second); err != nil || took < retransmission {
		t.Errorf("a lost piece took %v: %v", took, err)
	}
	p.Heal()
	p.Break(0, 1, Fault{Blackhole: true})
	if _, err := said(c, "late", 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a word came through a black hole: %v", err)
	}
	p.Heal()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
		t.Errorf("a healed direction did not bring what waited: %v", err)
	}
	p.Break(1, 0, Fault{Cut: true})
	if _, err := said(c, "cut", time.Second); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("a cut connection: %v", err)
	}
	if _, err := said(dial(), "cut", time.Second); err == nil {
		t.Error("a new connection between members that are cut off was served")
	}
	p.Heal()
	p.BreakBoth(2, 1, Fault{Cut: true})
	if _, err := said(dial(), "other", time.Second); err != nil {
		t.Errorf("a fault of other members broke this one: %v", err)
	}
}
