package rpc

import (
	"bytes"
	"slices"
	"sort"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// All changes of a transaction share one revision, so no branch may change a key in a way that would
// need two. The rule, to the letter: within one branch no key is put twice, and no key is put that a
// delete of the same branch or of a transaction nested in it covers. The two branches of one nested
// transaction exclude each other, so both may put the same key. What an earlier sibling puts or deletes
// counts against the puts of a later one, but a later sibling's deletes do not count against an earlier
// one's puts; and a range_end of "\0" is taken as that key, not as "to the end". Both gaps are etcd's,
// and closing them would refuse transactions that etcd accepts.

// writes is what a branch may change: the keys it puts and the ranges it deletes.
type writes struct {
	puts map[string]struct{}
	dels deletes
}

// collectWrites gathers the writes of a branch and everything nested in it, or finds the duplicate.
func collectWrites(ops []*pb.RequestOp) (writes, error) {
	w := writes{puts: map[string]struct{}{}}
	for _, op := range ops {
		if d := op.GetRequestDeleteRange(); d != nil {
			w.dels = append(w.dels, newSpan(d))
		}
	}
	w.dels = w.dels.normal()
	for _, op := range ops {
		if nested := op.GetRequestTxn(); nested != nil {
			if err := w.addNested(nested); err != nil {
				return writes{}, err
			}
		}
	}
	for _, op := range ops {
		if p := op.GetRequestPut(); p != nil {
			if w.touches(p.Key) {
				return writes{}, rpctypes.ErrGRPCDuplicateKey
			}
			w.puts[string(p.Key)] = struct{}{}
		}
	}
	return w, nil
}

// touches says that a key is already put or deleted.
func (w *writes) touches(key []byte) bool {
	_, put := w.puts[string(key)]
	return put || w.dels.cover(key)
}

// addNested adds what a nested transaction may write, whichever branch it takes.
func (w *writes) addNested(r *pb.TxnRequest) error {
	then, err := collectWrites(r.Success)
	if err != nil {
		return err
	}
	otherwise, err := collectWrites(r.Failure)
	if err != nil {
		return err
	}
	for key := range then.puts {
		if w.touches([]byte(key)) {
			return rpctypes.ErrGRPCDuplicateKey
		}
	}
	for key := range otherwise.puts {
		if w.touches([]byte(key)) {
			return rpctypes.ErrGRPCDuplicateKey
		}
	}
	// Added only now: a key that both branches put is no duplicate of itself.
	for key := range then.puts {
		w.puts[key] = struct{}{}
	}
	for key := range otherwise.puts {
		w.puts[key] = struct{}{}
	}
	w.dels = w.dels.union(then.dels).union(otherwise.dels)
	return nil
}

// span is the keys from begin up to but without end.
type span struct{ begin, end []byte }

func newSpan(r *pb.DeleteRangeRequest) span {
	if len(r.RangeEnd) > 0 {
		return span{r.Key, r.RangeEnd}
	}
	return span{r.Key, append(bytes.Clone(r.Key), 0)}
}

// deletes are spans in ascending order that neither overlap nor touch, so that a key is found by binary
// search: a transaction of the largest size must not cost the square of its operations.
type deletes []span

// normal sorts spans and joins those that meet. Spans that end before they begin hold nothing.
func (d deletes) normal() deletes {
	d = slices.DeleteFunc(d, func(s span) bool { return bytes.Compare(s.begin, s.end) >= 0 })
	slices.SortFunc(d, func(a, b span) int { return bytes.Compare(a.begin, b.begin) })
	return joined(d)
}

// joined makes one span of those that meet in d, which is sorted by begin.
func joined(d deletes) deletes {
	out := d[:0]
	for _, s := range d {
		if n := len(out); n > 0 && bytes.Compare(s.begin, out[n-1].end) <= 0 {
			if bytes.Compare(s.end, out[n-1].end) > 0 {
				out[n-1].end = s.end
			}
			continue
		}
		out = append(out, s)
	}
	return out
}

// union merges two normal sets in one pass.
func (d deletes) union(other deletes) deletes {
	if len(other) == 0 {
		return d
	}
	merged := make(deletes, 0, len(d)+len(other))
	for len(d) > 0 && len(other) > 0 {
		if bytes.Compare(d[0].begin, other[0].begin) <= 0 {
			merged, d = append(merged, d[0]), d[1:]
		} else {
			merged, other = append(merged, other[0]), other[1:]
		}
	}
	return joined(append(append(merged, d...), other...))
}

func (d deletes) cover(key []byte) bool {
	i := sort.Search(len(d), func(i int) bool { return bytes.Compare(d[i].begin, key) > 0 })
	return i > 0 && bytes.Compare(key, d[i-1].end) < 0
}
