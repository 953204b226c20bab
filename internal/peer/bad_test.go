package peer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/keelson-db/keelson/internal/frames"
	"github.com/keelson-db/keelson/internal/replica"
)

// greetingOf is what member 2 says to member 1 in the tests' cluster.
func greetingOf() map[string]string {
	return map[string]string{
		"Connection": "Upgrade", "Upgrade": upgradeTo, headerCluster: hex(testCluster), headerFrom: "2", headerTo: "1",
		headerVersion: "3.7.3", headerProtocol: "1-1", headerLevel: "2", headerIncarnation: "2", headerRun: "2", headerTerm: "1",
		headerLast: "1", headerPriority: "0", headerLeaseReads: "false",
	}
}

// call sends a request by hand and returns the answer and the connection.
func call(t *testing.T, s *site, method, path string, headers map[string]string) (*http.Response, net.Conn) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s HTTP/1.1\r\nHost: x\r\n", method, path)
	for name, value := range headers {
		fmt.Fprintf(&text, "%s: %s\r\n", name, value)
	}
	if _, err := io.WriteString(conn, text.String()+"\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return answer, conn
}

func TestStrangeGreetingsAreRefused(t *testing.T) {
	sites := town(t, 3, func(o *Options) { o.MinLevel = func() uint32 { return 2 } })
	one := sites[0]
	one.open()
	one.order.judge(3, replica.ErrRemoved)
	one.order.judge(4, replica.ErrStranger)
	one.order.judge(5, fmt.Errorf("%w (why)", replica.ErrForgotten))
	const lane = streamPath + "urgent"
	for _, c := range []struct {
		name, method, path string
		header, value      string
		status             int
		text               string
	}{
		{"a good one", "GET", lane, "", "", 101, ""},
		{"another method", "POST", lane, "", "", 405, "Method Not Allowed"},
		{"another cluster", "GET", lane, headerCluster, "c2", 412, "cluster ID mismatch"},
		{"no cluster", "GET", lane, headerCluster, "", 412, "cluster ID mismatch"},
		{"a stream of etcd", "GET", streamPath + "msgapp/2", "", "", 412, "incompatible version"},
		{"another protocol", "GET", lane, "Upgrade", "websocket", 426, "this path is for keelson-raft/1"},
		{"a removed member", "GET", lane, headerFrom, "3", 410, "removed member"},
		{"an unknown member", "GET", lane, headerFrom, "4", 404, "error sender not found"},
		{"a wiped member", "GET", lane, headerFrom, "5", 409, replica.ErrForgotten.Error() + " (why)"},
		{"meant for another one", "GET", lane, headerTo, "3", 412, "to field mismatch"},
		{"a newer release", "GET", lane, headerProtocol, "2-3", 412, "incompatible version: it speaks versions 2 to 3 of the peer protocol, and this member 1 to 1"},
		{"an older level", "GET", lane, headerLevel, "1", 412, "incompatible version: its release has feature level 1, and the cluster 2; start it with a newer release"},
		{"no sender", "GET", lane, headerFrom, "", 400, `the greeting is not one of a member: X-Server-From is ""`},
		{"no versions", "GET", lane, headerProtocol, "1", 400, `the greeting is not one of a member: "1", "0", "false"`},
		{"a term that is none", "GET", lane, headerTerm, "-1", 400, `the greeting is not one of a member: X-Keelson-Term is "-1"`},
	} {
		headers := maps.Clone(greetingOf())
		if c.header != "" {
			headers[c.header] = c.value
		}
		answer, _ := call(t, one, c.method, c.path, headers)
		if answer.StatusCode != c.status || answer.Header.Get(headerCluster) != hex(testCluster) || answer.Header.Get(headerFrom) != "1" {
			t.Errorf("%s: %v, want %d", c.name, answer, c.status)
		}
		if c.status == http.StatusSwitchingProtocols {
			if g, err := readGreeting(answer.Header); err != nil || g.Greeting != one.order.Greeting() || g.level != 2 {
				t.Errorf("%s: answered with %+v, %v", c.name, g, err)
			}
			continue
		}
		if text, err := io.ReadAll(answer.Body); err != nil || strings.TrimSpace(string(text)) != c.text {
			t.Errorf("%s: %q, %v, want %q", c.name, text, err, c.text)
		}
	}
}

