package web

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"
)

// TestAFirstRequestDoesNotWait has a client that lets small writes wait for acknowledgements, as C programs do
// unless they say otherwise. The fastest of some tries counts: a busy machine is slow at times, and waiting takes
// 40 ms every time.
func TestAFirstRequestDoesNotWait(t *testing.T) {
	p := startSecure(t, SplitOptions{TLSOnly: true})
	c := p.client.Clone()
	c.ServerName = "127.0.0.1"
	fastest := time.Hour
	for range 20 {
		conn, err := net.Dial("tcp", p.addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.TCPConn).SetNoDelay(false); err != nil {
			t.Fatal(err)
		}
		client := tls.Client(conn, c)
		if err := client.Handshake(); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := io.WriteString(client, "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		fastest = min(fastest, time.Since(start))
		client.Close()
	}
	if fastest > 20*time.Millisecond {
		t.Errorf("the first request takes %v", fastest)
	}
}
