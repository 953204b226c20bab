package peer

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/keelson-db/keelson/internal/frames"
	"github.com/keelson-db/keelson/internal/replica"
)

// serveStream takes in a lane from another member. It returns when the connection is over.
func (m *Mesh) serveStream(w http.ResponseWriter, r *http.Request) {
	m.identify(w.Header())
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	if cluster := r.Header.Get(headerCluster); cluster != hex(m.cluster) {
		m.refused(r, errClusterMismatch)
		refuse(w, errClusterMismatch)
		return
	}
	lane := slices.Index(laneNames[:], strings.TrimPrefix(r.URL.Path, streamPath))
	if lane < 0 {
		// A member that speaks etcd's protocol asks for other streams. It is told in its words.
		refuse(w, errIncompatible)
		return
	}
	if r.Header.Get("Upgrade") != upgradeTo {
		w.Header().Set("Upgrade", upgradeTo)
		http.Error(w, "this path is for "+upgradeTo, http.StatusUpgradeRequired)
		return
	}
	g, err := readGreeting(r.Header)
	if err == nil {
		err = m.admit(&g)
	}
	if to := r.Header.Get(headerTo); err == nil && to != hex(m.local) {
		err = errToMismatch
	}
	if err != nil {
		m.refused(r, err)
		refuse(w, err)
		return
	}
	m.welcome(w, replica.Lane(lane), g.From)
}

// refused notes in the log who was not let in.
func (m *Mesh) refused(r *http.Request, err error) {
	from := fmt.Sprintf("%.20s", r.Header.Get(headerFrom))
	if missed, ok := m.strange.due(from + err.Error()); ok {
		m.o.Log.Warn("refused a connection of another member", "member", from, "remote", r.RemoteAddr, "error", err.Error(),
			"not-logged-before", missed)
	}
}

// enter finds the remote of a member whose connection is to be served, and counts the connection in.
func (m *Mesh) enter(from uint64) *remote {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.remotes[from]
	if r != nil {
		m.serving.Add(1)
	}
	return r
}

// welcome makes the request's connection a lane and reads it to its end.
func (m *Mesh) welcome(w http.ResponseWriter, lane replica.Lane, from uint64) {
	r := m.enter(from)
	if r == nil {
		// This member has just begun to know the other one, or is about to stop.
		refuse(w, replica.ErrStranger)
		return
	}
	defer m.serving.Done()
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		m.o.Log.Error("take over the connection of a member", "member", r.name, "error", err.Error())
		http.Error(w, "lanes need HTTP/1.1", http.StatusHTTPVersionNotSupported)
		return
	}
	defer conn.Close()
	if err := m.answer(conn); err != nil {
		m.o.Log.Warn("welcome a member", "member", r.name, "error", err.Error())
		return
	}
	came, _ := buffered.Reader.Peek(buffered.Reader.Buffered())
	if !r.arrived(lane, conn) {
		return
	}
	err = r.read(lane, frames.NewReader(conn, came, m.o.ReadTimeout, m.o.MaxFrameBytes))
	r.left(lane, conn)
	r.complain(lane, err)
}

// answer sends the greeting back.
func (m *Mesh) answer(conn net.Conn) error {
	header := make(http.Header)
	m.greet(header)
	header.Set("Connection", "Upgrade")
	header.Set("Upgrade", upgradeTo)
	var text strings.Builder
	text.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	if err := header.Write(&text); err != nil {
		return fmt.Errorf("write a greeting: %w", err)
	}
	text.WriteString("\r\n")
	if err := conn.SetDeadline(time.Now().Add(greetTimeout)); err != nil {
		return fmt.Errorf("set the time to greet: %w", err)
	}
	if _, err := io.WriteString(conn, text.String()); err != nil {
		return fmt.Errorf("send a greeting: %w", err)
	}
	return conn.SetWriteDeadline(time.Time{})
}

// read hands on what comes on a lane until it breaks.
func (r *remote) read(lane replica.Lane, from *frames.Reader) error {
	m := r.mesh
	for {
		kind, body, err := from.Next()
		if err != nil {
			return err
		}
		r.received.Add(float64(frames.HeadBytes + len(body)))
		switch kind {
		case frames.Messages:
			messages, err := frames.Unpack(body, r.id, m.local)
			if err != nil {
				return err
			}
			m.order.Receive(r.id, messages)
		case frames.Here:
		default:
			if lane != replica.Urgent {
				return fmt.Errorf("%w: kind %d on the lane for %s", frames.ErrMalformed, kind, laneNames[lane])
			}
			if err := r.talk(kind, body); err != nil {
				return err
			}
		}
	}
}

// complain logs the end of a lane from the member where it is more than that.
func (r *remote) complain(lane replica.Lane, err error) {
	log := r.mesh.o.Log.With("member", r.name, "lane", laneNames[lane], "error", err.Error())
	switch {
	case errors.Is(err, frames.ErrMalformed):
		r.mesh.o.Metrics.PeerReceivedFailures.WithLabelValues(r.name).Inc()
		log.Error("closed the connection of a member: what came on it makes no sense")
	case errors.Is(err, os.ErrDeadlineExceeded):
		log.Warn("closed the connection of a member: nothing came for too long")
	case errors.Is(err, net.ErrClosed):
	default:
		log.Info("a member closed its connection")
	}
}
