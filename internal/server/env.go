package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"github.com/keelson-db/keelson/internal/config"
)

// Env is the world that a server lives in.
type Env struct {
	FS     vfs.FS
	Listen func(ctx context.Context, network, address string) (net.Listener, error)
	// Seed is random; it must differ from one start to the next.
	Seed uint64
	Log  *slog.Logger
	// Notify tells whoever started the process that the member serves; nil if nobody wants to know.
	Notify func()
	// LogWriter is what Log writes to, run by the server so that a blocked output blocks nobody; nil if Log
	// takes care of itself.
	LogWriter *config.LogWriter

	// Say tells the operator in a line how joining goes; nil if nobody wants to know.
	Say func(line string)

	again  bool    // there was a run before this one, in the same process
	copied *copied // by that run
}

// ListenOn returns the Listen of the real world, with the socket options of the configuration.
func ListenOn(c *config.Config) func(ctx context.Context, network, address string) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		var failed error
		err := conn.Control(func(fd uintptr) {
			if c.SocketReuseAddress {
				failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			}
			if c.SocketReusePort && failed == nil {
				failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			}
		})
		if err != nil {
			return err
		}
		return failed
	}}
	return lc.Listen
}

// abandoned reports whether a socket's file was left behind by a process that is gone: nobody answers there.
func abandoned(ctx context.Context, path string) bool {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// address is where a socket is.
type address struct{ network, address string }

// addressOf is the socket that a URL names; whether it is to speak TLS does not matter for that.
func addressOf(u *url.URL) address {
	if u.Scheme == "unix" || u.Scheme == "unixs" {
		return address{"unix", u.Host + u.Path}
	}
	return address{"tcp", u.Host}
}

// listen opens the socket that a URL names: host and port, or the path of a unix socket.
func (e Env) listen(ctx context.Context, u url.URL, flag string) (net.Listener, error) {
	network, address := addressOf(&u).network, addressOf(&u).address
	l, err := e.Listen(ctx, network, address)
	if network == "unix" && errors.Is(err, syscall.EADDRINUSE) && abandoned(ctx, address) {
		if err = os.Remove(address); err == nil {
			l, err = e.Listen(ctx, network, address)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w; stop the process that uses the address or choose another one with %s", u.String(), err, flag)
	}
	return l, nil
}
