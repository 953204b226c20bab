package mvcc

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// model is the store written down naively: every state at every revision as a
// map, and every change in order.
type model struct {
	states  map[Rev]map[string]*mvccpb.KeyValue
	changes []change
	rev     Rev
	compact Rev
	points  []point // state after each group, for crashes
}

type change struct {
	pos  Pos
	del  bool
	kv   *mvccpb.KeyValue
	prev *mvccpb.KeyValue // before the revision
}

type point struct{ rev, compact Rev }

func newModel() *model {
	return &model{states: map[Rev]map[string]*mvccpb.KeyValue{1: {}}, rev: FirstRev, compact: NeverCompacted, points: []point{{FirstRev, NeverCompacted}}}
}

// modelTx is one command on the model.
type modelTx struct {
	m   *model
	now map[string]*mvccpb.KeyValue
	sub int32
}

func (m *model) tx() *modelTx {
	now := map[string]*mvccpb.KeyValue{}
	for k, v := range m.states[m.rev] {
		now[k] = v
	}
	return &modelTx{m: m, now: now}
}

func (t *modelTx) put(key, value string, lease int64) {
	rev := t.m.rev + 1
	kv := &mvccpb.KeyValue{Key: []byte(key), CreateRevision: int64(rev), ModRevision: int64(rev), Version: 1, Value: []byte(value), Lease: lease}
	if old := t.now[key]; old != nil {
		kv.CreateRevision, kv.Version = old.CreateRevision, old.Version+1
	}
	t.now[key] = kv
	t.note(change{kv: kv})
}

func (t *modelTx) note(c change) {
	c.pos = Pos{t.m.rev + 1, t.sub}
	c.prev = t.m.states[t.m.rev][string(c.kv.Key)]
	t.m.changes = append(t.m.changes, c)
	t.sub++
}

func (t *modelTx) delete(key, end string) int {
	var keys []string
	for k := range t.now {
		if modelIn(k, key, end) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		delete(t.now, k)
		t.note(change{del: true, kv: &mvccpb.KeyValue{Key: []byte(k), ModRevision: int64(t.m.rev + 1)}})
	}
	return len(keys)
}

func (t *modelTx) end() {
	if t.sub > 0 {
		t.m.rev++
		t.m.states[t.m.rev] = t.now
	}
}

func modelIn(k, key, end string) bool {
	switch end {
	case "":
		return k == key
	case "\x00":
		return k >= key || key == "\x00"
	}
	return k >= key && k < end
}

// modelRange answers a query over a state in the order of work of the API.
func modelRange(state map[string]*mvccpb.KeyValue, q RangeQuery) (kvs []*mvccpb.KeyValue, more bool, count int64) {
	for k, kv := range state {
		if modelIn(k, string(q.Key), string(q.End)) {
			kvs = append(kvs, kv)
		}
	}
	slices.SortFunc(kvs, func(a, b *mvccpb.KeyValue) int { return bytes.Compare(a.Key, b.Key) })
	count = int64(len(kvs))
	if q.CountOnly {
		return nil, false, count
	}
	filtered := q.MinMod != 0 || q.MaxMod != 0 || q.MinCreate != 0 || q.MaxCreate != 0
	if q.Sort == SortNone && !filtered && q.Limit > 0 && int64(len(kvs)) > q.Limit+1 {
		kvs = kvs[:q.Limit+1]
	}
	kvs = slices.DeleteFunc(kvs, func(kv *mvccpb.KeyValue) bool {
		return q.MinMod != 0 && kv.ModRevision < int64(q.MinMod) || q.MaxMod != 0 && kv.ModRevision > int64(q.MaxMod) ||
			q.MinCreate != 0 && kv.CreateRevision < int64(q.MinCreate) || q.MaxCreate != 0 && kv.CreateRevision > int64(q.MaxCreate)
	})
	modelSort(kvs, q)
	if q.Limit > 0 && int64(len(kvs)) > q.Limit {
		kvs, more = kvs[:q.Limit], true
	}
	if q.KeysOnly {
		for i, kv := range kvs {
			kvs[i] = proto.Clone(kv).(*mvccpb.KeyValue)
			kvs[i].Value = nil
			if q.Target != ByValue {
				kvs[i].Lease = 0
			}
		}
	}
	return kvs, more, count
}

func modelSort(kvs []*mvccpb.KeyValue, q RangeQuery) {
	slices.SortStableFunc(kvs, func(a, b *mvccpb.KeyValue) int {
		var c int
		switch q.Target {
		case ByKey:
			c = bytes.Compare(a.Key, b.Key)
		case ByVersion:
			c = cmp.Compare(a.Version, b.Version)
		case ByCreate:
			c = cmp.Compare(a.CreateRevision, b.CreateRevision)
		case ByMod:
			c = cmp.Compare(a.ModRevision, b.ModRevision)
		case ByValue:
			c = strings.Compare(string(a.Value), string(b.Value))
		}
		if q.Sort == SortDescend {
			return -c
		}
		return c
	})
}

// since returns the changes after a revision.
func (m *model) since(after Rev) []change {
	i, _ := slices.BinarySearchFunc(m.changes, after+1, func(c change, r Rev) int { return cmp.Compare(c.pos.Rev, r) })
	return m.changes[i:]
}

// forget cuts the model back to a group that survived a crash.
func (m *model) forget(p point) bool {
	i := slices.Index(m.points, p)
	if i < 0 {
		return false
	}
	m.points = m.points[:i+1]
	m.rev, m.compact = p.rev, p.compact
	for r := range m.states {
		if r > p.rev {
			delete(m.states, r)
		}
	}
	m.changes = m.changes[:len(m.changes)-len(m.since(p.rev))]
	return true
}
