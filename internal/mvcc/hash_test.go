package mvcc

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

// kept is one version as etcd keeps it.
type kept struct {
	row   Row
	key   string
	value []byte
}

// plainHash computes a hash by the book, over a history of which nothing was removed. A compaction's own hash is
// the one with the compaction before it as compact revision and nothing left out at its own.
func plainHash(history []kept, compact, rev Rev) uint32 {
	newest := func(at Rev) map[string]Pos {
		live := map[string]Pos{}
		for _, c := range history {
			if c.row.Pos.Rev > at {
				break
			}
			delete(live, c.key)
			if !c.row.Delete {
				live[c.key] = c.row.Pos
			}
		}
		return live
	}
	there, keep := newest(compact), newest(rev)
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Checksum([]byte("key"), table)
	for _, c := range history {
		if c.row.Pos.Rev > rev {
			break
		}
		if c.row.Pos.Rev <= compact && (c.row.Delete || there[c.key] != c.row.Pos || len(keep) > 0 && keep[c.key] != c.row.Pos) {
			continue
		}
		sum = crc32.Update(crc32.Update(sum, table, c.row.AppendRawKey(nil)), table, c.value)
	}
	return sum
}

// note adds the changes since the last call to the history.
func (d *desk) note(history []kept) []kept {
	d.t.Helper()
	after := Rev(0)
	if n := len(history); n > 0 {
		after = history[n-1].row.Pos.Rev
	}
	m, err := At(d.engine)
	if err == nil {
		err = eachRow(d.engine, after, m.Rev, func(r Row) error {
			value, err := m.Value(nil, r.Pos, r.Delete, r.Key, r.Value)
			history = append(history, kept{Row{Pos: r.Pos, Delete: r.Delete}, string(r.Key), value})
			return err
		})
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return history
}

func TestHashesAreByTheBookWhereverTheSweepStands(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 3))
		d := newDesk(t, Options{})
		var history []kept
		compact, asked := NeverCompacted, []compaction(nil)
		for range 60 {
			d.group(func(w *Writer) {
				tx := w.NewTx()
				for range 1 + rng.IntN(3) {
					key := fmt.Appendf(nil, "%d", rng.IntN(6))
					if rng.IntN(3) == 0 {
						_, _ = tx.Delete(key, nil)
					} else {
						_, _ = tx.Put(key, make([]byte, rng.IntN(2000)), 0)
					}
				}
				tx.End()
			})
			history = d.note(history)
			rev := d.store.Stats().Rev
			switch rng.IntN(5) {
			case 0:
				if to := rev - Rev(rng.IntN(3)); to > compact {
					d.compact(to)
					asked = append(asked, compaction{compact, to})
					compact = to
				}
			case 1:
				if _, _, err := d.store.Sweep(t.Context(), 1+rng.IntN(20)); err != nil {
					t.Fatal(err)
				}
			}
			at := max(compact, 0) + Rev(rng.IntN(int(rev-max(compact, 0))+1))
			h, now, err := d.store.HashKV(t.Context(), at)
			if at == 0 {
				at = rev
			}
			if err != nil || now != rev || h.Rev != at || h.Hash != plainHash(history, h.Compact, at) {
				t.Fatalf("seed %d: at %d of %d, compacted at %d: %+v %v, want %08x", seed, at, rev, compact, h, err, plainHash(history, h.Compact, at))
			}
			if h.Compact != compact && at != compact {
				t.Fatalf("seed %d: at %d, compacted at %d: %+v", seed, at, compact, h)
			}
			want := Hash{plainHash(history, compact, at), compact, at}
			if h, err := d.store.HashAt(t.Context(), at); err != nil || h != want {
				t.Fatalf("seed %d: at %d of %d: %+v %v, want %+v", seed, at, rev, h, err, want)
			}
		}
		d.checkKept(seed, history, asked)
	}
}

// checkKept sweeps to the end and looks at the hashes of the compactions.
func (d *desk) checkKept(seed uint64, history []kept, asked []compaction) {
	t := d.t
	t.Helper()
	for done := false; !done; {
		var err error
		if _, done, err = d.store.Sweep(t.Context(), 7); err != nil {
			t.Fatal(err)
		}
	}
	if len(asked) > keptHashes {
		asked = asked[len(asked)-keptHashes:]
	}
	kept := d.store.Hashes()
	if len(kept) != len(asked) {
		t.Fatalf("seed %d: %d hashes of %d compactions", seed, len(kept), len(asked))
	}
	for i, c := range asked {
		want := Hash{plainHash(history, c.prev, c.rev), c.prev, c.rev}
		if h, _, err := d.store.HashKV(t.Context(), c.rev); kept[i] != want || h != want || err != nil {
			t.Fatalf("seed %d: %+v and %+v %v, want %+v", seed, kept[i], h, err, want)
		}
		if i < len(asked)-1 {
			continue
		}
		// The newest one is computed when it is asked for, if it was not before.
		d.store.hashes.kept = nil
		if h, _, err := d.store.HashKV(t.Context(), c.rev); h != want || err != nil {
			t.Fatalf("seed %d: on demand %+v %v, want %+v", seed, h, err, want)
		}
	}
}

func TestHashesOfOtherRevisionsAreRefused(t *testing.T) {
	d := newDesk(t, Options{})
	for range 5 {
		d.put("a", "b")
	}
	d.compact(4)
	for rev, want := range map[Rev]error{3: ErrCompacted, 4: nil, 6: nil, 7: ErrFutureRev, 0: nil} {
		if _, now, err := d.store.HashKV(t.Context(), rev); !errors.Is(err, want) || now != 6 {
			t.Errorf("at %d: %d %v", rev, now, err)
		}
		if _, err := d.store.HashAt(t.Context(), rev); rev > 0 && !errors.Is(err, want) {
			t.Errorf("at %d: %v", rev, err)
		}
	}
}

func BenchmarkHashKV(b *testing.B) {
	const keys = 300_000
	w := newBench(b, keys)
	for b.Loop() {
		if _, _, err := w.store.HashKV(b.Context(), 0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/keys, "ns/row")
}
