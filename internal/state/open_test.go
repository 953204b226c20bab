package state

import (
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/storage"
)

func TestAFoundedStateIsThatOfItsMembers(t *testing.T) {
	w := &world{t: t, fs: vfs.NewCrashableMem()}
	w.openEngine()
	if ok, err := Founded(w.engine); ok || err != nil {
		t.Fatalf("an empty engine is founded: %v, %v", ok, err)
	}
	if _, err := Open(w.engine, w.opts); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Fatalf("an empty engine was opened: %v", err)
	}
	w.must(Found(w.engine, founding()))
	// Founding is durable at once: the log may begin behind its origin.
	w.restart(w.fs.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{}))
	t.Cleanup(func() { _ = w.engine.Close() })
	if ok, err := Founded(w.engine); !ok || err != nil {
		t.Fatalf("what was founded is gone: %v, %v", ok, err)
	}
	if want := (&raftpb.ConfState{Voters: []uint64{9}, Learners: []uint64{4}}); !proto.Equal(w.m.ConfState(), want) {
		t.Fatalf("voters %v, want %v", w.m.ConfState(), want)
	}
	durable, err := w.m.DurableApplied()
	if err != nil || durable != origin || w.m.Applied() != origin {
		t.Fatalf("applied %+v, durable %+v, %v", w.m.Applied(), durable, err)
	}
	if w.m.Members().ClusterID() != 77 || w.m.Members().Local() != 9 {
		t.Fatalf("cluster %d, member %d", w.m.Members().ClusterID(), w.m.Members().Local())
	}
}

// TestDamageIsNamedAndNotGuessedAt opens states of which one row is wrong.
func TestDamageIsNamedAndNotGuessedAt(t *testing.T) {
	meta := func(name, value string) func(*storage.Batch) {
		return func(b *storage.Batch) { b.Set(storage.MetaKey(nil, name), []byte(value)) }
	}
	gone := func(name string) func(*storage.Batch) {
		return func(b *storage.Batch) { b.Delete(storage.MetaKey(nil, name)) }
	}
	for name, c := range map[string]struct {
		damage func(*storage.Batch)
		want   string
	}{
		"another format":       {meta(storage.MetaFormat, "\x01"), "the state has format 1 and this release reads format 2"},
		"no format":            {gone(storage.MetaFormat), "damaged"},
		"a long format":        {meta(storage.MetaFormat, "\x02\x02"), "damaged"},
		"no list of alarms":    {meta(storage.MetaAlarms, "\x01\x01"), "damaged"},
		"alarms out of order":  {meta(storage.MetaAlarms, "\x01\x02\x05\x01\x04\x01"), "damaged"},
		"no position":          {gone(storage.MetaApplied), "damaged"},
		"half a position":      {meta(storage.MetaApplied, "12345678"), "damaged"},
		"no voters":            {gone(storage.MetaConfState), "damaged"},
		"voters of nonsense":   {meta(storage.MetaConfState, "\xff"), "damaged"},
		"no cluster":           {gone(storage.MetaCluster), "damaged"},
		"a short cluster":      {meta(storage.MetaCluster, "\x01"), "damaged"},
		"a short revision":     {meta(storage.MetaRevision, "\x01"), "eight bytes"},
		"a short compact":      {meta(storage.MetaCompact, "\x01"), "eight bytes"},
		"a lease of nonsense":  {func(b *storage.Batch) { b.Set(storage.LeaseKey(nil, 1), []byte{1}) }, "damaged"},
		"a member of nonsense": {func(b *storage.Batch) { b.Set(storage.MemberKey(nil, 9), []byte{1, 7}) }, "damaged"},
		"a key on no lease":    {func(b *storage.Batch) { b.Delete(storage.LeaseKey(nil, 1)) }, `key "a" hangs on lease 1, which does not exist`},
		"a record of nonsense": {func(b *storage.Batch) { b.SetRecord("b", 3, 0, []byte{1, 2, 3}) }, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, vfs.NewMem(), mvcc.Options{})
			w.group(newScript(t, "grant 1 60").op(), newScript(t, "put a 1 lease=1").op())
			b := w.engine.NewBatch()
			defer b.Close()
			c.damage(b)
			w.must(w.engine.Commit(b))
			if _, err := Open(w.engine, w.opts); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("opened with error %v, want %q", err, c.want)
			}
		})
	}
}
