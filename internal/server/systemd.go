package server

import (
	"log/slog"
	"net"
	"os"
)

// NotifySystemd tells the service manager, where one started us and asked for it, that the member serves.
func NotifySystemd(log *slog.Logger) {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return
	}
	conn, err := net.Dial("unixgram", socket)
	if err != nil {
		log.Warn("tell systemd that the server is ready", "error", err.Error())
		return
	}
	if _, err := conn.Write([]byte("READY=1")); err != nil {
		log.Warn("tell systemd that the server is ready", "error", err.Error())
	}
	_ = conn.Close() // a datagram is sent or not; there is nothing left to lose
}
