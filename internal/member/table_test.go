package member

import (
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
	table.Publish(b, 9, "näme", []string{"http://c:2"})
	table.Publish(b, 77, "stranger", nil)
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
		{ID: 9, Name: "näme", PeerURLs: []string{"http://a:1", "http://b:1"}, ClientURLs: []string{"http://c:2"}},
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

func FuzzRow(f *testing.F) {
	f.Add([]byte{1, 0, 1, 'a', 0, 1, 2, 'x', 'y'})
	f.Add([]byte{1, 1, 0, 0xff, 0xff, 3})
	f.Fuzz(func(t *testing.T, row []byte) {
		if m, ok := parseRow(1, row); ok && m.ID != 1 {
			t.Fatal("a row changed its member")
		}
	})
}