// TestGarbageEndsItsOwnConnection and nothing else.
func TestGarbageEndsItsOwnConnection(t *testing.T) {
	sites := town(t, 3, nil)
	sites[0].open()
	sites[2].open()
	meet(t, sites[0], sites[2])
	lie := framesOf(t, plain(raftpb.MsgHeartbeat, 1))
	long := bytes.Clone(lie)
	long[3] = 0xff
	forged := plain(raftpb.MsgHeartbeat, 1)
	for i, garbage := range [][]byte{
		[]byte("GET / HTTP/1.1\r\n\r\n"), make([]byte, 100), long, append(bytes.Clone(lie[:len(lie)-1]), lie[len(lie)-1]^1),
		frames.Append(nil, frames.Ping, 1, 2, 3), frames.Append(nil, frames.Pong), frames.Append(nil, frames.Messages), frames.Append(nil, frames.Kind(77)),
	} {
		answer, conn := call(t, sites[0], "GET", streamPath+"urgent", greetingOf())
		if answer.StatusCode != http.StatusSwitchingProtocols {
			t.Fatal(answer)
		}
		good := framesOf(t, forged)
		if _, err := conn.Write(append(good, garbage...)); err != nil {
			t.Fatal(err)
		}
		// Who a message is from is known from the connection.
		if got := sites[0].receive(); got.from != 2 || got.m.GetFrom() != 2 || got.m.GetTo() != 1 {
			t.Errorf("came %v", got)
		}
		if n, err := io.Copy(io.Discard, conn); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("garbage %d is answered with %d bytes, %v", i, n, err)
		}
		eventually(t, "the failure is counted", func() bool {
			return metric(t, sites[0], "etcd_network_peer_received_failures_total", "2") == float64(i+1)
		})
	}
	if sites[0].order.count(sites[0].order.lost, 3) > 0 || sites[0].order.count(sites[0].order.lost, 2) != 8 {
		t.Errorf("lost %v, want 8 connections of member 2", sites[0].order.lost)
	}
	sites[2].send(1, replica.Urgent, plain(raftpb.MsgHeartbeat, 1))
	if got := sites[0].receive(); got.from != 3 {
		t.Errorf("came %v, want the heartbeat of 3", got)
	}
}

// TestASilentConnectionIsClosed: half of a connection whose other end is gone.
func TestASilentConnectionIsClosed(t *testing.T) {
	sites := town(t, 2, func(o *Options) { o.ReadTimeout = 200 * time.Millisecond })
	sites[0].open()
	answer, conn := call(t, sites[0], "GET", streamPath+"bulk", greetingOf())
	if answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(answer)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Fatalf("the connection ends with %v, want its end", err)
	}
	eventually(t, "the loss is told", func() bool { return sites[0].order.count(sites[0].order.lost, 2) == 1 })
	if !sites[0].log.has("nothing came for too long") {
		t.Error("the log does not say why")
	}
}

// TestANewConnectionTakesThePlaceOfAnOldOne, which may be half of one, without a loss being told.
func TestANewConnectionTakesThePlaceOfAnOldOne(t *testing.T) {
	sites := town(t, 2, nil)
	sites[0].open()
	_, old := call(t, sites[0], "GET", streamPath+"urgent", greetingOf())
	_, fresh := call(t, sites[0], "GET", streamPath+"urgent", greetingOf())
	if _, err := io.Copy(io.Discard, old); err != nil && !errors.Is(err, io.EOF) {
		t.Logf("the old one ends with %v", err)
	}
	if _, err := fresh.Write(framesOf(t, plain(raftpb.MsgHeartbeat, 1))); err != nil {
		t.Fatal(err)
	}
	sites[0].receive()
	if lost := sites[0].order.count(sites[0].order.lost, 2); lost != 0 {
		t.Errorf("%d losses are told", lost)
	}
	_ = fresh.Close()
	eventually(t, "the loss of the new one is told", func() bool { return sites[0].order.count(sites[0].order.lost, 2) == 1 })
}

// pretender answers every request on a member's address as a test wants.
func pretender(t *testing.T, s *site, answer http.HandlerFunc) {
	server := &http.Server{Handler: answer}
	go func() { _ = server.Serve(s.listener) }()
	t.Cleanup(func() { _ = server.Close() })
}

