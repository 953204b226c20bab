package main

import (
	"math"
	"testing"
)

func TestMedianOfOddEvenAndNoValues(t *testing.T) {
	values := []float64{9, 1, 5}
	if got := median(values); got != 5 {
		t.Errorf("median of three is %v", got)
	}
	if values[0] != 9 {
		t.Error("median changed its argument")
	}
	if got := median([]float64{4, 1, 2, 100}); got != 3 {
		t.Errorf("median of four is %v", got)
	}
	if got := median(nil); got != 0 {
		t.Errorf("median of none is %v", got)
	}
}

func TestRatiosAreTakenWithinPairsAndSayHowMuchBetterAIs(t *testing.T) {
	// The machine is ten times slower in the second pair. The ratio of medians would be off; that of pairs
	// is not.
	pairs := []pair{
		{A: block{"r": {serverCPU.name: 1, rate.name: 300}}, B: block{"r": {serverCPU.name: 2, rate.name: 100}}},
		{A: block{"r": {serverCPU.name: 10, rate.name: 30}}, B: block{"r": {serverCPU.name: 20, rate.name: 10}}},
		{A: block{"r": {serverCPU.name: 1, rate.name: 300}}, B: block{"r": {serverCPU.name: 4, rate.name: 100}}},
	}
	cost, ok := summarize(pairs, "r", serverCPU)
	if !ok || cost.Ratio != 2 || cost.Low != 2 || cost.High != 4 || cost.A != 1 || cost.B != 4 || cost.Pairs != 3 {
		t.Errorf("cost: %+v", cost)
	}
	speed, ok := summarize(pairs, "r", rate)
	if !ok || math.Abs(speed.Ratio-3) > 1e-9 || speed.A != 300 {
		t.Errorf("speed: %+v", speed)
	}
}

func TestAMetricMeasuredInSomeBlocksOnlyCountsWhereBothHaveIt(t *testing.T) {
	pairs := []pair{
		{A: block{"r": {"m": 2}}, B: block{"r": {"m": 6}}},
		{A: block{}, B: block{"r": {"m": 6}}},
	}
	s, ok := summarize(pairs, "r", metric{name: "m"})
	if !ok || s.Ratio != 3 || s.Pairs != 1 {
		t.Errorf("got %+v", s)
	}
	if _, ok := summarize(pairs, "absent", metric{name: "m"}); ok {
		t.Error("a row nobody measured has a summary")
	}
}
