package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Kind names a product whose server can be put under test.
type Kind string

const (
	// Keelson is the product of this repository, the default.
	Keelson Kind = "keelson"
	// Etcd is a real etcd built from its Go module: it proves that a test describes etcd and not a wish.
	Etcd Kind = "etcd"
)

const (
	// targetEnv selects the server under test.
	targetEnv = "KEELSON_TEST_SERVER"
	// binaryEnv names a ready server binary, such as one of a release or one built with the race detector.
	binaryEnv = "KEELSON_TEST_BINARY"
	// modulePath is the path of the nested test module, by which its directory is recognised.
	modulePath = "github.com/keelson-db/keelson/test"
	// buildLimit bounds one go build, in time; a cold cache on a slow machine needs minutes.
	buildLimit = 10 * time.Minute
)

// Target says which server the environment asks to test; a ready binary counts as that server too.
func Target() Kind {
	if os.Getenv(targetEnv) == string(Etcd) {
		return Etcd
	}
	return Keelson
}

// Binaries are the paths of the executables a test run needs.
type Binaries struct {
	Server  string // the server under test
	Etcd    string // a real etcd, for comparisons and foreign data directories
	Etcdctl string // the stock client
	Etcdutl string // etcd's tool for files
}

// Build builds the binaries once per test process; later calls return the same answer.
func Build() (Binaries, error) { return buildOnce() }

var buildOnce = sync.OnceValues(buildAll)

func buildAll() (Binaries, error) {
	root, err := moduleDir()
	if err != nil {
		return Binaries{}, err
	}
	bin := filepath.Join(root, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return Binaries{}, fmt.Errorf("create the directory for binaries: %w", err)
	}
	// Two test packages may run at once; without the lock one would start a binary the other is writing.
	unlock, err := lockFile(filepath.Join(bin, ".lock"))
	if err != nil {
		return Binaries{}, err
	}
	defer unlock()

	b := Binaries{Etcd: filepath.Join(bin, "etcd"), Etcdctl: filepath.Join(bin, "etcdctl"), Etcdutl: filepath.Join(bin, "etcdutl")}
	if err := goBuild(root, b.Etcd, "go.etcd.io/etcd/server/v3"); err != nil {
		return Binaries{}, err
	}
	if err := goBuild(root, b.Etcdctl, "go.etcd.io/etcd/etcdctl/v3"); err != nil {
		return Binaries{}, err
	}
	if err := goBuild(root, b.Etcdutl, "go.etcd.io/etcd/etcdutl/v3"); err != nil {
		return Binaries{}, err
	}
	b.Server = b.Etcd
	if ready := os.Getenv(binaryEnv); ready != "" {
		b.Server = ready
	} else if Target() == Keelson {
		b.Server = filepath.Join(bin, "keelson")
		if err := goBuild(filepath.Dir(root), b.Server, "./cmd/keelson"); err != nil {
			return Binaries{}, err
		}
	}
	return b, nil
}

// goBuild links one main package without cgo, as the product is shipped.
func goBuild(dir, out, pkg string) error {
	ctx, cancel := context.WithTimeout(context.Background(), buildLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-o", out, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, text)
	}
	return nil
}

// moduleDir finds the directory of the test module above the working directory.
func moduleDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the working directory: %w", err)
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module "+modulePath+"\n") {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod of " + modulePath + " above the working directory")
		}
		dir = up
	}
}

func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the build lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("take the build lock: %w", err)
	}
	return func() { f.Close() }, nil
}