// TestOnlyTheClusterRemovesAMember: who answers "removed" must be the member that was asked, of this cluster.
func TestOnlyTheClusterRemovesAMember(t *testing.T) {
	for _, c := range []struct {
		name          string
		cluster, from string
		status        int
		want          error
	}{
		{"another cluster", "c2", "2", http.StatusGone, nil},
		{"no cluster", "", "", http.StatusGone, nil},
		{"another member", hex(testCluster), "3", http.StatusGone, nil},
		{"another cluster forgets", "c2", "2", http.StatusConflict, nil},
		{"a stranger", hex(testCluster), "2", http.StatusNotFound, nil},
		{"the member", hex(testCluster), "2", http.StatusGone, replica.ErrRemoved},
		{"the member knows more", hex(testCluster), "2", http.StatusConflict, replica.ErrForgotten},
	} {
		sites := town(t, 2, nil)
		asked := make(chan struct{}, 100)
		pretender(t, sites[1], func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(headerCluster, c.cluster)
			w.Header().Set(headerFrom, c.from)
			http.Error(w, "so it is", c.status)
			select {
			case asked <- struct{}{}:
			default:
			}
		})
		sites[0].open()
		if c.want == nil {
			<-asked
			<-asked
			<-asked // a lane asks again only after it has judged the answer, so one of them has
		}
		wait := time.Duration(0)
		if c.want != nil {
			wait = patience
		}
		select {
		case err := <-sites[0].ended:
			if c.want == nil || !errors.Is(err, c.want) {
				t.Errorf("%s: it ends with %v, want %v", c.name, err, c.want)
			}
			sites[0].ended <- nil
		case <-time.After(wait):
			if c.want != nil {
				t.Errorf("%s: it goes on", c.name)
			}
		}
		sites[0].kill()
	}
}

// welcoming answers greetings as member 2 does, with one header changed, and hands over the connections.
func welcoming(conns chan<- net.Conn, name, value string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		headers := greetingOf()
		if name != "" {
			headers[name] = value
		}
		for k, v := range headers {
			w.Header().Set(k, v)
		}
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			conns <- conn
		}
	}
}

// TestAnAnswerIsJudgedToo: the sender listens to what the member at the address says of itself.
func TestAnAnswerIsJudgedToo(t *testing.T) {
	for name, c := range map[string]struct{ header, value, log string }{
		"another cluster": {headerCluster, "c2", "cluster ID mismatch"},
		"another member":  {headerFrom, "3", "to field mismatch"},
		"another wire":    {headerProtocol, "2-2", "incompatible version"},
		"no greeting":     {headerRun, "-", "the greeting is not one of a member"},
		"a wiped member":  {"", "", replica.ErrForgotten.Error()},
	} {
		sites := town(t, 2, nil)
		conns := make(chan net.Conn, 100)
		pretender(t, sites[1], welcoming(conns, c.header, c.value))
		if c.header == "" {
			sites[0].order.judge(2, replica.ErrForgotten)
		}
		sites[0].open()
		conn := <-conns
		if n, _ := io.Copy(io.Discard, conn); n != 0 {
			t.Errorf("%s: %d bytes were sent", name, n)
		}
		_ = conn.Close()
		eventually(t, name+" is logged", func() bool { return sites[0].log.has(c.log) })
		if sites[0].order.count(sites[0].order.connected, 2) != 0 || sites[0].order.Outbox(2, replica.Urgent).put(plain(raftpb.MsgHeartbeat, 1)) {
			t.Errorf("%s: the member counts as connected", name)
		}
		sites[0].kill()
	}
}

// TestASlowReaderCostsOnlyItself: it takes nothing, so the write on its lane fails in time and a new connection is tried.
func TestASlowReaderCostsOnlyItself(t *testing.T) {
	sites := town(t, 3, func(o *Options) { o.WriteTimeout = 300 * time.Millisecond })
	conns := make(chan net.Conn, 100)
	pretender(t, sites[1], welcoming(conns, "", ""))
	sites[0].open()
	sites[2].open()
	meet(t, sites[0], sites[2])
	held := []net.Conn{<-conns, <-conns}
	box := sites[0].order.Outbox(2, replica.Bulk)
	eventually(t, "the lane is open", func() bool { return box.put(addressed(appendOf(1, 64, 1<<20), 1, 2)) })
	for i := range uint64(50) {
		sites[0].send(3, replica.Bulk, appendOf(i, 1, 100))
		if got := sites[2].receive(); got.m.GetIndex() != i {
			t.Fatalf("came %v", got)
		}
	}
	held = append(held, <-conns)
	eventually(t, "what was not written is counted", func() bool {
		return metric(t, sites[0], "etcd_network_peer_sent_failures_total", "2") == 1
	})
	for _, conn := range held {
		_ = conn.Close()
	}
}

func addressed(m *raftpb.Message, from, to uint64) *raftpb.Message {
	m.From, m.To = new(from), new(to)
	return m
}
