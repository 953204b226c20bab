package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/keelson-db/keelson/internal/chores"
	"github.com/keelson-db/keelson/internal/config"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/storage"
)

// trio is three members that reach each other over loopback and keep what they have in memory.
type trio struct {
	t       *testing.T
	members [3]*third
}

// third is one of them.
type third struct {
	fs           *vfs.MemFS
	client, peer string // addresses
	log          logText
	stop         context.CancelFunc
	ended        chan error
}

// logText is a log that tests read.
type logText struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *logText) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.Write(p)
}

func (t *logText) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}

// freeAddress is one that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func newTrio(t *testing.T) *trio {
	t.Helper()
	c := &trio{t: t}
	for i := range c.members {
		c.members[i] = &third{fs: vfs.NewMem(), client: freeAddress(t), peer: freeAddress(t)}
	}
	for i := range c.members {
		c.start(i)
	}
	t.Cleanup(func() {
		for _, m := range c.members {
			m.stop()
			<-m.ended
		}
	})
	return c
}

// start runs a member until it is stopped or ends by itself.
func (c *trio) start(i int, more ...string) {
	c.t.Helper()
	m := c.members[i]
	var all []string
	for j, other := range c.members {
		all = append(all, fmt.Sprintf("m%d=http://%s", j, other.peer))
	}
	client, peer := "http://"+m.client, "http://"+m.peer
	conf, err := config.Parse(append([]string{
		"--name", fmt.Sprint("m", i), "--data-dir", "d", "--heartbeat-interval", "20", "--election-timeout", "200", "--compare-interval", "1s",
		"--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		"--initial-cluster", strings.Join(all, ","),
	}, more...), nil, "keelson")
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	m.stop, m.ended = stop, ended
	go func() {
		ended <- Serve(ctx, conf, Env{FS: m.fs, Seed: rand.Uint64(), Log: slog.New(slog.NewTextHandler(&m.log, nil)), Listen: ListenOn(conf)})
		close(ended)
	}()
}

// put puts through a member, as soon as it serves.
func (c *trio) put(i int, key string) {
	c.t.Helper()
	conn, err := grpc.NewClient(c.members[i].client, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for { // no leader yet, or a learner for now
		_, err := pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte(key)}, grpc.WaitForReady(true))
		switch {
		case err == nil:
			return
		case ctx.Err() != nil:
			c.t.Fatalf("put through member %d: %v", i, err)
		}
		<-again.C
	}
}

// alarms asks a member.
func (c *trio) alarms(i int) []*pb.AlarmMember {
	c.t.Helper()
	conn, err := grpc.NewClient(c.members[i].client, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	resp, err := pb.NewMaintenanceClient(conn).Alarm(c.t.Context(), &pb.AlarmRequest{Action: pb.AlarmRequest_GET})
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.Alarms
}

// astray puts a key into the state of a stopped member that no log entry speaks of, as a bug or bad memory might.
func (c *trio) astray(i int, key string) {
	c.t.Helper()
	e, err := storage.Open(storage.Options{FS: c.members[i].fs, Dir: c.members[i].fs.PathJoin("d", stateDir)})
	if err != nil {
		c.t.Fatal(err)
	}
	keys, err := mvcc.Open(e, mvcc.Options{})
	if err != nil {
		c.t.Fatal(err)
	}
	b := e.NewBatch()
	defer b.Close()
	w := keys.Begin(b)
	tx := w.NewTx()
	_, err = tx.Put([]byte(key), []byte("x"), 0)
	tx.End()
	if err := errors.Join(err, w.Finish(), e.Commit(b)); err != nil {
		c.t.Fatal(err)
	}
	w.Publish()
	if err := errors.Join(e.Flush(), e.Close()); err != nil {
		c.t.Fatal(err)
	}
}

// TestAMemberThatDiverged changes what one member holds behind the log's back. It finds out from the others, names the key,
// raises CORRUPT and ends, and does so again when it is started again, until it may come back with a copy.
func TestAMemberThatDiverged(t *testing.T) {
	c := newTrio(t)
	const odd = 2
	for i := range c.members {
		c.put(i, "a")
	}
	m := c.members[odd]
	m.stop()
	if err := <-m.ended; err != nil {
		t.Fatal(err)
	}
	c.astray(odd, "stray")
	for _, words := range []string{`key \"stray\"`, "before it was restarted"} {
		c.start(odd)
		err := <-m.ended
		if !errors.Is(err, chores.ErrDiverged) {
			t.Fatalf("a member that differs ends with %v", err)
		}
		if told := m.log.String() + strings.ReplaceAll(err.Error(), `"`, `\"`); !strings.Contains(told, words) {
			t.Errorf("the member does not say %s:\n%s", words, told)
		}
	}
	if all := c.alarms(0); len(all) != 1 || all[0].Alarm != pb.AlarmType_CORRUPT {
		t.Errorf("the alarms are %v", all)
	}
	c.start(odd, "--auto-rejoin")
	c.put(odd, "b") // it serves again, and the alarm, which refused writes, is gone
	if strings.Contains(c.members[0].log.String(), "differs") || strings.Contains(c.members[1].log.String(), "differs") {
		t.Error("a member that does not differ says that it does")
	}
}
