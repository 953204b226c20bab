package harness

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// startLimit bounds the time from exec to the first healthy answer.
	startLimit = 20 * time.Second
	// stopLimit bounds the time a server may need to stop after SIGTERM.
	stopLimit = 15 * time.Second
)

// Options say how a node differs from the plain one. The zero value is a fresh node with defaults.
type Options struct {
	Binary string   // the executable; empty means the server under test
	Dir    string   // the data directory; empty means a new one
	Args   []string // more flags, after the harness's own
	Env    []string // more environment
	// Prefix is put before the command line, such as prlimit and its arguments.
	Prefix []string
	// QuietLog leaves the server's log out of a failing test's output, where the failure says enough.
	QuietLog bool
	// Name is the member's; empty means n1.
	Name string
	// InitialCluster lists the members that found the cluster; empty means this one alone.
	InitialCluster string
	// ClientAddr and PeerAddr are where it listens; empty means a free port.
	ClientAddr, PeerAddr string
	// Advertise is where other members find it, when something stands before its peer port.
	Advertise string
	// PKI makes it speak TLS with everybody; nil means plain text.
	PKI *PKI
}

// Node is one server process and the directory it works on. It can be killed and started again.
type Node struct {
	Name       string      // the member's name
	Dir        string      // data directory
	ClientAddr string      // host:port of gRPC and HTTP
	PeerAddr   string      // host:port for other members
	Log        *Transcript // both output streams, of all starts

	t    testing.TB
	opt  Options
	work string // working directory, a new one, where a server with default settings may write
	proc *Proc
}

// Start builds the binaries if needed, starts a node and waits until it serves. The node ends with the test.
func Start(t testing.TB, opt Options) *Node {
	t.Helper()
	n := New(t, opt)
	n.Launch(t)
	n.WaitReady(t)
	return n
}

// New prepares a node without starting it.
func New(t testing.TB, opt Options) *Node {
	t.Helper()
	bins, err := Build()
	if err != nil {
		t.Fatal(err)
	}
	if opt.Binary == "" {
		opt.Binary = bins.Server
	}
	if opt.Name == "" {
		opt.Name = "n1"
	}
	if opt.ClientAddr == "" {
		opt.ClientAddr = FreeAddr(t)
	}
	if opt.PeerAddr == "" {
		opt.PeerAddr = FreeAddr(t)
	}
	n := &Node{
		Name: opt.Name, Dir: opt.Dir, ClientAddr: opt.ClientAddr, PeerAddr: opt.PeerAddr, Log: new(Transcript),
		t: t, opt: opt, work: t.TempDir(),
	}
	if n.Dir == "" {
		n.Dir = filepath.Join(t.TempDir(), "node")
	}
	t.Cleanup(func() {
		if n.proc != nil {
			n.proc.End()
		}
		n.checkLog(t)
		if t.Failed() && !opt.QuietLog {
			t.Logf("log of %s %s:\n%s", filepath.Base(opt.Binary), n.Name, n.Log.Tail(4000))
		}
	})
	return n
}

// checkLog fails the test when the product panicked or, built with the race detector, raced.
func (n *Node) checkLog(t testing.TB) {
	if Target() != Keelson || filepath.Base(n.opt.Binary) == string(Etcd) {
		return
	}
	for _, sign := range []string{"panic:", "fatal error:", "WARNING: DATA RACE"} {
		if _, after, found := strings.Cut(n.Log.String(), sign); found {
			t.Errorf("the log holds %q:\n%.3000s", sign, after)
		}
	}
}

// Args is the command line the harness gives to every node, without the options' own.
func (n *Node) Args() []string {
	founders := n.opt.InitialCluster
	if founders == "" {
		founders = n.Name + "=" + n.AdvertisedURL()
	}
	args := []string{
		"--name", n.Name,
		"--data-dir", n.Dir,
		"--listen-client-urls", n.URL(), "--advertise-client-urls", n.URL(),
		"--listen-peer-urls", n.PeerURL(), "--initial-advertise-peer-urls", n.AdvertisedURL(),
		"--initial-cluster", founders,
	}
	if n.opt.PKI != nil {
		args = append(args, n.opt.PKI.Args()...)
	}
	return args
}

// Launch starts the process and returns at once.
func (n *Node) Launch(t testing.TB) {
	t.Helper()
	if n.proc != nil && !n.proc.Exited() {
		t.Fatal("the node runs already")
	}
	line := append(append([]string{}, n.opt.Prefix...), n.opt.Binary)
	line = append(append(line, n.Args()...), n.opt.Args...)
	p, err := startProc(procSpec{
		path: line[0], args: line[1:], env: append(cleanEnv(), n.opt.Env...), dir: n.work,
		out: n.Log, err: n.Log,
	})
	if err != nil {
		t.Fatal(err)
	}
	n.proc = p
}

// WaitReady waits until the node answers /health with 200.
func (n *Node) WaitReady(t testing.TB) {
	t.Helper()
	n.waitFor(t, "/health", startLimit)
}

// waitFor waits until the node answers one of its paths with 200.
func (n *Node) waitFor(t testing.TB, path string, limit time.Duration) {
	t.Helper()
	err := Poll(limit, func() error {
		if n.proc.Exited() {
			return nil
		}
		return n.healthy(path)
	})
	if err == nil && n.proc.Exited() {
		err = fmt.Errorf("the server ended with exit code %d", n.proc.cmd.ProcessState.ExitCode())
	}
	if err != nil {
		t.Fatalf("wait for %s of %s: %v", path, n.Name, err)
	}
}

// healthy asks the node at one of its paths that answer 200 when all is well.
func (n *Node) healthy(path string) error {
	_, err := n.get(path)
	return err
}

// get asks the node at one of its paths; any answer but 200 is an error with its text.
func (n *Node) get(path string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.URL()+path, nil)
	if err != nil {
		return "", err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: n.tls()}}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(string(body))
	}
	return string(body), err
}

// URL is the client URL.
func (n *Node) URL() string { return n.scheme() + n.ClientAddr }

// PeerURL is the URL on which it listens for other members.
func (n *Node) PeerURL() string { return n.scheme() + n.PeerAddr }

// AdvertisedURL is the URL at which other members find it.
func (n *Node) AdvertisedURL() string {
	if n.opt.Advertise != "" {
		return n.scheme() + n.opt.Advertise
	}
	return n.PeerURL()
}

func (n *Node) scheme() string {
	if n.opt.PKI != nil {
		return "https://"
	}
	return "http://"
}

// tls is what a client of the node needs; nil where it speaks plain text.
func (n *Node) tls() *tls.Config {
	if n.opt.PKI != nil {
		return n.opt.PKI.Client()
	}
	return nil
}

// Proc is the running process.
func (n *Node) Proc() *Proc { return n.proc }

// Kill9 ends the node as a power cut would, as far as the process is concerned.
func (n *Node) Kill9(t testing.TB) {
	t.Helper()
	if err := n.proc.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := n.proc.Wait(stopLimit); err != nil {
		t.Fatal(err)
	}
}

// Stop asks the node to end and returns its exit code; -1 is a death by the signal itself.
func (n *Node) Stop(t testing.TB) int {
	t.Helper()
	if err := n.proc.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	code, err := n.proc.Wait(stopLimit)
	if err != nil {
		t.Fatalf("stop the server: %v", err)
	}
	return code
}

// Restart starts an ended node on the same directory and addresses and waits until it serves.
func (n *Node) Restart(t testing.TB) {
	t.Helper()
	n.Launch(t)
	n.WaitReady(t)
}
