package main

import (
	"math"
	"testing"
	"time"
)

func TestEveryDurationFallsIntoItsBucketWithinTheStatedError(t *testing.T) {
	last := -1
	for d := time.Duration(0); d < time.Hour; d = d*21/20 + 1 {
		bucket := bucketOf(d)
		if bucket < last || bucket >= bucketCount {
			t.Fatalf("bucket of %v is %d after %d", d, bucket, last)
		}
		last = bucket
		if off := math.Abs(float64(bucketMiddle(bucket) - d)); off > float64(d)/subBuckets {
			t.Errorf("bucket of %v stands for %v", d, bucketMiddle(bucket))
		}
	}
	if top := bucketOf(math.MaxInt64); top != bucketCount-1 {
		t.Errorf("the longest duration falls into bucket %d of %d", top, bucketCount)
	}
	if bucketOf(-time.Second) != 0 {
		t.Error("a negative duration is not counted as zero")
	}
}

func TestPercentilesOfMergedHistograms(t *testing.T) {
	odd, even := &histogram{}, &histogram{}
	for i := 1; i <= 1000; i += 2 {
		odd.record(time.Duration(i) * time.Microsecond)
		even.record(time.Duration(i+1) * time.Microsecond)
	}
	odd.merge(even)
	for _, c := range []struct {
		share float64
		want  time.Duration
	}{
		{0, time.Microsecond},
		{0.5, 500 * time.Microsecond},
		{0.99, 990 * time.Microsecond},
		{1, time.Millisecond},
	} {
		got := odd.percentile(c.share)
		if diff := math.Abs(float64(got - c.want)); diff > float64(c.want)/30 {
			t.Errorf("percentile %v is %v, want about %v", c.share, got, c.want)
		}
	}
	if odd.max != time.Millisecond || odd.total != 1000 {
		t.Errorf("max %v of %d", odd.max, odd.total)
	}
	if got := (&histogram{}).percentile(0.5); got != 0 {
		t.Errorf("an empty histogram has a median of %v", got)
	}
}
