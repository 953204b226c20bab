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

	keys   string // number of keys of the start-up rows and of what else is large, in words
	aimed  bool   // whether the aims apply: they compare keelson with etcd
	chosen func(id string) bool
}

// table renders a sheet of the report in Markdown that is also readable as plain text. Without results it is empty.
func (r report) table(on sheet) string {
	lines := [][]string{{"Row", "Measure", r.A, r.B, "ratio", "least–most", "aim"}}
	byName := map[string]group{}
	for _, g := range groups() {
		byName[g.name] = g
	}
	r.Results = slices.DeleteFunc(slices.Clone(r.Results), func(res result) bool { return byName[res.Group].sheet != on })
	if len(r.Results) == 0 {
		return ""
	}
	for _, res := range r.Results {
		for _, row := range byName[res.Group].rows {
			if r.chosen(row.id) {
				lines = append(lines, r.rowLines(res.Pairs, row)...)
			}
		}
	}
	return align(lines) + "\n" + r.notes(on)
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
		if m.own {
			if len(pairs) > 1 {
				line[5] = number(s.LowA) + "–" + number(s.HighA) + " " + m.unit
			}
		} else if !m.bare && s.Pairs > 0 {
			line[4] = fmt.Sprintf("%s×", number(s.Ratio))
			if s.Pairs > 1 {
				line[5] = number(s.Low) + "–" + number(s.High)
			}
			line[6] = r.verdict(row.aims[m.name], s.Ratio)
		}
		if b, found := row.bounds[m.name]; found && r.aimed {
			line[6] = b.verdict(s.A, m.unit)
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

// verdict compares a figure with its bound.
func (b bound) verdict(value float64, unit string) string {
	sign, met := "≤", value <= b.limit
	if b.least {
		sign, met = "≥", value >= b.limit
	}
	word := "**missed**"
	if met {
		word = "met"
	}
	return fmt.Sprintf("%s %s: %s", sign, quantity(b.limit, unit), word)
}

// notes say what the table's reader has to know.
func (r report) notes(on sheet) string {
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
	if on == sheetUpkeep {
		r.upkeepNotes(line)
	} else {
		r.dataNotes(line)
	}
	if other, stolen := r.disturbance(); len(other) > 0 {
		line("Other processes used %.0f %% of the machine at the median and %.0f %% at most during the blocks; "+
			"stolen time was %.1f %% at most.", 100*median(other), 100*slices.Max(other), 100*slices.Max(stolen))
	}
	return b.String()
}

// dataNotes belong to the rows about reading, writing and starting.
func (r report) dataNotes(line func(format string, args ...any)) {
	line("Keys have %d bytes, values %d incompressible ones. The load is a closed loop. Costs and bytes of puts with "+
		"many in flight include the background work until the server has stopped writing.", keySize, valueSize)
	line("Disk writes are those of the whole device, flushed before and after: only a quiet machine gives them. " +
		"write_bytes is the kernel's count for the process alone; it takes a run of cached pages for written when one " +
		"byte of it changes, which overstates a log that is overwritten in place.")
	line("The stores of the start-up and memory rows got %s single puts after loading and again before each kill -9. "+
		"Their files are in the page cache when a server starts.", number(singlePuts))
}

// upkeepNotes belong to the rows about users and about looking after a store.
func (r report) upkeepNotes(line func(format string, args ...any)) {
	line("Where no ratio stands, a product is compared with itself, and the column beside it shows the least and the "+
		"greatest figure of %s's blocks. Keys have %d bytes, values %d incompressible ones unless the row says otherwise.",
		r.A, keySize, valueSize)
	line("Users: one process runs the same closed loop with users off, on, on and off, and that again; what users cost is the "+
		"median over neighbours, which leaves out lumps of background work. The user has one role with %d ranges and "+
		"one key. A few percent of difference, either way, are within what two equal loads show.", len(appRights))
	line("Puts beside something come at a fixed rate of %s a second over %d connections. A put that could not be sent in "+
		"time, because the one before it waited, counts from when it was due. p99 on a machine whose processors are "+
		"all busy is mostly waiting for a processor, which the client needs too.", number(besidePutsPerSecond), besideConns)
	line("Logins: %s compares every password with bcrypt, which bounds its logins; it then makes as many as it "+
		"can. A first login is a user's first after the start of the process; the password has to go through bcrypt "+
		"(cost 10) at both. Logins come over %d connections, first ones over %d. Their cost is what the server used beyond its "+
		"cost of the puts alone.", r.B, loginConns, coldInFlight)
	line("The snapshot is read as fast as it comes, with the client on the same processors, from a store whose files may be "+
		"in the page cache. Memory is the peak (looked at every %v) over that at rest after the start; what the puts add to "+
		"it by themselves is shown beside. Server CPU leaves out what as many puts cost alone.", peakPoll)
	line("HashKV is asked %d times for the latest revision, with a put before each. Its processor time is counted by the "+
		"kernel in steps of %v.", hashCalls, clockTick)
	line("The compaction is a physical one: its reply says that the records are removed. Server CPU is what the server " +
		"used beyond its cost of the puts alone, until it had stopped writing; sizes are what it says of itself then.")
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
