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
	if unit == "" || strings.HasPrefix(unit, "/") {
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
	sign := ""
	if v < 0 {
		sign, text = text[:1], text[1:]
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return sign + text
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
