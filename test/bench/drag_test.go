package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// syncWord is the first argument that turns the test's program into one that syncs a file.
const syncWord = "sync"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case dragWord:
			fmt.Fprintln(os.Stderr, execDragged(os.Args[2:]))
			os.Exit(1)
		case syncWord:
			if err := syncTwice(os.Args[2]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

// syncTwice writes a file and syncs it in two ways.
func syncTwice(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = file.WriteString("x")
	return errors.Join(err, file.Sync(), syscall.Fdatasync(int(file.Fd())), file.Close())
}

// syncing is a command that syncs a file twice, on another thread than its first as likely as not.
func syncing(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, syncWord, path)
	cmd.Stderr = os.Stderr
	return cmd
}

func TestADragHoldsUpEverySync(t *testing.T) {
	d := &drag{}
	for _, delay := range []time.Duration{0, 100 * time.Millisecond, 0} {
		path := filepath.Join(t.TempDir(), "synced")
		d.slow(delay)
		d.slowed.Store(0)
		cmd := syncing(t, path)
		began := time.Now()
		if err := d.start(cmd); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 2*delay {
			t.Errorf("two syncs that are held up for %v each took %v", delay, took)
		}
		want := int64(0)
		if delay > 0 {
			want = 2
		}
		if got := d.slowed.Load(); got != want {
			t.Errorf("with a delay of %v, %d syncs were held up", delay, got)
		}
		if data, err := os.ReadFile(path); err != nil || string(data) != "x" {
			t.Errorf("the file reads %q, %v", data, err)
		}
	}
}

func TestAProcessThatIsHeldUpCanBeKilled(t *testing.T) {
	d := &drag{}
	d.slow(time.Hour)
	cmd := syncing(t, filepath.Join(t.TempDir(), "synced"))
	if err := d.start(cmd); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a sync is held up", func() bool { return d.slowed.Load() == 1 })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("a killed process ended well")
		}
	case <-time.After(testLimit):
		t.Error("a killed process did not end")
	}
}

func TestASignalDoesNotMakeASyncBeginAnew(t *testing.T) {
	d := &drag{}
	d.slow(100 * time.Millisecond)
	cmd := syncing(t, filepath.Join(t.TempDir(), "synced"))
	if err := d.start(cmd); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a sync is held up", func() bool { return d.slowed.Load() == 1 })
	signalThreads(t, cmd.Process.Pid, syscall.SIGURG) // as the runtime does to its own threads
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := d.slowed.Load(); got != 2 {
		t.Errorf("two syncs were held up %d times", got)
	}
}

func TestAProgramThatIsMissingEndsBadlyAndSaysWhy(t *testing.T) {
	var said strings.Builder
	cmd := syncing(t, "")
	cmd.Path, cmd.Stderr = filepath.Join(t.TempDir(), "missing"), &said
	// The drag is in place before the program is looked for, so it is the process that fails and not the start.
	if err := (&drag{}).start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(said.String(), "no such file") {
		t.Errorf("it ended with %v and said %q", err, said.String())
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit, ticks := time.After(testLimit), time.NewTicker(time.Millisecond)
	defer ticks.Stop()
	for !ok() {
		select {
		case <-limit:
			t.Fatalf("not within %v: %s", testLimit, what)
		case <-ticks.C:
		}
	}
}

// signalThreads sends a signal to every thread of a process.
func signalThreads(t *testing.T, pid int, signal syscall.Signal) {
	t.Helper()
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("%d threads, %v", len(threads), err)
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Tgkill(pid, id, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			t.Fatal(err)
		}
	}
}
