package harness

import (
	"cmp"
	"context"
	"slices"
	"testing"
	"time"
)

// endKey is written when a load is over, to see that everybody hears of it.
const endKey = loadPrefix + "end"

// Finish ends the load and checks all that its clients and watchers have heard: against each other, against real time
// and against the history that each running member holds.
func (l *Load) Finish(t testing.TB) {
	t.Helper()
	l.endClients()
	last := l.mark(t)
	for _, w := range l.watchers {
		if w.member != nil && (w.member.removed || w.member.proc.Exited()) {
			continue // it has heard a part, which is checked too
		}
		Eventually(t, SettleLimit, w.name(), func() error { return w.reached(last) })
	}
	l.endWatchers()
	ops := l.History.Ops()
	log := l.log()
	report := func(what string, list []string) {
		for _, text := range list {
			t.Errorf("%s: %s", what, text)
		}
	}
	report("revisions and real time", CheckRevisions(ops))
	report("the history of the store", CheckLog(log, l.first))
	report("clients and the history of the store", CheckAgainst(log, ops))
	for _, w := range l.watchers {
		events, until, wrong := w.snapshot()
		report(w.name(), wrong)
		report(w.name(), CheckWatch(w.could(log), events, w.wants, l.first, until))
	}
	for _, m := range l.cluster.voters() {
		l.checkMember(t, m, log, last)
	}
	if err := Linearizable(ops, ""); err != nil {
		t.Error(err)
	}
	known := 0
	for _, op := range ops {
		if !op.Answer.Unknown {
			known++
		}
	}
	t.Logf("%d calls, %d answered, revisions %d to %d", len(ops), known, l.first, last)
}

// mark writes the end key and returns its revision.
func (l *Load) mark(t testing.TB) int64 {
	t.Helper()
	client := l.cluster.Client(t, l.cluster.voters()...)
	var last int64
	Eventually(t, SettleLimit, "mark the end of the load", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), loadCall)
		defer cancel()
		resp, err := client.Put(ctx, endKey, time.Now().Format(time.RFC3339Nano))
		if err == nil {
			last = resp.Header.Revision
		}
		return err
	})
	return last
}

// log is the whole history as all watchers together have heard it.
func (l *Load) log() []Event {
	type place struct {
		revision int64
		key      string
	}
	seen := map[place]bool{}
	var log []Event
	for _, w := range l.watchers {
		events, _, _ := w.snapshot()
		for _, e := range events {
			// Where two differ, the first one is the history and the other is found to be wrong.
			if p := (place{e.Revision, e.Key}); !seen[p] {
				seen[p] = true
				log = append(log, e)
			}
		}
	}
	slices.SortStableFunc(log, func(a, b Event) int { return cmp.Compare(a.Revision, b.Revision) })
	return log
}

// checkMember reads the history that one member holds and compares it with the one that was followed live.
func (l *Load) checkMember(t testing.TB, m *Member, log []Event, last int64) {
	t.Helper()
	from := l.first
	client := l.cluster.Client(t, m)
	w := NewWatcher(client, "", from)
	w.cut = l.cut
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.run(stop)
	}()
	err := Poll(SettleLimit, func() error { return w.reached(last) })
	close(stop)
	<-done
	events, _, wrong := w.snapshot()
	if err != nil {
		t.Errorf("read the history from %s: %v; %q", m.Name, err, wrong)
		return
	}
	events = slices.DeleteFunc(events, func(e Event) bool { return e.Revision > last })
	for _, text := range append(wrong, CheckWatch(w.could(log), events, w.wants, from, last)...) {
		t.Errorf("the history that %s holds: %s", m.Name, text)
	}
}
