package mvcc

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/keelson-db/keelson/internal/storage"
)

// nearby is how many neighbouring rows are worth stepping over before a seek
// is cheaper.
const nearby = 4

// Open loads the index of live keys by one scan over the records and takes
// the revisions from the engine's meta table.
func Open(e *storage.Engine, o Options) (*Store, error) {
	s := &Store{engine: e, opts: o.withDefaults(), gone: new([]byte), joiner: sync.OnceValue(storage.NewJoiner)}
	p := &published{rev: FirstRev, compact: NeverCompacted, changed: make(chan struct{})}
	swept, removed := NeverCompacted, int64(0)
	for _, m := range []struct {
		name string
		rev  *Rev
	}{{storage.MetaRevision, &p.rev}, {storage.MetaCompact, &p.compact}, {storage.MetaCompacted, &swept}} {
		v, ok, err := e.MetaInt(m.name)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", m.name, err)
		}
		if ok {
			*m.rev = Rev(v)
		}
	}
	for name, n := range map[string]*int64{storage.MetaWritten: &p.written, storage.MetaRemoved: &removed} {
		v, _, err := e.MetaInt(name)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		*n = v
	}
	t, err := load(e)
	if err != nil {
		return nil, fmt.Errorf("load index: %w", err)
	}
	p.root, p.keyBytes = t.root, t.keyBytes
	p.hist.floor = p.rev
	s.pub.Store(p)
	s.gen.Store(newGeneration(nil))
	s.sweep.init(swept, removed)
	s.warm.max = s.opts.WarmBytes
	return s, nil
}

// load builds the index of the newest version of each key that is not a
// tombstone. It reads metadata only and copies no value.
func load(e *storage.Engine) (t tree, err error) {
	it, err := e.Iter(span{kind: spanFrom}.bounds())
	if err != nil {
		return tree{}, err
	}
	defer func() {
		if cerr := it.Close(); err == nil {
			err = cerr
		}
	}()
	var bad error
	t = build(func(yield func(*Item) bool) {
		var shared []byte
		for it.First(); it.Valid(); {
			item, prefix, err := parseRow(it.Key(), it.Value())
			if err != nil {
				bad = err
				return
			}
			if item != nil {
				yield(item)
			}
			shared = append(shared[:0], prefix...)
			skipVersions(it, shared)
		}
	})
	if bad != nil {
		return tree{}, bad
	}
	return t, it.Error()
}

// parseRow makes the item of a record's row; it is nil for a tombstone.
func parseRow(key, val []byte) (it *Item, shared []byte, err error) {
	shared, rev, sub, ok := storage.SplitRecordKey(key)
	if !ok {
		return nil, nil, &storage.DamagedError{Table: "records", Key: bytes.Clone(key), Why: "the key has no position"}
	}
	if len(val) == 0 {
		return nil, shared, nil
	}
	r, ok := parseRecord(val)
	if !ok || r.mod != Rev(rev) {
		return nil, nil, &storage.DamagedError{Table: "records", Key: bytes.Clone(key), Why: "the record cannot be read"}
	}
	return &Item{Key: string(r.key), Create: r.create, Mod: r.mod, Sub: sub, Version: r.version, Lease: r.lease}, shared, nil
}

// skipVersions moves behind all versions of the key with this shared part. It
// may change the last byte of shared.
func skipVersions(it *storage.Iter, shared []byte) {
	for range nearby {
		if !it.Next() || !bytes.HasPrefix(it.Key(), shared) {
			return
		}
	}
	it.SeekGE(pastVersions(shared))
}

// pastVersions turns a key's shared part into the bound behind its versions.
func pastVersions(shared []byte) []byte {
	shared[len(shared)-1]++
	return shared
}
