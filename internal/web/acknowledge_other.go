//go:build !linux

package web

import "net"

// acknowledge does nothing where systems cannot be asked for it.
func acknowledge(net.Conn) {}
