package harness

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inside runs a function where a process is; sockets that it makes stay there.
func inside(t *testing.T, holder *Proc, do func() error) error {
	t.Helper()
	// The thread comes back and lives on: processes that it has started would die with it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer home.Close()
	there, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", holder.Pid()))
	if err != nil {
		return err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	err = do()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		t.Fatalf("the thread cannot come back: %v", back)
	}
	return err
}

// TestANetLosesPackets sends datagrams from one namespace to two others, with and without loss.
func TestANetLosesPackets(t *testing.T) {
	n := NewNet(t)
	var in [3]net.PacketConn
	for place := range in {
		var opt Options
		n.join(t, place, &opt)
		if err := inside(t, n.places[place], func() (err error) {
			in[place], err = net.ListenPacket("udp", n.addr(place+1)+":5000")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		defer in[place].Close()
	}
	arrived := func(from, to int) int {
		const sent = 200
		for i := range sent {
			dst := &net.UDPAddr{IP: net.ParseIP(n.addr(to + 1)), Port: 5000}
			if _, err := in[from].WriteTo([]byte{byte(i)}, dst); err != nil && !errors.Is(err, unix.ENOBUFS) {
				t.Fatal(err)
			}
		}
		for count := 0; ; count++ {
			_ = in[to].SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			if _, _, err := in[to].ReadFrom(make([]byte, 10)); err != nil {
				return count
			}
		}
	}
	// The first datagram waits for the address to be resolved, with few others; so a sound way may lose some.
	arrived(0, 1)
	arrived(0, 2)
	if got := arrived(0, 1); got < 195 {
		t.Errorf("%d of 200 arrived on a sound way", got)
	}
	n.Lose(t, 0, 1, 1)
	if got := arrived(0, 1); got != 0 {
		t.Errorf("%d of 200 arrived on a broken way", got)
	}
	if got := arrived(0, 2); got < 195 {
		t.Errorf("%d of 200 arrived on the sound way beside the broken one", got)
	}
	if got := arrived(1, 0); got < 195 {
		t.Errorf("%d of 200 arrived on the way back", got)
	}
	n.Lose(t, 0, 0.5, 1, 2)
	for to := 1; to <= 2; to++ {
		if got := arrived(0, to); got < 60 || got > 140 {
			t.Errorf("%d of 200 arrived at %d when half is lost", got, to)
		}
	}
	n.Lose(t, 0, 0)
	if got := arrived(0, 1); got < 195 {
		t.Errorf("%d of 200 arrived on the healed way", got)
	}
}
