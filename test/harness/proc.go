package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Proc is one started process with its output.
type Proc struct {
	Out *Transcript // standard output
	Err *Transcript // standard error

	name  string
	stdin io.WriteCloser
	cmd   *exec.Cmd
	done  chan struct{}
}

// procSpec says what to start.
type procSpec struct {
	path     string
	args     []string
	env      []string // replaces the environment
	dir      string
	stdin    bool
	out, err *Transcript
}

// startProc starts a process that dies with the test process.
func startProc(s procSpec) (*Proc, error) {
	p := &Proc{Out: s.out, Err: s.err, name: s.path, done: make(chan struct{})}
	if p.Out == nil {
		p.Out = new(Transcript)
	}
	if p.Err == nil {
		p.Err = new(Transcript)
	}
	// No context ends it: a test ends its processes itself, in the way that it tests.
	p.cmd = exec.CommandContext(context.Background(), s.path, s.args...)
	p.cmd.Env = s.env
	p.cmd.Dir = s.dir
	p.cmd.Stdout, p.cmd.Stderr = p.Out, p.Err
	p.cmd.SysProcAttr = dieWithParent()
	if s.stdin {
		w, err := p.cmd.StdinPipe()
		if err != nil {
			return nil, fmt.Errorf("open standard input: %w", err)
		}
		p.stdin = w
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", s.path, err)
	}
	go func() {
		// The exit state is read from cmd.ProcessState; a non-zero exit is no failure of the wait.
		_ = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Pid is the process's number.
func (p *Proc) Pid() int { return p.cmd.Process.Pid }

// Signal sends a signal to this very process; a process that has ended is left alone.
func (p *Proc) Signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %v: %w", sig, err)
	}
	return nil
}

// Exited says whether the process has ended.
func (p *Proc) Exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Wait waits for the end and returns the exit code, or -1 for a death by signal.
func (p *Proc) Wait(limit time.Duration) (int, error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-time.After(limit):
		return 0, fmt.Errorf("%s still runs after %v", p.name, limit)
	}
}

// End kills the process if it still runs and waits for it.
func (p *Proc) End() {
	_ = p.Signal(syscall.SIGKILL)
	<-p.done
}

// WriteLine writes one line to standard input.
func (p *Proc) WriteLine(t testing.TB, line string) {
	t.Helper()
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		t.Fatalf("write %q to %s: %v", line, p.name, err)
	}
}

// CloseInput ends standard input.
func (p *Proc) CloseInput() { _ = p.stdin.Close() }

// WaitOut waits until standard output contains the text.
func (p *Proc) WaitOut(t testing.TB, text string) {
	t.Helper()
	Eventually(t, 10*time.Second, "output of "+p.name, func() error {
		if p.Out.Contains(text) {
			return nil
		}
		if p.Exited() && !p.Out.Contains(text) {
			return fmt.Errorf("ended without %q; out %q, err %q", text, p.Out.Tail(2000), p.Err.Tail(2000))
		}
		return fmt.Errorf("no %q in out %q, err %q", text, p.Out.Tail(2000), p.Err.Tail(2000))
	})
}

// cleanEnv is the environment without settings that would steer etcd, etcdctl or Keelson.
func cleanEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "ETCD") && !strings.HasPrefix(kv, "KEELSON") {
			env = append(env, kv)
		}
	}
	return env
}
