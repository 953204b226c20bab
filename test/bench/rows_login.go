package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// The logins of users that have logged in before: so many a second, by so many users, over so many connections.
const (
	loginsPerSecond = 1000
	loginUsers      = 16
	loginConns      = 16
)

// coldUsers is the number of users that log in for the first time in a block, and coldInFlight how many of them do
// at once. Every such login costs a bcrypt of the usual cost, some fifty milliseconds of a core.
const (
	coldUsers    = 96
	coldInFlight = 4
)

var (
	loginRate = metric{name: "logins", unit: "/s", moreIsBetter: true}
	loginCPU  = metric{name: "server CPU per login", unit: "µs"}
	loginP50  = metric{name: "login p50", unit: "µs"}
)

func loginGroup() group {
	metrics := []metric{loginRate, loginCPU, loginP50, putP99, putP99Alone, putP99More, putRate}
	return group{
		name: "login", sheet: sheetUpkeep,
		rows: []row{
			{id: "login", title: "1,000 logins a second of 16 users, beside 1,000 puts a second", metrics: metrics,
				bounds: map[string]bound{putP99More.name: {limit: 20}, loginRate.name: {limit: 0.98 * loginsPerSecond, least: true}}},
			{id: "logincold", title: "first logins, 4 at a time, beside 1,000 puts a second", metrics: metrics},
		},
		prepare: prepareLogins,
		measure: measureLogins,
	}
}

// coldNames returns the users that log in once per block.
func (r *run) coldNames() []string {
	count := coldUsers
	if r.quick {
		count /= 4
	}
	names := make([]string, count)
	for i := range names {
		names[i] = fmt.Sprintf("cold%03d", i)
	}
	return names
}

func loginNames() []string {
	names := make([]string, loginUsers)
	for i := range names {
		names[i] = fmt.Sprintf("known%02d", i)
	}
	return names
}

// prepareLogins makes the users. Blocks begin with a fresh process, which remembers no password.
func prepareLogins(ctx context.Context, r *run, p product) (block, error) {
	s, _, err := startReady(ctx, p, r.dataDir(p, "login"))
	if err != nil {
		return nil, err
	}
	defer s.kill()
	known, err := settlePeople(s)
	if err != nil {
		return nil, fmt.Errorf("make users: %w", err)
	}
	if err := known.add(append(loginNames(), r.coldNames()...)...); err != nil {
		return nil, fmt.Errorf("make users: %w", err)
	}
	return nil, s.stop()
}

// measureLogins measures puts alone, beside known users' logins and beside first logins, and all three again in the
// opposite order. Users are switched off before the process ends, because a start is awaited by reading as nobody.
func measureLogins(ctx context.Context, r *run, p product) (block, error) {
	s, _, err := startReady(ctx, p, r.dataDir(p, "login"))
	if err != nil {
		return nil, err
	}
	defer s.kill()
	known := people{server: s}
	if err := known.on(); err != nil {
		return nil, fmt.Errorf("switch users on: %w", err)
	}
	for _, name := range loginNames() {
		if err := known.become(name); err != nil {
			return nil, fmt.Errorf("warm up: %w", err)
		}
	}
	if err := known.become(appUser); err != nil {
		return nil, fmt.Errorf("warm up: %w", err)
	}
	if _, err := putsAlone(ctx, s, false, r.warmTime()); err != nil {
		return nil, fmt.Errorf("warm up: %w", err)
	}
	found, err := loginFigures(ctx, r, s)
	if err != nil {
		return nil, err
	}
	if err := known.off(); err != nil {
		return nil, fmt.Errorf("switch users off: %w", err)
	}
	return found, s.stop()
}

func loginFigures(ctx context.Context, r *run, s *server) (block, error) {
	var alone measurement
	warm, cold := beside{}, beside{}
	again := loginsOf(loginNames(), loginsPerSecond, loginConns, true)
	names := r.coldNames()
	firsts := []pace{
		loginsOf(names[:len(names)/2], 0, coldInFlight, false),
		loginsOf(names[len(names)/2:], 0, coldInFlight, false),
	}
	for _, half := range []int{0, 1} {
		steps := []func() error{
			func() error {
				m, err := putsAlone(ctx, s, false, r.loadTime())
				if err == nil {
					alone.merge(m)
				}
				return err
			},
			func() error {
				if !r.chooses("login") {
					return nil
				}
				return warm.run(s, again, func(run *pacing) (*tally, error) {
					pause(ctx, r.loadTime())
					return run.stop()
				})
			},
			func() error {
				if !r.chooses("logincold") {
					return nil
				}
				return cold.run(s, firsts[half], (*pacing).wait)
			},
		}
		for i := range steps {
			step := i
			if half == 1 {
				step = len(steps) - 1 - i
			}
			if err := steps[step](); err != nil {
				return nil, err
			}
		}
	}
	found := block{}
	if warm.logins.calls > 0 {
		found["login"] = warm.figures(alone)
	}
	if cold.logins.calls > 0 {
		found["logincold"] = cold.figures(alone)
	}
	return found, nil
}

// beside is what logins and the puts beside them did.
type beside struct {
	puts   measurement
	logins tally
	span   time.Duration
}

// run makes logins beside puts; end ends the logins or waits for their end.
func (b *beside) run(s *server, logins pace, end func(*pacing) (*tally, error)) error {
	m, err := besidePuts(s, false, func() error {
		began := time.Now()
		run, err := logins.begin(s)
		if err != nil {
			return err
		}
		done, err := end(run)
		if err != nil {
			return fmt.Errorf("log in: %w", err)
		}
		b.span += time.Since(began)
		b.logins.merge(done)
		return nil
	})
	if err != nil {
		return err
	}
	b.puts.merge(m)
	return nil
}

func (b *beside) figures(alone measurement) figures {
	f := besideFigures(b.puts, alone)
	f[loginRate.name] = float64(b.logins.calls) / b.span.Seconds()
	f[loginCPU.name] = micros(beyondPuts(b.puts, alone)) / float64(b.logins.calls)
	f[loginP50.name] = micros(b.logins.latency.percentile(0.5))
	return f
}

// loginsOf makes a pace of logins of the named users in turn, without end or each user once. No rate means that
// each connection logs in again as soon as it may.
func loginsOf(names []string, perSecond, conns int, endless bool) pace {
	var taken atomic.Int64
	return pace{
		path: methodLogin, perSecond: perSecond, conns: conns, anonymous: true,
		source: func() func([]byte) ([]byte, bool) {
			return func(dst []byte) ([]byte, bool) {
				n := int(taken.Add(1)) - 1
				if !endless && n >= len(names) {
					return nil, false
				}
				return appendLogin(dst, names[n%len(names)]), true
			}
		},
	}
}
