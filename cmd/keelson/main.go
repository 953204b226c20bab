// Command keelson is the whole of Keelson in one binary. Without a command word it is the server, with
// etcd's flags, and so it is with the word join; with one of the other words that `keelson help` lists it is a client or
// a tool. Called by the name etcd it is always the server and keeps its data where etcd would.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.opentelemetry.io/otel"
	"google.golang.org/grpc/grpclog"

	"github.com/keelson-db/keelson/internal/cli"
	"github.com/keelson-db/keelson/internal/config"
	"github.com/keelson-db/keelson/internal/server"
)

func main() {
	name := strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe")
	args, joins := os.Args[1:], false
	if name != "etcd" && len(args) > 0 {
		flags, ok := cli.Joins(args)
		switch {
		case ok:
			args, joins = flags, true
		case cli.Knows(args[0]):
			os.Exit(cli.Main(args, os.Stdin, os.Stdout, os.Stderr))
		}
	}
	os.Exit(serve(name, args, joins))
}

// errFileJoins refuses a join that a file of settings would hide, after which a cluster of its own would be founded.
var errFileJoins = errors.New("\"keelson join\" and a file of settings do not go together, because flags are ignored beside it: write \"join\" into the file")

// serve runs the server and returns the process's exit code.
func serve(name string, args []string, joins bool) int {
	c, err := config.Parse(args, os.Environ(), name)
	if err == nil && joins && len(c.Join) == 0 {
		err = errFileJoins
	}
	switch {
	case errors.Is(err, config.ErrHelp):
		fmt.Fprint(os.Stderr, config.UsageText(name))
		fmt.Print(config.FlagsText())
		return 0
	case errors.Is(err, config.ErrVersion):
		fmt.Print(config.VersionText())
		return 0
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		if _, usage := errors.AsType[*config.UsageError](err); usage {
			fmt.Fprintf(os.Stderr, "Run %s --help for all flags.\n", name)
		}
		return config.ExitCode(err)
	}
	log, writer, err := config.NewLogger(c, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer writer.Close()
	for _, w := range c.Warnings {
		log.Warn(w)
	}
	quietLibraries(log)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // who asks a second time does not want to wait
	var once sync.Once
	var say func(string)
	if joins {
		say = func(line string) { fmt.Println(line) }
	}
	err = server.Serve(ctx, c, server.Env{
		Say: say,
		FS:  vfs.Default, Listen: server.ListenOn(c), Seed: rand.Uint64(), Log: log, LogWriter: writer,
		Notify: func() {
			server.NotifySystemd(log)
			if name != "etcd" {
				once.Do(func() { greet(c) })
			}
		},
	})
	if err == nil {
		return 0
	}
	if _, ok := errors.AsType[*server.StartError](err); !ok {
		log.Error("stopped", "error", err.Error())
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// quietLibraries keeps libraries off stderr that have a logger for the whole process. gRPC and the JSON gateway tell
// there of every client that hangs up; the collector's exporter tells of a collector that is away.
func quietLibraries(log *slog.Logger) {
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("send traces", "error", err.Error()) }))
}

// greet says what is served and what to try.
func greet(c *config.Config) {
	endpoint, flags := c.AdvertiseClientURLs[0].String(), ""
	if c.AutoTLS {
		flags = " --insecure-skip-tls-verify" // nobody vouches for a certificate that the server made
	}
	fmt.Printf(`
Keelson %s serves etcd's v3 API on %s (gRPC, /health, /metrics), data in %s

  keelson put greeting hello --endpoints %[2]s%[4]s
  keelson get greeting --endpoints %[2]s%[4]s
  keelson watch greeting --endpoints %[2]s%[4]s

`, config.ProductVersion(), endpoint, c.DataDir, flags)
}
