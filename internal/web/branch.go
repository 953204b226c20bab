package web

import (
	"context"
	"net"
	"sync"
	"time"
)

// branch is one side of a Splitter, as a listener for a server to accept from.
type branch struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once // closes closed
}

func newBranch(addr net.Addr) *branch {
	return &branch{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (b *branch) Accept() (net.Conn, error) {
	select {
	case conn := <-b.conns:
		return conn, nil
	case <-b.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. The listener that was split stays open.
func (b *branch) Close() error {
	b.once.Do(func() { close(b.closed) })
	return nil
}

// Addr implements net.Listener.
func (b *branch) Addr() net.Addr { return b.addr }

// deliver hands conn to the server that accepts here. If that server has stopped, or does not come for it
// in time, the connection is closed: a client is better off with another try than with a silent server.
func (b *branch) deliver(ctx context.Context, conn net.Conn, patience time.Duration) {
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case b.conns <- conn:
		return
	case <-b.closed:
	case <-ctx.Done():
	case <-late.C:
	}
	conn.Close()
}
