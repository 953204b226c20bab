package peer

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// boundUnacked has the system give up a connection whose other end does not acknowledge what was sent.
func boundUnacked(conn net.Conn, d time.Duration) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	// Without it a cut takes longer to notice, by as much as the time to write.
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	})
}
