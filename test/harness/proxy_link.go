package harness

import (
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

const (
	// pieceSize is the most that is read from a socket at once, in bytes.
	pieceSize = 32 << 10
	// piecesUnderWay is how many pieces a delayed direction holds; more stay in the sender's socket.
	piecesUnderWay = 256
)

// link is one connection through the proxy.
type link struct {
	proxy            *Proxy
	dialer, acceptor int
	client           net.Conn
	done             chan struct{} // closed by reset

	mu     sync.Mutex
	server net.Conn
	ended  bool
}

// between says whether the link joins two members, whoever of them opened it.
func (l *link) between(a, b int) bool {
	return l.dialer == a && l.acceptor == b || l.dialer == b && l.acceptor == a
}

// attach adds the connection to the member behind; false means that the link has ended meanwhile.
func (l *link) attach(server net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		_ = server.Close()
		return false
	}
	l.server = server
	return true
}

// reset ends both sides at once, without a good-bye.
func (l *link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	l.ended = true
	close(l.done)
	for _, c := range []net.Conn{l.client, l.server} {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
			_ = tcp.Close()
		}
	}
}

// carry moves bytes both ways until one side has ended.
func (l *link) carry() {
	var group sync.WaitGroup
	group.Go(func() { l.pump(l.server, l.client, direction{l.dialer, l.acceptor}) })
	group.Go(func() { l.pump(l.client, l.server, direction{l.acceptor, l.dialer}) })
	group.Wait()
}

// piece is some bytes and the moment when they arrive.
type piece struct {
	bytes []byte
	due   time.Time
}

// pump moves the bytes of one direction: one goroutine reads and says when they are due, this one delivers them.
func (l *link) pump(dst, src net.Conn, d direction) {
	// Whoever fails ends both directions: half of a connection would be a fault that nobody asked for.
	defer l.reset()
	under := make(chan piece, piecesUnderWay)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(under)
		l.read(src, d, under)
	})
	for p := range under {
		if !l.wait(d, p) {
			break
		}
		if _, err := dst.Write(p.bytes); err != nil {
			break
		}
	}
	l.reset()
	for range under { // lets the reader end
	}
	reader.Wait()
}

// read takes bytes from the sender as fast as the direction allows it.
func (l *link) read(src net.Conn, d direction, under chan<- piece) {
	var free time.Time // when the wire is free for the next piece
	for {
		buf := make([]byte, pieceSize)
		n, err := src.Read(buf)
		if n > 0 {
			f, _ := l.proxy.fault(d)
			now := time.Now()
			due := now.Add(f.Delay)
			if f.Jitter > 0 {
				due = due.Add(rand.N(f.Jitter))
			}
			if f.Loss > 0 && rand.Float64() < f.Loss {
				due = due.Add(retransmission)
			}
			if f.Rate > 0 {
				if free.Before(now) {
					free = now
				}
				free = free.Add(time.Duration(n) * time.Second / time.Duration(f.Rate))
				due = due.Add(free.Sub(now))
			}
			select {
			case under <- piece{buf[:n], due}:
			case <-l.done:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// wait waits until a piece is due and its direction is open; false means that the link has ended.
func (l *link) wait(d direction, p piece) bool {
	if rest := time.Until(p.due); rest > 0 {
		select {
		case <-time.After(rest):
		case <-l.done:
			return false
		}
	}
	for {
		f, changed := l.proxy.fault(d)
		if !f.Blackhole {
			return true
		}
		select {
		case <-changed:
		case <-l.done:
			return false
		}
	}
}
