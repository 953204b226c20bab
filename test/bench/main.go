// Command bench measures two servers of the etcd v3 API side by side on one machine: by default keelson,
// built from this repository, and a real etcd, built from its Go module.
//
// It starts one server at a time, on loopback, and loads it with a client of its own that speaks HTTP/2
// frames directly: a usual gRPC client would cost more processor time than the servers and hide their
// difference. Every server process runs a short block; blocks come in pairs in ABBA order, and ratios are
// taken within pairs, so that a machine whose speed wanders gives ratios that do not. The figure it trusts
// first is server processor time per operation. Rows about users and upkeep compare a product with itself too:
// with users on and off, and with and without something going on beside puts of a fixed rate. Rows about
// clusters start three members of one product at a time and add up what they cost.
//
// Goroutines: one per connection while a load runs, one that looks for the peak of memory where a row wants
// it, one that waits for each server process, one per member and put of a prober, and one that watches over the
// syncs of a member whose disk shall be slow, with one more per sync held up. Each connection, its histogram
// and its counters belong to its goroutine; results are merged after all ended.
// Limits: Linux only (it reads /proc and slows syncs by seccomp); requests fit a fresh stream's window (64 KiB).
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// usualPairs is the number of block pairs per group, quickPairs that of a quick run.
const (
	usualPairs = 4
	quickPairs = 1
)

// settings are the parsed flags.
type settings struct {
	options
	a, b, dir, write, output string
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == dragWord {
		_, _ = fmt.Fprintf(os.Stderr, "bench: %v\n", execDragged(os.Args[2:]))
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := bench(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// bench parses the arguments, runs what they ask for and prints the result.
func bench(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	set, err := parseFlags(args, stderr)
	if err != nil {
		return err
	}
	if _, err := os.Stat("go.mod"); err != nil {
		return fmt.Errorf("find the module: %w; run this in the directory test, as in: cd test && go run ./bench", err)
	}
	dir, err := os.MkdirTemp(set.dir, "bench-")
	if err != nil {
		return fmt.Errorf("make a working directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	r := &run{options: set.options, dir: dir, progress: stderr, pinned: map[string]int64{}, places: map[string][]place{}}
	r.say("building %s and %s", set.a, set.b)
	if r.a, err = buildProduct(ctx, set.a, "a", dir); err != nil {
		return err
	}
	if r.b, err = buildProduct(ctx, set.b, "b", dir); err != nil {
		return err
	}
	if r.a.name == r.b.name {
		r.a.name, r.b.name = r.a.name+" (a)", r.b.name+" (b)"
	}
	rep := report{
		Command: strings.Join(append([]string{"go run ./bench"}, args...), " "), Date: time.Now(),
		A: r.a.name, B: r.b.name, AVer: r.a.version, BVer: r.b.version,
		keys: number(float64(r.startSpace().size)), chosen: r.chooses,
		aimed: r.a.name == "keelson" && r.b.name == "etcd",
	}
	if rep.Host, err = describeHost(dir); err != nil {
		return err
	}
	began := time.Now()
	rep.Results, err = r.all(ctx)
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted; the servers are stopped and their data is removed")
	}
	if err != nil {
		set.write = "" // what took minutes is shown, and no half table replaces a whole one
		return errors.Join(err, set.print(rep, stdout))
	}
	r.say("done in %v", time.Since(began).Round(time.Second))
	return set.print(rep, stdout)
}

func (set settings) print(rep report, stdout io.Writer) error {
	var tables []string
	for _, on := range sheets() {
		table := rep.table(on)
		if table == "" {
			continue
		}
		tables = append(tables, table)
		if set.write == "" {
			continue
		}
		if err := writeDocument(set.write, on, table); err != nil {
			_, _ = io.WriteString(stdout, table) // what took minutes is not thrown away
			return err
		}
	}
	if set.output == "json" {
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", " ")
		return encoder.Encode(rep)
	}
	_, err := io.WriteString(stdout, strings.Join(tables, "\n"))
	return err
}

func parseFlags(args []string, stderr io.Writer) (settings, error) {
	var set settings
	var rows string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&set.a, "a", "keelson", "first `product`: keelson, etcd or the path of a server with etcd's flags")
	flags.StringVar(&set.b, "b", "etcd", "second `product`, the one compared with")
	flags.StringVar(&rows, "rows", "", "comma-separated `rows` or beginnings of their names: "+strings.Join(rowIDs(), " "))
	flags.IntVar(&set.pairs, "blocks", 0, fmt.Sprintf("`pairs` of blocks per group (default %d, quick %d)", usualPairs, quickPairs))
	flags.BoolVar(&set.quick, "quick", false, "short blocks and a tenth of the keys: a look, not a measurement")
	flags.StringVar(&set.output, "o", "table", "output `form`: table or json")
	flags.StringVar(&set.write, "write", "", "`document` whose part between the markers of a table (<!-- bench:begin --> and the like) is replaced by it")
	flags.StringVar(&set.dir, "dir", "", "`directory` for the servers' data, on the disk to be measured (default the system's temporary one)")
	if err := flags.Parse(args); err != nil {
		return set, err
	}
	if flags.NArg() > 0 {
		return set, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if set.output != "table" && set.output != "json" {
		return set, fmt.Errorf("unknown output form %q: table or json", set.output)
	}
	if rows != "" {
		set.rows = strings.Split(rows, ",")
	}
	for _, name := range set.rows {
		if !matchesRow(name) {
			return set, fmt.Errorf("unknown row %q; there are: %s", name, strings.Join(rowIDs(), " "))
		}
	}
	if set.write != "" {
		if err := checkDocument(set.write, set.options); err != nil {
			return set, err
		}
	}
	if set.pairs <= 0 {
		set.pairs = usualPairs
		if set.quick {
			set.pairs = quickPairs
		}
	}
	return set, nil
}

// rowIDs lists the rows that can be chosen.
func rowIDs() []string {
	var ids []string
	for _, g := range groups() {
		for _, row := range g.rows {
			ids = append(ids, row.id)
		}
	}
	return ids
}

func matchesRow(name string) bool {
	for _, id := range rowIDs() {
		if name != "" && strings.HasPrefix(id, name) {
			return true
		}
	}
	return false
}
