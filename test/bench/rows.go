package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"
)

// metric is one measured quantity of a row.
type metric struct {
	name, unit   string
	moreIsBetter bool
	// bare metrics explain the others and get no ratio.
	bare bool
	// own metrics are compared with something of the same product and get no ratio either; beside them stands how
	// far the first product's own figures lie apart.
	own bool
}

// bound is an aim for the first product's own figure.
type bound struct {
	limit float64
	// least means that the figure shall not be below the limit; otherwise it shall not be above.
	least bool
}

// sheet is a table with a place of its own in the document.
type sheet string

const (
	// sheetData has the rows about reading, writing and starting.
	sheetData sheet = ""
	// sheetUpkeep has the rows about users and about looking after a store.
	sheetUpkeep sheet = "upkeep"
	// sheetCluster has the rows about clusters of three members.
	sheetCluster sheet = "cluster"
)

func sheets() []sheet { return []sheet{sheetData, sheetUpkeep, sheetCluster} }

// The metrics rows are made of.
var (
	serverCPU   = metric{name: "server CPU", unit: "µs"}
	clientCPU   = metric{name: "client CPU", unit: "µs", bare: true}
	rate        = metric{name: "throughput", unit: "/s", moreIsBetter: true}
	p50         = metric{name: "p50", unit: "µs"}
	p99         = metric{name: "p99", unit: "µs"}
	diskBytes   = metric{name: "disk writes", unit: "B"}
	written     = metric{name: "write_bytes", unit: "B", bare: true}
	lagP50      = metric{name: "lag p50", unit: "µs"}
	lagP99      = metric{name: "lag p99", unit: "µs"}
	eventRate   = metric{name: "events", unit: "/s", bare: true}
	startTime   = metric{name: "to first read", unit: "ms"}
	startCPU    = metric{name: "server CPU", unit: "ms"}
	residentMem = metric{name: "VmRSS", unit: "MiB"}
	anonMem     = metric{name: "RssAnon", unit: "MiB"}
	fileMem     = metric{name: "RssFile", unit: "MiB", bare: true}
)

// Figures kept beside the metrics, in the raw output only or for the notes under the table.
const (
	operations  = "operations"
	otherShare  = "share of machine used by others"
	stolenShare = "share of machine stolen"
)

// row is one line group of the table.
type row struct {
	id, title string
	metrics   []metric
	// aims are the wanted ratios by metric name: how many times better keelson shall be than etcd.
	aims map[string]float64
	// bounds are aims for keelson's own figures by metric name.
	bounds map[string]bound
}

// group is a set of rows that share a server process per block, so that starting and filling servers does
// not eat the run.
type group struct {
	name  string
	sheet sheet
	rows  []row
	// prepare makes the data directory of one product before the first block; nil if there is none. What it
	// measures on the way joins the first pair.
	prepare func(context.Context, *run, product) (block, error)
	// measure starts a fresh process, measures the chosen rows and stops it.
	measure func(context.Context, *run, product) (block, error)
	// maxPairs limits the pairs of a slow group; zero means no limit.
	maxPairs int
}

// groups lists all groups in the order of the table.
func groups() []group {
	return []group{
		putGroup(), readGroup(), watchGroup(), startGroup(),
		authGroup(), loginGroup(), storeGroup(), compactGroup(),
		clusterPutGroup(), clusterReadGroup(), failoverGroup(), slowDiskGroup(), joinGroup(),
	}
}

// options are the choices of the command line.
type options struct {
	rows  []string // chosen row ids or prefixes of ids; empty means all
	pairs int
	quick bool
}

// chooses reports whether a row was asked for.
func (o options) chooses(id string) bool {
	if len(o.rows) == 0 {
		return true
	}
	for _, prefix := range o.rows {
		if strings.HasPrefix(id, prefix) {
			return true
		}
	}
	return false
}

// run is one benchmark run: its choices, its products and where it works.
type run struct {
	options
	a, b     product
	dir      string
	progress io.Writer
	// pinned is, per product slot, the older revision that pages are read at.
	pinned map[string]int64
	// places is, per product slot, where the members of the filled cluster live.
	places map[string][]place
}

// loadTime is how long one row's load lasts in a block.
func (r *run) loadTime() time.Duration {
	if r.quick {
		return time.Second
	}
	return 3 * time.Second
}

// warmTime is how long a fresh server is warmed up in each block.
func (r *run) warmTime() time.Duration {
	if r.quick {
		return 500 * time.Millisecond
	}
	return time.Second
}

// dataDir is the directory of a group's data of one product.
func (r *run) dataDir(p product, group string) string {
	return filepath.Join(r.dir, fmt.Sprintf("%s-%s", group, p.slot))
}

// result is everything a run measured.
type result struct {
	Group string `json:"group"`
	Pairs []pair `json:"pairs"`
}

// all runs every group that has a chosen row, and returns what was measured before an error, too.
func (r *run) all(ctx context.Context) ([]result, error) {
	var results []result
	for _, g := range groups() {
		if !g.chosen(r.options) {
			continue
		}
		pairs, err := r.group(ctx, g)
		if err != nil {
			return results, fmt.Errorf("%s: %w", g.name, err)
		}
		results = append(results, result{Group: g.name, Pairs: pairs})
	}
	return results, nil
}

func (g group) chosen(o options) bool {
	for _, row := range g.rows {
		if o.chooses(row.id) {
			return true
		}
	}
	return false
}

// group runs a group's pairs in the order AB BA AB BA, so that a drift of the machine falls on both sides.
func (r *run) group(ctx context.Context, g group) ([]pair, error) {
	extra := map[string]block{}
	if g.prepare != nil {
		for _, p := range []product{r.a, r.b} {
			r.say("%s: prepare %s", g.name, p.name)
			b, err := g.prepare(ctx, r, p)
			if err != nil {
				return nil, fmt.Errorf("prepare %s: %w", p.name, err)
			}
			extra[p.slot] = b
		}
	}
	count := r.pairs
	if g.maxPairs > 0 {
		count = min(count, g.maxPairs)
	}
	var pairs []pair
	for i := range count {
		one := pair{ABFirst: i%2 == 0}
		order := []product{r.a, r.b}
		if !one.ABFirst {
			order = []product{r.b, r.a}
		}
		for _, p := range order {
			r.say("%s: pair %d of %d: %s", g.name, i+1, count, p.name)
			b, err := g.measure(ctx, r, p)
			if err != nil {
				return nil, fmt.Errorf("measure %s: %w", p.name, err)
			}
			if i == 0 {
				for id, f := range extra[p.slot] {
					b[id] = f
				}
			}
			if p.slot == r.a.slot {
				one.A = b
			} else {
				one.B = b
			}
		}
		pairs = append(pairs, one)
	}
	return pairs, nil
}

func (r *run) say(format string, args ...any) {
	_, _ = fmt.Fprintf(r.progress, format+"\n", args...)
}

// pause waits, or returns early when the run is interrupted.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
