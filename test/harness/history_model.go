package harness

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
)

// porcupineLimit bounds the search for an order, in time.
const porcupineLimit = 30 * time.Second

// record is a key in the sequential specification. Mod is 0 while a change whose answer was lost may have been the last
// one; it is then known to be above Above.
type record struct {
	Found      bool
	Value      string
	Version    int64
	Mod, Above int64
}

// Linearizable looks for an order of the calls that explains all answers, key by key, with etcd's versions and revisions.
// Keys that no order explains are drawn in pages in dir, or where temporary files are if that is empty.
func Linearizable(ops []Op, dir string) error {
	var history []porcupine.Operation
	for i, op := range ops {
		if op.Call.Kind == GetAnywhere {
			continue
		}
		client := op.Client
		if op.Answer.Unknown {
			client = -1 - i // a client whose call never ended is a client of the past
		}
		history = append(history, porcupine.Operation{
			ClientId: client, Input: op.Call, Output: op.Answer, Call: int64(op.Begin), Return: int64(op.End),
		})
	}
	switch porcupine.CheckOperationsTimeout(records(), history, porcupineLimit) {
	case porcupine.Illegal:
		return fmt.Errorf("no order explains what the clients saw in %d calls:%s", len(history), illegalKeys(history, dir))
	case porcupine.Unknown:
		return errors.New("the history is too entangled to be checked")
	}
	return nil
}

// illegalKeys names the keys that no order explains, and draws each in a page that a browser shows.
func illegalKeys(history []porcupine.Operation, dir string) string {
	text := ""
	for _, part := range byKey(history) {
		result, info := porcupine.CheckOperationsVerbose(records(), part, porcupineLimit)
		if result == porcupine.Ok {
			continue
		}
		page, err := os.CreateTemp(dir, "keelson-history-*.html")
		if err == nil {
			err = errors.Join(porcupine.Visualize(records(), info, page), page.Close())
		}
		if err != nil {
			return fmt.Sprintf("%s key %s (not drawn: %v)", text, part[0].Input.(Call).Key, err)
		}
		text += fmt.Sprintf(" key %s is drawn in %s;", part[0].Input.(Call).Key, page.Name())
	}
	return text
}

func byKey(history []porcupine.Operation) [][]porcupine.Operation {
	keys := map[string]int{}
	var parts [][]porcupine.Operation
	for _, op := range history {
		key := op.Input.(Call).Key
		if _, ok := keys[key]; !ok {
			keys[key] = len(parts)
			parts = append(parts, nil)
		}
		parts[keys[key]] = append(parts[keys[key]], op)
	}
	return parts
}

// records is the sequential specification: independent keys, none there at first.
func records() porcupine.Model {
	return porcupine.Model{
		Partition: byKey,
		Init:      func() any { return record{Above: 0} },
		Step: func(state, input, output any) (bool, any) {
			return state.(record).step(input.(Call), output.(Answer))
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
	}
}

// step is the key after a call, and whether the answer is right.
func (r record) step(c Call, a Answer) (bool, record) {
	writes := c.Kind == Put
	if c.Kind == Swap {
		writes = r.Found == (c.Expect != "") && r.Value == c.Expect
		if !a.Unknown && a.Done != writes {
			return false, r
		}
	}
	if c.Kind == Delete {
		if !a.Unknown && a.Done != r.Found {
			return false, r
		}
		if r.Found {
			return r.change(record{}, a)
		}
	}
	switch {
	case writes:
		return r.change(record{Found: true, Value: c.Value, Version: r.Version + 1}, a)
	case a.Unknown || c.Kind == Delete:
		return a.Unknown || r.notAfter(a.Revision), r
	default:
		return r.read(a)
	}
}

// change is the key after a change, whose revision must be above everything that the key has seen.
func (r record) change(to record, a Answer) (bool, record) {
	if a.Unknown {
		to.Above = max(r.Mod, r.Above)
		return true, to
	}
	to.Mod = a.Revision
	// A removed key remembers when it was removed.
	to.Above = a.Revision
	return a.Revision > max(r.Mod, r.Above), to
}

// read compares the key with what was read; a read may teach the revision of a change whose answer was lost.
func (r record) read(a Answer) (bool, record) {
	if r.Found != a.Found || !r.notAfter(a.Revision) {
		return false, r
	}
	if !r.Found {
		return true, r
	}
	if a.Value != r.Value || a.Version != r.Version || a.Mod > a.Revision {
		return false, r
	}
	if r.Mod != 0 {
		return a.Mod == r.Mod, r
	}
	r.Mod = a.Mod
	return a.Mod > r.Above, r
}

// notAfter says whether the key can have been so at a revision.
func (r record) notAfter(revision int64) bool { return max(r.Mod, r.Above) <= revision }
