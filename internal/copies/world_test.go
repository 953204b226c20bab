package copies

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
)

// The cluster of these tests, the member that hands out copies, and the one that gets them.
const (
	testCluster = 0xc1
	testSource  = 1
	testTarget  = 2
	testLog     = 77
	testDir     = "data/state"
)

// machine is a state with the engine under it.
type machine struct {
	*state.Machine
	engine *storage.Engine
	index  uint64
}

func openMachine(t testing.TB, fs vfs.FS, dir string) *machine {
	t.Helper()
	e, err := storage.Open(storage.Options{FS: fs, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	founded, err := state.Founded(e)
	if err == nil && !founded {
		err = state.Found(e, state.Founding{Origin: state.Position{Index: 1, Term: 1}, Log: 5, Cluster: testCluster, Local: testSource,
			Members: []member.Member{{ID: testSource, PeerURLs: []string{"http://one:1"}}, {ID: testTarget, PeerURLs: []string{"http://two:1"}}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	m, err := state.Open(e, mvcc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &machine{m, e, m.Applied().Index}
}

// apply applies commands as one group.
func (m *machine) apply(t testing.TB, ops ...command.Op) {
	t.Helper()
	m.Begin()
	for _, op := range ops {
		if r, err := m.Apply(op); err != nil || r.Err != nil {
			t.Fatal(err, r.Err)
		}
	}
	m.index++
	if err := m.Commit(state.Position{Index: m.index, Term: 1 + m.index/50}); err != nil {
		t.Fatal(err)
	}
}

// put puts keys from a number to before another, in groups, with values of some bytes.
func (m *machine) put(t testing.TB, from, to, size int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(from), 9))
	var group []command.Op
	for i := from; i < to; i++ {
		value := make([]byte, size)
		for j := range value {
			value[j] = "0123456789abcdef"[rng.IntN(16)]
		}
		group = append(group, &pb.PutRequest{Key: fmt.Appendf(nil, "key/%08d", i), Value: value})
		if len(group) == 500 || i == to-1 {
			m.apply(t, group...)
			group = nil
		}
	}
}

// source is a machine with some rows, and a server of its copies in short frames.
type source struct {
	*machine
	*Server
	told *ends
}

func newSource(t testing.TB, keys int) *source {
	t.Helper()
	m := openMachine(t, vfs.NewMem(), "source")
	m.apply(t, &pb.LeaseGrantRequest{ID: 7, TTL: 100})
	m.put(t, 0, keys, 100)
	told := &ends{}
	s := NewServer(m.Machine, Options{Cluster: testCluster, Begun: told.begun})
	s.piece = 2 << 10
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run the server: %v", err)
		}
	})
	return &source{m, s, told}
}

// ends notes what a server tells of its copies, a word for each: whose it is, and how it ended.
type ends struct {
	mu    sync.Mutex
	words []string
}

func (e *ends) begun(to uint64) func(arrived bool) {
	return func(arrived bool) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.words = append(e.words, fmt.Sprintf("%x:%v", to, arrived))
	}
}

// take returns the words since it was called last.
func (e *ends) take() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	words := e.words
	e.words = nil
	return strings.Join(words, " ")
}

// listen serves a handler on a loopback port until the test is over.
func listen(t testing.TB, h http.Handler) string {
	t.Helper()
	l := httptest.NewServer(h)
	t.Cleanup(l.Close)
	return l.URL
}

// target is the disk of the member that gets copies.
type target struct {
	fs *vfs.MemFS
	o  FetchOptions
}

func newTarget() *target {
	fs := vfs.NewMem()
	return &target{fs, FetchOptions{
		FS: fs, Dir: testDir, Cluster: testCluster, Local: testTarget, Log: testLog,
		Progress: new(Progress), pause: time.Millisecond,
	}}
}

func (d *target) fetch(t testing.TB, sources ...string) (state.Position, error) {
	t.Helper()
	return Fetch(t.Context(), new(http.Client), sources, d.o)
}

// mustBeCopy takes over what was fetched, and demands that it is the state of its source.
func (d *target) mustBeCopy(t *testing.T, of *machine, p state.Position) {
	t.Helper()
	if p != of.Applied() {
		t.Fatalf("the copy is at %+v, the source at %+v", p, of.Applied())
	}
	adopted, err := storage.Adopt(d.fs, testDir)
	if err != nil || !adopted {
		t.Fatalf("nothing to adopt: %v", err)
	}
	c := openMachine(t, d.fs, testDir)
	got, _, err1 := c.KV().HashKV(t.Context(), 0)
	want, _, err2 := of.KV().HashKV(t.Context(), 0)
	if err1 != nil || err2 != nil || got != want {
		t.Fatalf("the hash is %+v, of the source %+v; %v, %v", got, want, err1, err2)
	}
	if c.Applied() != of.Applied() || c.Members().Local() != testTarget || c.Log() != testLog || c.Members().ClusterID() != testCluster {
		t.Fatalf("at %+v, member %d of %x with log %d", c.Applied(), c.Members().Local(), c.Members().ClusterID(), c.Log())
	}
	if !slices.Equal(c.Leases().List(), of.Leases().List()) || len(c.Members().List()) != len(of.Members().List()) {
		t.Fatal("leases or members differ")
	}
	if err := c.engine.Close(); err != nil {
		t.Fatal(err)
	}
}

// mustBeEmpty demands that no copy waits and none was left unfinished.
func (d *target) mustBeEmpty(t *testing.T) {
	t.Helper()
	names, err := d.fs.List("data")
	if err == nil && len(names) > 0 {
		t.Fatalf("left: %q", names)
	}
}

// broken hands answers on, each up to a length of its body, and then breaks the connection.
type broken struct {
	http.Handler
	// at returns how many bytes of an answer's body come through, and may change a piece of it; below 0 all do.
	at func(answer int) (bytes int)
	// spoil changes what comes through of an answer.
	spoil func(answer, offset int, b []byte)

	mu      sync.Mutex
	answers int
}

func (b *broken) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		b.Handler.ServeHTTP(w, r)
		return
	}
	b.mu.Lock()
	n := b.answers
	b.answers++
	b.mu.Unlock()
	left := -1
	if b.at != nil {
		left = b.at(n)
	}
	b.Handler.ServeHTTP(&cutWriter{ResponseWriter: w, b: b, answer: n, left: left}, r)
}

func (b *broken) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.answers
}

// cutWriter is an answer that breaks.
type cutWriter struct {
	http.ResponseWriter
	b              *broken
	answer, offset int
	left           int
}

// Unwrap lets a ResponseController set deadlines.
func (c *cutWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *cutWriter) Write(p []byte) (int, error) {
	p = slices.Clone(p)
	if c.b.spoil != nil {
		c.b.spoil(c.answer, c.offset, p)
	}
	c.offset += len(p)
	if c.left >= 0 && len(p) > c.left {
		_, _ = c.ResponseWriter.Write(p[:c.left])
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	if c.left >= 0 {
		c.left -= len(p)
	}
	return c.ResponseWriter.Write(p)
}

// failing is a disk whose n-th change fails; hits tells how often that has happened.
func failing(fs vfs.FS, n int32) (_ vfs.FS, hits func() int) {
	var ops, failed atomic.Int32
	disk := errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsRead || ops.Add(1) != n+1 {
			return nil
		}
		failed.Add(1)
		return errors.New("the disk refuses")
	}))
	return disk, func() int { return int(failed.Load()) }
}
