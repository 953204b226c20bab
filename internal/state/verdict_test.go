package state

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/lease"
	"github.com/keelson-db/keelson/internal/mvcc"
)

// TestOnlyACommandsOwnErrorIsAVerdict keeps apart what every member says and what only this one met.
func TestOnlyACommandsOwnErrorIsAVerdict(t *testing.T) {
	for _, err := range []error{ErrKeyNotFound, mvcc.ErrCompacted, mvcc.ErrFutureRev, lease.ErrNotFound, lease.ErrExists} {
		if !isVerdict(err) || !isVerdict(fmt.Errorf("within: %w", err)) {
			t.Errorf("%v is no verdict", err)
		}
		// On a path that was found valid no verdict can come up, so one that does is a failure.
		if f := final(err); isVerdict(f) || isVerdict(fmt.Errorf("apply: %w", f)) {
			t.Errorf("%v, met while a transaction is carried out, is a verdict", err)
		}
	}
	for _, err := range []error{errors.New("the disk is broken"), command.ErrUnknownKind, final(errors.New("the disk is broken"))} {
		if isVerdict(err) {
			t.Errorf("%v is a verdict", err)
		}
	}
}

func TestAnUnknownCommandIsAFailure(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), mvcc.Options{})
	w.m.Begin()
	if r, err := w.m.Apply(42); !errors.Is(err, command.ErrUnknownKind) || r != (Result{}) {
		t.Fatalf("an unknown command gave %+v, %v", r, err)
	}
}

// TestNothingIsVisibleBeforeTheCommit looks at everything that readers have while a group is applied. The
// tables of leases and members show their changes at once; who waits for changes of leases is woken later.
func TestNothingIsVisibleBeforeTheCommit(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), mvcc.Options{})
	w.one(newScript(t, "put a 1").op())
	w.must(w.engine.Flush())
	rows, stats, applied := w.rows(), w.m.KV().Stats(), w.m.Applied()
	changed, leases := w.m.KV().Changed(), w.m.Leases().Changed()
	early := w.m.KV().View()
	defer early.Close()
	quiet := func(step string) {
		t.Helper()
		for name, signal := range map[string]<-chan struct{}{"keys": changed, "leases": leases} {
			select {
			case <-signal:
				t.Fatalf("%s: who waits for %s was woken", step, name)
			default:
			}
		}
		late := w.m.KV().View()
		defer late.Close()
		_, found := late.Get([]byte("b"))
		if late.Rev() != early.Rev() || late.CompactRev() != early.CompactRev() || late.Keys() != 1 || found {
			t.Fatalf("%s: a view is at revision %d, compacted %d, with %d keys", step, late.Rev(), late.CompactRev(), late.Keys())
		}
		if kv := w.value("a"); string(kv.Value) != "1" {
			t.Fatalf("%s: a is %v", step, kv)
		}
		events, upTo, err := w.m.KV().Since(early.Rev(), 100, nil)
		if err != nil || len(events) != 0 || upTo != early.Rev() {
			t.Fatalf("%s: history has %d events up to %d, %v", step, len(events), upTo, err)
		}
		durable, err := w.m.DurableApplied()
		if err != nil || durable != applied || w.m.Applied() != applied || w.m.KV().Stats() != stats || w.rows() != rows {
			t.Fatalf("%s: applied %+v, durable %+v, %v, %+v, rows %s", step, w.m.Applied(), durable, err, w.m.KV().Stats(), w.rows())
		}
	}
	w.m.Begin()
	for _, line := range []string{
		"grant 1 60", "put a 2 lease=1", "put b 1", "del a", "txn\n  then put b 2\n  then put c 3", "checkpoint 1=5",
		"publish 9 name", "compact 3", "revoke 1", "grant 2 9", "put c 4 lease=2",
	} {
		op := newScript(t, line).op()
		w.append(op)
		r, err := w.m.Apply(op)
		if w.must(err); r.Err != nil {
			t.Fatalf("%s: %v", line, r.Err)
		}
		quiet(line)
	}
	w.must(w.m.Commit(w.end()))
	for name, signal := range map[string]<-chan struct{}{"keys": changed, "leases": leases} {
		select {
		case <-signal:
		default:
			t.Errorf("after the commit nobody who waits for %s was woken", name)
		}
	}
	view := w.m.KV().View()
	defer view.Close()
	if view.Rev() != 7 || view.CompactRev() != 3 || view.Keys() != 2 || w.m.Applied() != w.end() || string(w.value("c").Value) != "4" {
		t.Fatalf("after the commit: revision %d, compacted %d, %d keys, applied %+v", view.Rev(), view.CompactRev(), view.Keys(), w.m.Applied())
	}
	if early.Rev() != 2 || early.Keys() != 1 {
		t.Fatal("an older view moved")
	}
}

// TestAGroupWithoutChangesMovesThePositionOnly is what raft's own empty entries are.
func TestAGroupWithoutChangesMovesThePositionOnly(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), mvcc.Options{})
	before, changed := w.contents(), w.m.KV().Changed()
	w.m.Begin()
	p := Position{Index: origin.Index + 9, Term: 3}
	w.must(w.m.Commit(p))
	if w.m.Applied() != p || w.contents() != before {
		t.Fatalf("applied %+v, %s", w.m.Applied(), firstDifference(before, w.contents()))
	}
	select {
	case <-changed:
		t.Fatal("who waits for keys was woken")
	default:
	}
	w.restart(w.fs)
	if w.m.Applied() != p {
		t.Fatalf("after a restart applied is %+v", w.m.Applied())
	}
}

func TestTheOrderOfCallsIsKept(t *testing.T) {
	put := newScript(t, "put a 1").op()
	for name, misuse := range map[string]func(m *Machine){
		"a group within a group":    func(m *Machine) { m.Begin(); m.Begin() },
		"a command outside a group": func(m *Machine) { _, _ = m.Apply(put) },
		"a commit without a group":  func(m *Machine) { _ = m.Commit(at(1)) },
		"the log backwards":         func(m *Machine) { m.Begin(); _ = m.Commit(origin) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, vfs.NewMem(), mvcc.Options{})
			defer func() {
				if recover() == nil {
					t.Fatal("went unnoticed")
				}
			}()
			misuse(w.m)
		})
	}
}
