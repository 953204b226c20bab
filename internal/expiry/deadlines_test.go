package expiry

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/keelson-db/keelson/internal/lease"
)

func TestDeadlinesComeInOrder(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	var d deadlines
	in := map[*entry]bool{}
	for range 20_000 {
		switch first := d.first(); {
		case dice.IntN(3) > 0 || first == nil:
			e := &entry{due: instant(dice.IntN(1000))}
			d.push(e)
			in[e] = true
		case dice.IntN(2) == 0:
			for e := range in { // any one
				d.remove(e)
				d.remove(e) // a second time changes nothing
				delete(in, e)
				break
			}
		default:
			first.due += instant(dice.IntN(1000))
			d.later(first)
		}
		if len(d) != len(in) {
			t.Fatalf("%d entries, want %d", len(d), len(in))
		}
	}
	for last := instant(-1); len(d) > 0; {
		e := d.first()
		if e.due < last {
			t.Fatalf("%d comes after %d", e.due, last)
		}
		last = e.due
		d.remove(e)
		if e.place != -1 {
			t.Fatal("an entry outside has a place")
		}
	}
}

func TestInstantsDoNotOverflow(t *testing.T) {
	year := instant(365 * 24 * time.Hour)
	for _, c := range []struct {
		now     instant
		seconds int64
		want    instant
	}{
		{0, 5, instant(5 * time.Second)},
		{year, lease.MaxTTL, year + instant(lease.MaxTTL*time.Second)},
		{100 * year, lease.MaxTTL, never},
		{never, 1, never},
		{0, 1 << 62, never},
	} {
		if got := c.now.plusSeconds(c.seconds); got != c.want {
			t.Errorf("%d and %d s: %d, want %d", c.now, c.seconds, got, c.want)
		}
	}
}

func TestRecordedSecondsAreRoundedUp(t *testing.T) {
	for left, want := range map[time.Duration]int64{
		-time.Second: 1, 0: 1, 1: 1, time.Second: 1, time.Second + 1: 2, 59*time.Second + 999*time.Millisecond: 60, time.Minute: 60,
	} {
		e := entry{deadline: instant(time.Hour + left)}
		if got := e.secondsToNote(instant(time.Hour)); got != want {
			t.Errorf("%v left: %d, want %d", left, got, want)
		}
	}
}

func BenchmarkRenew(b *testing.B) {
	w := &world{term: 1, leading: true, changed: make(chan struct{})}
	c := clockOf(b, w, 100_000)
	for i := 0; b.Loop(); i++ {
		if ttl, err := c.Renew(b.Context(), lease.ID(i%100_000+1)); ttl != 60 || err != nil {
			b.Fatal(ttl, err)
		}
	}
}
