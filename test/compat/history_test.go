package compat

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keelson-db/keelson/test/harness"
)

var (
	histories = flag.Int("histories", 4, "random histories to play to both servers")
	steps     = flag.Int("steps", 120, "steps of a random history")
	firstSeed = flag.Uint64("seed", 0, "seed of the first random history; 0 draws one")
)

const (
	// shrinkLimit bounds the search for a smaller history that still differs.
	shrinkLimit = 90 * time.Second
	// atOnce is how many histories, each with two servers of its own, are played side by side.
	atOnce = 2
)

// TestRandomHistoriesAreAnsweredAlike plays random transactions, ranges, deletes, leases, compactions and watches, half
// of the time with users on, to Keelson and to a real etcd. The first answer that differs fails the test, with the
// smallest history found that still brings a difference, written as a story.
func TestRandomHistoriesAreAnsweredAlike(t *testing.T) {
	if harness.Target() != harness.Keelson {
		t.Skip("this test starts both servers itself")
	}
	t.Parallel()
	seed := *firstSeed
	if seed == 0 {
		seed = rand.Uint64N(1 << 32)
	}
	room := make(chan struct{}, atOnce)
	for i := range *histories {
		t.Run(fmt.Sprint(seed+uint64(i)), func(t *testing.T) {
			t.Parallel()
			room <- struct{}{}
			defer func() { <-room }()
			seed := seed + uint64(i)
			h := newHistory(rand.New(rand.NewPCG(seed, 7)), seed%2 == 1, *steps)
			d := playBoth(t, h)
			if d == nil {
				return
			}
			t.Logf("step %d differs; shrinking\n  etcd  %s\n  here  %s", d.step, d.etcd, d.keelson)
			h, d = shrink(t, h, d)
			t.Errorf("again: go test ./compat -run RandomHistories -seed %d -histories 1 -steps %d\n\n%s", seed, *steps, asStory(h, d))
		})
	}
}

// divergence is the first step that the servers answer differently.
type divergence struct {
	step          int // len(steps) is the end: what the watches saw
	etcd, keelson string
	answers       []string // of etcd, up to the step
}

// playBoth plays a history to two fresh servers and returns the first difference, or nil.
func playBoth(t *testing.T, h history) *divergence {
	t.Helper()
	bins, err := harness.Build()
	if err != nil {
		t.Fatal(err)
	}
	var pair [2]*player
	for i, binary := range []string{bins.Etcd, bins.Server} {
		pair[i] = newPlayer(t, binary)
		defer pair[i].close()
	}
	for _, p := range pair {
		p.ready(t)
	}
	d := &divergence{}
	for d.step = 0; d.step <= len(h.steps); d.step++ {
		var got [2]string
		var wg sync.WaitGroup
		for i, p := range pair {
			wg.Add(1)
			go func() {
				defer wg.Done()
				if d.step == len(h.steps) {
					got[i] = p.seen(t)
				} else {
					got[i] = p.play(t, h.steps[d.step])
				}
			}()
		}
		wg.Wait()
		d.etcd, d.keelson = got[0], got[1]
		// There are requests that etcd does not survive, such as a put that keeps the value of a key which the same
		// transaction has deleted. What Keelson answers to them is nobody's business here, as long as it lives.
		if strings.HasPrefix(d.etcd, "Unavailable: ") && ended(pair[0].node.Proc()) {
			if pair[1].node.Proc().Exited() {
				t.Error("keelson ended too")
			}
			return nil
		}
		if d.etcd != d.keelson {
			return d
		}
		d.answers = append(d.answers, d.etcd)
	}
	return nil
}

// ended says whether a process is at its end.
func ended(p *harness.Proc) bool {
	_, err := p.Wait(harness.CallLimit)
	return err == nil
}

// shrink leaves out steps, then parts of transactions, as long as a difference remains.
func shrink(t *testing.T, h history, d *divergence) (history, *divergence) {
	t.Helper()
	deadline := time.Now().Add(shrinkLimit)
	h.steps = h.steps[:min(len(h.steps), d.step+1)]
	try := func(steps []step) bool {
		if time.Now().After(deadline) {
			return false
		}
		smaller := history{steps: steps}
		found := playBoth(t, smaller)
		if found == nil {
			return false
		}
		smaller.steps = steps[:min(len(steps), found.step+1)]
		h, d = smaller, found
		return true
	}
	for size := max(1, len(h.steps)/2); ; size /= 2 {
		for from := len(h.steps) - size; from >= 0; from -= size {
			if from+size > len(h.steps) {
				continue
			}
			try(slices.Concat(h.steps[:from], h.steps[from+size:]))
		}
		if size == 1 {
			break
		}
	}
	for i := 0; i < len(h.steps); i++ {
		for _, simpler := range h.steps[i].simpler() {
			steps := slices.Clone(h.steps)
			steps[i] = simpler
			if try(steps) {
				i--
				break
			}
		}
	}
	return h, d
}

// asStory writes a history in the syntax of the stories, with the answers of etcd.
func asStory(h history, d *divergence) string {
	var out strings.Builder
	fmt.Fprintf(&out, "  etcd  %s\n  here  %s\n\n", d.etcd, d.keelson)
	for i := 0; i < len(h.steps); {
		first := h.steps[i]
		if first.verb == "login" || first.verb == "watch" {
			out.WriteString(first.story() + "\n----\n\n")
			i++
			continue
		}
		head := "do"
		if first.as != "" {
			head += " token=" + first.as
		}
		var asked, answers []string
		for ; i < len(h.steps) && h.steps[i].as == first.as && h.steps[i].verb != "login" && h.steps[i].verb != "watch"; i++ {
			asked = append(asked, h.steps[i].verb+" "+h.steps[i].text())
			if i < len(d.answers) {
				answers = append(answers, d.answers[i])
			}
		}
		if len(answers) < len(asked) {
			answers = append(answers, d.etcd)
		}
		fmt.Fprintf(&out, "%s\n%s\n----\n%s\n\n", head, strings.Join(asked, "\n"), strings.Join(answers, "\n"))
	}
	return out.String()
}
