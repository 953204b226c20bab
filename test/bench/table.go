package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// report is a finished run with everything needed to print it.
type report struct {
	Command string    `json:"command"`
	Date    time.Time `json:"date"`
	Host    host      `json:"host"`
	A       string    `json:"a"`
	B       string    `json:"b"`
	AVer    string    `json:"a_version"`
	BVer    string    `json:"b_version"`
	Results []result  `json:"results"`

	keys   string // number of keys of the start-up rows, in words
	aimed  bool   // whether the aims apply: they compare keelson with etcd
	chosen func(id string) bool
}

// table renders the report in Markdown that is also readable as plain text.
func (r report) table() string {
	lines := [][]string{{"Row", "Measure", r.A, r.B, "ratio", "least–most", "aim"}}
	byName := map[string]group{}
	for _, g := range groups() {
		byName[g.name] = g
	}
	for _, res := range r.Results {
		for _, row := range byName[res.Group].rows {
			if r.chosen(row.id) {
				lines = append(lines, r.rowLines(res.Pairs, row)...)
			}
		}
	}
	return align(lines) + "\n" + r.notes()
}

func (r report) rowLines(pairs []pair, row row) [][]string {
	title := row.title
	if strings.Contains(title, "%s") {
		title = fmt.Sprintf(title, r.keys)
	}
	var lines [][]string
	for _, m := range row.metrics {
		s, found := summarize(pairs, row.id, m)
		if !found {
			continue
		}
		line := []string{title, m.name, quantity(s.A, m.unit), quantity(s.B, m.unit), "", "", ""}
		title = ""
		if !m.bare && s.Pairs > 0 {
			line[4] = fmt.Sprintf("%s×", number(s.Ratio))
			if s.Pairs > 1 {
				line[5] = number(s.Low) + "–" + number(s.High)
			}
			line[6] = r.verdict(row.aims[m.name], s.Ratio)
		}
		lines = append(lines, line)
	}
	return lines
}

// verdict compares a ratio with its aim. A missed aim is said as plainly as a met one.
func (r report) verdict(aim, ratio float64) string {
	switch {
	case aim == 0 || !r.aimed:
		return ""
	case ratio >= aim:
		return fmt.Sprintf("≥ %g: met", aim)
	default:
		return fmt.Sprintf("≥ %g: **missed**", aim)
	}
}

// notes say what the table's reader has to know.
func (r report) notes() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, "- "+format+"\n", args...) }
	line("Made by `%s` in the directory `test`, %s.", r.Command, r.Date.Format("2006-01-02"))
	line("Versions: %s; %s.", r.AVer, r.BVer)
	line("%s. Server, client and disk share this machine; plain text over loopback; one member.", r.Host)
	line("Each figure is the median over blocks. The ratio says how many times better %s is (cost: %s ÷ %s; "+
		"throughput: %s ÷ %s): the median over pairs of blocks run one after the other in ABBA order, beside the "+
		"least and the greatest.", r.A, r.B, r.A, r.A, r.B)
	line("Server CPU is user and system time of the whole process per operation (per event for watch) and is the " +
		"figure to trust first: the client shares the processors, which caps every throughput ratio.")
	line("Keys have %d bytes, values %d incompressible ones. The load is a closed loop. Costs and bytes of puts with "+
		"many in flight include the background work until the server has stopped writing.", keySize, valueSize)
	line("Disk writes are those of the whole device, flushed before and after: only a quiet machine gives them. " +
		"write_bytes is the kernel's count for the process alone; it takes a run of cached pages for written when one " +
		"byte of it changes, which overstates a log that is overwritten in place.")
	line("The stores of the start-up and memory rows got %s single puts after loading and again before each kill -9. "+
		"Their files are in the page cache when a server starts.", number(singlePuts))
	if other, stolen := r.disturbance(); len(other) > 0 {
		line("Other processes used %.0f %% of the machine at the median and %.0f %% at most during the blocks; "+
			"stolen time was %.1f %% at most.", 100*median(other), 100*slices.Max(other), 100*slices.Max(stolen))
	}
	return b.String()
}

// disturbance collects how much of the machine went elsewhere in each measured row of each block.
func (r report) disturbance() (other, stolen []float64) {
	for _, res := range r.Results {
		for _, p := range res.Pairs {
			for _, b := range []block{p.A, p.B} {
				for _, f := range b {
					if share, found := f[otherShare]; found {
						other = append(other, share)
						stolen = append(stolen, f[stolenShare])
					}
				}
			}
		}
	}
	return other, stolen
}

// quantity writes a number with its unit.
func quantity(v float64, unit string) string {
	if strings.HasPrefix(unit, "/") {
		return number(v) + unit
	}
	return number(v) + " " + unit
}

// number writes three significant digits, and groups the digits of large numbers.
func number(v float64) string {
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return fmt.Sprintf("%.0f", v)
	}
	digits := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	text := fmt.Sprintf("%.*f", digits, v)
	if digits > 0 {
		return text
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// align pads the cells of a table so that its columns line up: words to the left, figures to the right.
func align(lines [][]string) string {
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for n, line := range lines {
		for i, cell := range line {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i >= 2 && i <= 5 {
				b.WriteString("| " + pad + cell + " ")
			} else {
				b.WriteString("| " + cell + pad + " ")
			}
		}
		b.WriteString("|\n")
		if n > 0 {
			continue
		}
		for i, width := range widths {
			rule := strings.Repeat("-", width+2)
			if i >= 2 && i <= 5 {
				rule = rule[1:] + ":"
			}
			b.WriteString("|" + rule)
		}
		b.WriteString("|\n")
	}
	return b.String()
}
