package web

import (
	"net"

	"golang.org/x/sys/unix"
)

// acknowledge has the system acknowledge what has come at once, and not when it has something else to send. After a
// handshake there is nothing else, because no session tickets are sent: a client that lets small writes wait for an
// acknowledgement (Nagle) would wait 40 ms with its first request.
func acknowledge(conn net.Conn) {
	tcp, ok := conn.(*tcpConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	// What fails here costs the client some milliseconds and nothing else.
	_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) })
}
