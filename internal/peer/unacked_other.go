//go:build !linux

package peer

import (
	"net"
	"time"
)

// boundUnacked does nothing: other systems have no such bound, and the time to write ends such a connection too.
func boundUnacked(net.Conn, time.Duration) {}
