package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// pace is a load with a fixed rate of calls, spread over connections that each have one call under way. A call
// that cannot begin when it is due, because the one before it still waits, counts its latency from when it was due;
// so a server that stands still for a while is charged for everybody it kept waiting, and not for one call.
type pace struct {
	path string
	// perSecond is the rate of all connections together; zero means that each call begins when the one before it
	// has ended.
	perSecond int
	conns     int
	// source makes a function for each connection that appends the next request to dst, or reports false when
	// there is none left.
	source func() func(dst []byte) ([]byte, bool)
	// warm is how long calls are made before they are counted, so that fresh connections have gone through their first.
	warm time.Duration
	// minReply is the least size in bytes of a right reply, as in a load.
	minReply int
	// bears says that a call which the server answers with an error is counted, with the time that it took, and does not
	// end the pace.
	bears bool
	// anonymous calls do without the server's token.
	anonymous bool
}

// pacing is a pace under way.
type pacing struct {
	conns []*connection
	done  chan struct{} // closed to end it
	group sync.WaitGroup
	// tallies and failures have one place for each connection and are read when all have ended.
	tallies  []tally
	failures []error
	once     sync.Once
	counted  time.Time // calls that are due before are not counted
}

// begin starts a pace whose connections are dealt out to the servers. It goes on until stop.
func (p pace) begin(servers ...*server) (*pacing, error) {
	conns, err := connectOver(servers, p.conns)
	if err != nil {
		return nil, err
	}
	run := &pacing{
		conns: conns, done: make(chan struct{}), tallies: make([]tally, p.conns), failures: make([]error, p.conns),
	}
	var gap time.Duration // between two calls of all connections
	if p.perSecond > 0 {
		gap = time.Second / time.Duration(p.perSecond)
	}
	began := time.Now()
	run.counted = began.Add(p.warm)
	for i, c := range conns {
		if p.anonymous {
			c.token = ""
		}
		run.group.Go(func() {
			first := began.Add(time.Duration(i) * gap)
			run.failures[i] = run.drive(c, p, first, gap*time.Duration(p.conns), &run.tallies[i])
		})
	}
	return run, nil
}

// drive makes the calls of one connection.
func (run *pacing) drive(c *connection, p pace, due time.Time, step time.Duration, done *tally) error {
	next := p.source()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var request []byte
	for ; ; due = due.Add(step) {
		sent, late := due, time.Since(due) > 0
		timer.Reset(time.Until(due))
		select {
		case <-run.done:
			return nil
		case <-timer.C:
		}
		if !late || step == 0 {
			sent = time.Now()
		}
		var more bool
		if request, more = next(request[:0]); !more {
			return nil
		}
		c.setDeadline(time.Now().Add(drainLimit))
		reply, err := c.call(p.path, request)
		_, refused := errors.AsType[*refusal](err)
		refused = refused && p.bears
		if err != nil && !refused {
			return fmt.Errorf("%s: %w", p.path, err)
		}
		if !refused && len(reply) < p.minReply {
			return fmt.Errorf("%s: a reply of %d bytes is too short to be right", p.path, len(reply))
		}
		if sent.Before(run.counted) {
			continue
		}
		if refused {
			done.refused++
		}
		done.calls++
		done.bytes += len(reply)
		done.latency.record(time.Since(sent))
	}
}

// wait waits until there are no more calls to make, and stops.
func (run *pacing) wait() (*tally, error) {
	run.group.Wait()
	return run.stop()
}

// stop ends the pace, waits for the calls under way and returns what was done. Stopping again does nothing.
func (run *pacing) stop() (*tally, error) {
	run.once.Do(func() { close(run.done) })
	run.group.Wait()
	closeAll(run.conns)
	total := &tally{}
	for i := range run.tallies {
		if run.failures[i] != nil {
			return nil, run.failures[i]
		}
		total.merge(&run.tallies[i])
	}
	return total, nil
}

// The puts that go on beside what is measured: far below what either server can do, so that waiting is the fault
// of what goes on beside them.
const (
	besidePutsPerSecond = 1000
	besideConns         = 16
)

// putsBeside is the pace of those puts.
func putsBeside() pace {
	return pace{
		path: methodPut, perSecond: besidePutsPerSecond, conns: besideConns, source: randomPuts,
	}
}

// randomPuts is a source of puts whose keys do not repeat.
func randomPuts() func([]byte) ([]byte, bool) { return putSource(false, nil) }

// besidePuts puts at the fixed pace while meanwhile runs, and until it has ended. With settles the background
// work that follows belongs to the cost.
func besidePuts(s *server, settles bool, meanwhile func() error) (measurement, error) {
	return besidePace(putsBeside(), []*server{s}, []*server{s}, settles, meanwhile)
}

// besidePace keeps a pace of puts at some servers while meanwhile runs, and until it has ended; what both cost is
// counted at all servers that belong together.
func besidePace(p pace, at, costs []*server, settles bool, meanwhile func() error) (measurement, error) {
	m, err := startMeter(costs...)
	if err != nil {
		return measurement{}, err
	}
	puts, err := p.begin(at...)
	if err != nil {
		return measurement{}, err
	}
	failed := meanwhile()
	done := measurement{loadTime: time.Since(m.began)}
	if done.tally, err = puts.stop(); err != nil {
		return measurement{}, fmt.Errorf("put meanwhile: %w", err)
	}
	if failed != nil {
		return measurement{}, failed
	}
	if settles {
		if err := settle(costs); err != nil {
			return measurement{}, err
		}
	}
	done.used, err = m.read()
	return done, err
}

// putsAlone puts at the fixed pace for a while and nothing else.
func putsAlone(ctx context.Context, s *server, settles bool, span time.Duration) (measurement, error) {
	return besidePuts(s, settles, func() error {
		pause(ctx, span)
		return nil
	})
}

// beyondPuts is the processor time that a measurement used beyond what its puts cost when they were alone.
func beyondPuts(with, alone measurement) time.Duration {
	share := float64(with.tally.calls) / float64(max(alone.tally.calls, 1))
	return with.used.serverCPU - time.Duration(share*float64(alone.used.serverCPU))
}

// The metrics of puts beside something.
var (
	putP99      = metric{name: "put p99 meanwhile", unit: "µs"}
	putP99Alone = metric{name: "put p99 before", unit: "µs", bare: true}
	putP99More  = metric{name: "put p99, more", unit: "%", own: true}
	putRate     = metric{name: "puts", unit: "/s", bare: true}
)

// besideFigures compares puts beside something with puts alone.
func besideFigures(with, alone measurement) figures {
	during, before := with.tally.latency.percentile(0.99), alone.tally.latency.percentile(0.99)
	return figures{
		putP99.name:      micros(during),
		putP99Alone.name: micros(before),
		putP99More.name:  more(micros(during), micros(before)),
		putRate.name:     float64(with.tally.calls) / with.loadTime.Seconds(),
		otherShare:       with.used.other,
		stolenShare:      with.used.stolen,
	}
}

// more says by how many percent one figure exceeds another.
func more(figure, base float64) float64 {
	if base == 0 {
		return 0
	}
	return 100 * (figure/base - 1)
}
