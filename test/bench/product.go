package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// product is a server program under test. Two of the same kind get their slot into the name.
type product struct {
	name    string // as in the table
	slot    string // "a" or "b": keeps the directories of two equal products apart
	binary  string
	version string
}

// buildProduct builds the named product with the toolchain that runs the benchmark. Anything that is
// neither keelson nor etcd is taken for the path of a ready binary with etcd's flags.
func buildProduct(ctx context.Context, name, slot, dir string) (product, error) {
	p := product{name: name, slot: slot, binary: filepath.Join(dir, name)}
	switch name {
	case "keelson":
		err := goBuild(ctx, "..", p.binary, "./cmd/keelson")
		if err != nil {
			return product{}, err
		}
	case "etcd":
		err := goBuild(ctx, ".", p.binary, "go.etcd.io/etcd/server/v3")
		if err != nil {
			return product{}, err
		}
	default:
		path, err := filepath.Abs(name)
		if err != nil {
			return product{}, fmt.Errorf("find binary: %w", err)
		}
		p.name, p.binary = filepath.Base(name), path
	}
	out, err := exec.CommandContext(ctx, p.binary, "--version").Output()
	if err != nil {
		return product{}, fmt.Errorf("ask %s for its version: %w", p.name, err)
	}
	p.version = versionLine(out, p.name)
	if name == "keelson" {
		p.version += commit(ctx)
	}
	return p, nil
}

func goBuild(ctx context.Context, module, output, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", output, pkg)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// versionLine picks the line that names the product from what it says of its version: keelson also names
// the etcd it stands in for.
func versionLine(out []byte, name string) string {
	text := strings.TrimSpace(string(out))
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.ToLower(line), name) {
			return strings.TrimSpace(line)
		}
	}
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// commit names the state of the source tree, if it is a clone and git is at hand: a missing commit is no
// reason not to measure.
func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--exclude=*").Output()
	if err != nil {
		return ""
	}
	return ", commit " + strings.TrimSpace(string(out))
}
