package harness

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
)

// Founding says how a cluster is founded. The zero value is three plain members on loopback.
type Founding struct {
	Size    int  // members; 0 means three
	TLS     bool // certificates between members and to clients
	Proxied bool // members reach each other through Cluster.Proxy
	// Net puts every member into a network namespace of its own; nil means loopback.
	Net *Net
	// Args are more flags of every member.
	Args []string
	// Member adds to the options of one member, by its place; nil adds nothing.
	Member func(place int, opt *Options)
}

// Member is one member of a cluster, running or not.
type Member struct {
	*Node
	Place int    // its place in Cluster.Members, for ever
	ID    uint64 // known once it has served; 0 before

	removed bool
	args    []string
	conn    *grpc.ClientConn
	cluster *Cluster
}

// Cluster is a number of members that know each other. A member keeps its place when it is removed from the cluster;
// a new one gets the next place.
type Cluster struct {
	Members []*Member
	Proxy   *Proxy // nil unless the cluster was founded with one

	founding Founding
	pki      *PKI
	user     string // whom the harness asks as; empty is nobody
	password string
	mu       sync.Mutex // guards Members and the members' processes against the proxy's questions
}

// Found starts a cluster and waits until every member serves. It ends with the test.
func Found(t testing.TB, f Founding) *Cluster {
	t.Helper()
	c := Prepare(t, f)
	for _, m := range c.Members {
		c.launch(t, m)
	}
	for _, m := range c.Members {
		m.WaitReady(t)
	}
	c.learnIDs(t)
	return c
}

// Prepare is Found without starting anything.
func Prepare(t testing.TB, f Founding) *Cluster {
	t.Helper()
	if f.Size == 0 {
		f.Size = 3
	}
	c := &Cluster{founding: f}
	t.Cleanup(func() { c.keepLogs(t) })
	if f.TLS {
		c.pki = NewPKI(t)
	}
	if f.Proxied {
		c.Proxy = NewProxy(t, c.ownerOf)
	}
	for range f.Size {
		c.addPlace(t)
	}
	founders := c.initialCluster()
	for _, m := range c.Members {
		m.opt.InitialCluster = founders
	}
	return c
}

// keepLogs leaves the members' logs behind when a test has failed; they are too long to be printed.
func (c *Cluster) keepLogs(t testing.TB) {
	t.Helper()
	if !t.Failed() {
		return
	}
	dir, err := os.MkdirTemp("", "keelson-cluster-") //nolint:usetesting // somebody wants to read them afterwards
	for _, m := range c.Members {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, m.Name+".log"), []byte(m.Log.String()), 0o600)
		}
	}
	if err != nil {
		t.Errorf("keep the logs: %v", err)
		return
	}
	t.Logf("the members' logs are in %s", dir)
}

// addPlace prepares the next member.
func (c *Cluster) addPlace(t testing.TB) *Member {
	t.Helper()
	place := len(c.Members)
	opt := Options{Name: fmt.Sprintf("m%d", place+1), PKI: c.pki, QuietLog: true, Args: slices.Clone(c.founding.Args)}
	if Target() == Keelson {
		// Members compare what they hold all the time: one that found a difference where there is none would end.
		opt.Args = append(opt.Args, "--compare-interval", "1s")
	}
	if c.founding.Net != nil {
		c.founding.Net.join(t, place, &opt)
	}
	if c.founding.Member != nil {
		c.founding.Member(place, &opt)
	}
	if c.Proxy != nil {
		opt.PeerAddr = FreeAddr(t)
		opt.Advertise = c.Proxy.Front(t, place, opt.PeerAddr)
	}
	m := &Member{Node: New(t, opt), Place: place, args: opt.Args, cluster: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Members = append(c.Members, m)
	return m
}

// initialCluster lists all members that are not removed, as the flag wants them.
func (c *Cluster) initialCluster() string {
	var parts []string
	for _, m := range c.Members {
		if !m.removed {
			parts = append(parts, m.Name+"="+m.AdvertisedURL())
		}
	}
	return strings.Join(parts, ",")
}

func (c *Cluster) launch(t testing.TB, m *Member) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	m.Launch(t)
}

// ownerOf tells the proxy which member opened a connection.
func (c *Cluster) ownerOf(client, server net.Addr) int {
	c.mu.Lock()
	var pids, places []int
	for _, m := range c.Members {
		if m.proc != nil {
			pids, places = append(pids, m.proc.Pid()), append(places, m.Place)
		}
	}
	c.mu.Unlock()
	if i := socketOwner(client, server, pids); i >= 0 {
		return places[i]
	}
	return Outside
}

// Running are the members whose process runs.
func (c *Cluster) Running() []*Member {
	var running []*Member
	for _, m := range c.Members {
		if m.proc != nil && !m.proc.Exited() {
			running = append(running, m)
		}
	}
	return running
}

// Endpoints are the client addresses of all members that are not removed.
func (c *Cluster) Endpoints() []string {
	var all []string
	for _, m := range c.Members {
		if !m.removed {
			all = append(all, m.ClientAddr)
		}
	}
	return all
}

// Pause stops a member's process in the middle of whatever it does.
func (m *Member) Pause(t testing.TB) {
	t.Helper()
	if err := m.proc.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
}

// Resume lets a paused process go on as if no time had passed.
func (m *Member) Resume(t testing.TB) {
	t.Helper()
	if err := m.proc.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// Start starts the process of a member that has ended and waits until it serves.
func (c *Cluster) Start(t testing.TB, m *Member) {
	t.Helper()
	c.StartWithin(t, m, SettleLimit)
}

// StartWithin is Start for a member that has much to do before it serves.
func (c *Cluster) StartWithin(t testing.TB, m *Member, limit time.Duration) {
	t.Helper()
	c.Launch(t, m)
	m.WaitServing(t, limit)
}

// Launch starts the process of a member that has ended and returns at once.
func (c *Cluster) Launch(t testing.TB, m *Member) {
	t.Helper()
	c.launch(t, m)
}

// SetArgs replaces the flags that the cluster gave to a member beyond the harness's own, from its next start on.
func (m *Member) SetArgs(args ...string) { m.opt.Args = append(slices.Clone(m.args), args...) }

// SaveDir copies what an ended member has on its disk and returns where the copy is.
func (m *Member) SaveDir(t testing.TB) string {
	t.Helper()
	backup := filepath.Join(t.TempDir(), "backup")
	if err := os.CopyFS(backup, os.DirFS(m.Dir)); err != nil {
		t.Fatalf("copy the directory of %s: %v", m.Name, err)
	}
	return backup
}

// RestoreDir gives an ended and wiped member what was copied before.
func (m *Member) RestoreDir(t testing.TB, backup string) {
	t.Helper()
	if err := os.CopyFS(m.Dir, os.DirFS(backup)); err != nil {
		t.Fatalf("restore the directory of %s: %v", m.Name, err)
	}
}
