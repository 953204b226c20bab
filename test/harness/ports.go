package harness

import (
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
)

// Ports are taken below the kernel's ephemeral range (32768 and up), so that no outgoing connection can take one
// between the probe here and the server's own listen.
const (
	firstPort = 12000 // inclusive, a TCP port number
	lastPort  = 32000 // exclusive, a TCP port number
)

var portCursor atomic.Int64

// FreeAddr returns a loopback address on which nothing listens.
func FreeAddr(t testing.TB) string {
	t.Helper()
	// Test processes that run side by side start at different places.
	start := int64(os.Getpid()) * 97
	for range lastPort - firstPort {
		port := firstPort + (start+portCursor.Add(1))%(lastPort-firstPort)
		addr := net.JoinHostPort("127.0.0.1", strconv.FormatInt(port, 10))
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addr)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatalf("close a probe listener: %v", err)
		}
		return addr
	}
	t.Fatal("no free port on 127.0.0.1")
	return ""
}
