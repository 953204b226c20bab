package main

import (
	"math/bits"
	"time"
)

// subBuckets is the number of equal steps each power of two of nanoseconds is cut into. It bounds the error
// of a reported percentile to 1/64, about 1.6 %.
const subBuckets = 64

// bucketCount covers every duration an int64 of nanoseconds can hold.
const bucketCount = (64 - 6) * subBuckets

// histogram counts latencies in log-linear buckets. Recording costs an index computation and an increment,
// so that it does not show up in the client's own CPU figures. It is not safe for concurrent use: each
// connection owns one and they are merged afterwards.
type histogram struct {
	counts [bucketCount]uint64
	total  uint64
	max    time.Duration
}

// record counts one latency. A negative one, which a stepped clock could give, counts as zero.
func (h *histogram) record(d time.Duration) {
	h.counts[bucketOf(d)]++
	h.total++
	h.max = max(h.max, d)
}

// merge adds the counts of another histogram to this one.
func (h *histogram) merge(other *histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
	h.max = max(h.max, other.max)
}

// percentile returns a duration such that the given share (0 to 1) of all recorded latencies is not above
// the bucket it stands for. An empty histogram answers zero.
func (h *histogram) percentile(share float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	want := min(uint64(share*float64(h.total)), h.total-1)
	var seen uint64
	for i, n := range h.counts {
		seen += n
		if seen > want {
			return min(bucketMiddle(i), h.max)
		}
	}
	return h.max
}

// bucketOf maps a duration to its bucket. Durations below subBuckets nanoseconds have a bucket each.
func bucketOf(d time.Duration) int {
	if d < subBuckets {
		return int(max(d, 0))
	}
	shift := bits.Len64(uint64(d)) - 7
	return (shift+1)*subBuckets + int(uint64(d)>>shift) - subBuckets
}

// bucketMiddle is the duration in the middle of a bucket.
func bucketMiddle(i int) time.Duration {
	if i < subBuckets {
		return time.Duration(i)
	}
	shift := i/subBuckets - 1
	low := uint64(i%subBuckets+subBuckets) << shift
	return time.Duration(low + (uint64(1)<<shift)/2)
}
