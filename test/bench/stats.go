package main

import "slices"

// figures holds what one block measured for one row, by metric name. A metric that is missing was not
// measured in that block.
type figures map[string]float64

// block is one measurement of every row of a group against one product.
type block map[string]figures

// pair is two blocks that ran one directly after the other, so that both saw about the same machine.
type pair struct {
	A block `json:"a"`
	B block `json:"b"`
	// ABFirst tells whether A ran before B in this pair.
	ABFirst bool `json:"a_first"`
}

// summary condenses all pairs for one metric of one row.
type summary struct {
	A, B             float64
	Ratio, Low, High float64
	LowA, HighA      float64 // the least and the greatest of A's own figures
	Pairs            int
}

// summarize takes the median value of each side and the median, least and greatest of the per-pair ratios.
// The ratio says how many times better A is: B/A for a cost, A/B where more is better. Ratios are taken
// within a pair because the machine's mood changes from minute to minute and the two halves of a pair share
// it, which medians over separate runs would not.
func summarize(pairs []pair, row string, m metric) (summary, bool) {
	var as, bs, ratios []float64
	for _, p := range pairs {
		a, okA := p.A[row][m.name]
		b, okB := p.B[row][m.name]
		if okA {
			as = append(as, a)
		}
		if okB {
			bs = append(bs, b)
		}
		if !okA || !okB {
			continue
		}
		if m.moreIsBetter {
			a, b = b, a
		}
		if a > 0 {
			ratios = append(ratios, b/a)
		}
	}
	if len(as) == 0 || len(bs) == 0 {
		return summary{}, false
	}
	s := summary{A: median(as), B: median(bs), LowA: slices.Min(as), HighA: slices.Max(as), Pairs: len(ratios)}
	if len(ratios) > 0 {
		s.Ratio, s.Low, s.High = median(ratios), slices.Min(ratios), slices.Max(ratios)
	}
	return s, true
}

// median returns the middle value, or the mean of the two middle ones. It leaves its argument alone.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	mid := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[mid]
	}
	return (sorted[mid-1] + sorted[mid]) / 2
}
