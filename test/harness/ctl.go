package harness

import (
	"io"
	"testing"
	"time"
)

// ctlLimit bounds one etcdctl command.
const ctlLimit = 20 * time.Second

// Result is what a finished command left.
type Result struct {
	Out, Err string
	Code     int
}

// Ctl runs etcdctl against the node and returns its standard output; an exit code other than 0 fails the test.
func (n *Node) Ctl(t testing.TB, args ...string) string {
	t.Helper()
	r := n.CtlInput(t, "", args...)
	if r.Code != 0 {
		t.Fatalf("etcdctl %q: exit code %d, out %q, err %q", args, r.Code, r.Out, r.Err)
	}
	return r.Out
}

// CtlInput runs etcdctl with the given standard input, whatever its exit code is.
func (n *Node) CtlInput(t testing.TB, stdin string, args ...string) Result {
	t.Helper()
	p := n.StartCtl(t, args...)
	if _, err := io.WriteString(p.stdin, stdin); err != nil && !p.Exited() {
		t.Fatalf("write to etcdctl: %v", err)
	}
	p.CloseInput()
	code, err := p.Wait(ctlLimit)
	if err != nil {
		t.Fatalf("etcdctl %q: %v; out %q, err %q", args, err, p.Out, p.Err)
	}
	return Result{Out: p.Out.String(), Err: p.Err.String(), Code: code}
}

// StartCtl starts etcdctl for commands that stay, such as watch and lock. It ends with the test.
func (n *Node) StartCtl(t testing.TB, args ...string) *Proc {
	t.Helper()
	bins, err := Build()
	if err != nil {
		t.Fatal(err)
	}
	first := []string{"--endpoints", n.ClientAddr}
	if n.opt.PKI != nil {
		first = append(first, n.opt.PKI.CtlArgs()...)
	}
	return startFor(t, procSpec{
		path: bins.Etcdctl, args: append(first, args...),
		env: cleanEnv(), dir: t.TempDir(), stdin: true,
	})
}

// Run starts any program and waits for its end.
func Run(t testing.TB, limit time.Duration, dir string, env []string, path string, args ...string) Result {
	t.Helper()
	p := startFor(t, procSpec{path: path, args: args, env: append(cleanEnv(), env...), dir: dir})
	code, err := p.Wait(limit)
	if err != nil {
		t.Fatalf("%s %q: %v; out %q, err %q", path, args, err, p.Out, p.Err)
	}
	return Result{Out: p.Out.String(), Err: p.Err.String(), Code: code}
}

func startFor(t testing.TB, s procSpec) *Proc {
	t.Helper()
	p, err := startProc(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.End)
	return p
}
