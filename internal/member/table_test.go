package member

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/keelson-db/keelson/internal/storage"
)

func TestMembersOutliveARestart(t *testing.T) {
	fs := vfs.NewMem()
	e, err := storage.Open(storage.Options{FS: fs, Dir: "state"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(e); err == nil {
		t.Fatal("an engine without a cluster was opened as one")
	}
	b := e.NewBatch()
	Found(b, 1<<63+5, 9, []Member{{ID: 9, PeerURLs: []string{"http://a:1", "http://b:1"}}, {ID: 4, Learner: true}})
	if err := e.Commit(b); err != nil {
		t.Fatal(err)
	}
	table, err := Open(e)
	if err != nil {
		t.Fatal(err)
	}
	b.Reset()
	table.Publish(b, Member{ID: 9, Name: "näme", ClientURLs: []string{"http://c:2"}, Incarnation: 1 << 63, Level: 300, Version: "v"})
	table.Publish(b, Member{ID: 77, Name: "stranger"})
	if err := e.Commit(b); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if e, err = storage.Open(storage.Options{FS: fs, Dir: "state"}); err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	again, err := Open(e)
	if err != nil {
		t.Fatal(err)
	}
	want := []Member{
		{ID: 4, Learner: true},
		{ID: 9, Name: "näme", PeerURLs: []string{"http://a:1", "http://b:1"}, ClientURLs: []string{"http://c:2"}, Incarnation: 1 << 63, Level: 300, Version: "v"},
	}
	for _, got := range [][]Member{table.List(), again.List()} {
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v, want %+v", got, want)
		}
	}
	if again.ClusterID() != 1<<63+5 || again.Local() != 9 {
		t.Fatalf("identity %x %x", again.ClusterID(), again.Local())
	}
}

// TestDamagedRowsAreRefused cuts a member's row at every byte and opens what is left of it.
func TestDamagedRowsAreRefused(t *testing.T) {
	e, err := storage.Open(storage.Options{FS: vfs.NewMem(), Dir: "state"})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	set := func(key, row []byte) {
		t.Helper()
		b := e.NewBatch()
		defer b.Close()
		b.Set(key, row)
		if err := e.Commit(b); err != nil {
			t.Fatal(err)
		}
	}
	identity := appendIdentity(nil, 5, 9)
	set(storage.MetaKey(nil, storage.MetaCluster), identity)
	row := encodeRow(Member{ID: 9, Name: "name", PeerURLs: []string{"http://a", ""}, ClientURLs: []string{"u"}})
	key := storage.MemberKey(nil, 9)
	for n := range row {
		set(key, row[:n])
		if table, err := Open(e); err == nil {
			t.Errorf("%d of %d bytes are read as %+v", n, len(row), table.List())
		}
	}
	for _, bad := range [][]byte{append(bytes.Clone(row), 0), append([]byte{3}, row[1:]...), append([]byte{1}, row[1:]...), append([]byte{2, 2}, row[2:]...), append([]byte{2, 3}, row[2:]...)} {
		set(key, bad)
		if table, err := Open(e); err == nil {
			t.Errorf("%x is read as %+v", bad, table.List())
		}
	}
	set(key, row)
	if table, err := Open(e); err != nil || len(table.List()) != 1 {
		t.Fatalf("the whole row is not read: %v", err)
	}
	for n := range identity {
		set(storage.MetaKey(nil, storage.MetaCluster), identity[:n])
		if _, err := Open(e); err == nil {
			t.Errorf("%d of %d bytes are an identity", n, len(identity))
		}
	}
}

// TestWhatWasPublishedIsTheTables: who published may go on to use its slice.
func TestWhatWasPublishedIsTheTables(t *testing.T) {
	e, err := storage.Open(storage.Options{FS: vfs.NewMem(), Dir: "state"})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	b := e.NewBatch()
	defer b.Close()
	Found(b, 5, 9, []Member{{ID: 9}})
	if err := e.Commit(b); err != nil {
		t.Fatal(err)
	}
	table, err := Open(e)
	if err != nil {
		t.Fatal(err)
	}
	urls := []string{"http://one"}
	b.Reset()
	table.Publish(b, Member{ID: 9, Name: "a", ClientURLs: urls})
	urls[0] = "http://two"
	if m, ok := table.Get(9); !ok || m.ClientURLs[0] != "http://one" || m.Name != "a" {
		t.Fatalf("the table has %+v", m)
	}
	if _, ok := table.Get(8); ok {
		t.Fatal("there is a member nobody founded")
	}
}

func FuzzRow(f *testing.F) {
	f.Add([]byte{1, 0, 1, 'a', 0, 1, 2, 'x', 'y'})
	f.Add([]byte{1, 1, 0, 0xff, 0xff, 3})
	f.Add([]byte{2, 2})
	f.Add(encodeRow(Member{Name: "n", PeerURLs: []string{"", "u"}, ClientURLs: []string{"v"}, Learner: true}))
	f.Fuzz(func(t *testing.T, row []byte) {
		m, removed, ok := parseRow(1, row)
		if !ok || removed {
			return
		}
		again, _, ok := parseRow(1, encodeRow(m))
		if m.ID != 1 || !ok || !reflect.DeepEqual(again, m) {
			t.Fatalf("%+v came back as %+v, %v", m, again, ok)
		}
	})
}
