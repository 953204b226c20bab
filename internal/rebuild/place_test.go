package rebuild

import (
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/raftlog"
	"github.com/keelson-db/keelson/internal/storage"
)

// some is a member's data with a bit of everything.
func some() directory {
	return directory{local: 1, members: three(), lines: long(2, 30), applied: 20, commit: 22}
}

// TestLookingChangesNothing looks at a directory on a disk that says so if anybody writes to it.
func TestLookingChangesNothing(t *testing.T) {
	fs := vfs.NewMem()
	some().make(t, fs, "d")
	guarded := errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && fs.PathBase(op.Path) != "LOCK" {
			t.Errorf("a look does %v to %s", op.Kind, op.Path)
		}
		return nil
	}))
	f := Look(Place{FS: guarded, Data: "d"})
	if f.Problem != nil || !f.Whole() {
		t.Fatal(f.Problem)
	}
	if f.Cluster != cluster || f.ID != 1 || f.Call() != "m1" || f.Applied != 21 || f.Commit != 23 || f.Last.Index != 31 || f.Last.Term != 2 ||
		f.Revision != 21 || f.Written.IsZero() || len(f.Members) != 3 || f.Learner || f.Removed {
		t.Errorf("%+v", f)
	}
}

// TestWhatCannotBeUsedSaysWhy looks at directories in which something is wrong.
func TestWhatCannotBeUsedSaysWhy(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, fs vfs.FS, p Place)
		says  string
		known bool // whose directory it is can still be told
	}{
		"nothing there": {func(t *testing.T, fs vfs.FS, p Place) { must(t, fs.RemoveAll(p.Data)) }, "no such directory", false},
		"empty": {func(t *testing.T, fs vfs.FS, p Place) {
			must(t, fs.RemoveAll(p.Data))
			must(t, fs.MkdirAll(p.Data, 0o700))
		}, "no member's data", false},
		"etcd's": {func(t *testing.T, fs vfs.FS, p Place) {
			must(t, fs.RemoveAll(p.Data))
			must(t, fs.MkdirAll(fs.PathJoin(p.Data, "member", "wal"), 0o700))
		}, "etcd's own --force-new-cluster", false},
		"no log": {func(t *testing.T, fs vfs.FS, p Place) { must(t, fs.RemoveAll(p.log())) }, "--wal-dir", true},
		"another's log": {func(t *testing.T, fs vfs.FS, p Place) {
			other := directory{local: 2, members: three(), lines: long(2, 30), applied: 20, commit: 22}.make(t, fs, "other")
			must(t, fs.RemoveAll(p.log()))
			must(t, fs.Rename(other.log(), p.log()))
		}, "belongs to another member's state", true},
		"an old log": {func(t *testing.T, fs vfs.FS, p Place) {
			other := directory{local: 1, members: three(), lines: long(2, 5), applied: 5, commit: 5}.make(t, fs, "other")
			must(t, fs.RemoveAll(p.log()))
			must(t, fs.Rename(other.log(), p.log()))
		}, "do not belong together", true},
		"a damaged log": {func(t *testing.T, fs vfs.FS, p Place) {
			f, err := fs.OpenReadWrite(fs.PathJoin(p.log(), "0000000000000001.log"), vfs.WriteCategoryUnspecified)
			must(t, err)
			_, err = f.WriteAt([]byte("damage"), 4400)
			must(t, errors.Join(err, f.Close()))
		}, "raft log is damaged", true},
		"in use": {func(t *testing.T, fs vfs.FS, p Place) {
			e, err := storage.Open(storage.Options{FS: fs, Dir: p.state()})
			must(t, err)
			t.Cleanup(func() { must(t, e.Close()) })
		}, "--endpoints", false},
		"a log in use": {func(t *testing.T, fs vfs.FS, p Place) {
			l, err := raftlog.Open(raftlog.Options{FS: fs, Dir: p.log()})
			must(t, err)
			t.Cleanup(func() { must(t, l.Close()) })
		}, "--endpoints", true},
		"a copy waits": {func(t *testing.T, fs vfs.FS, p Place) {
			copied := directory{local: 1, members: three(), lines: long(2, 60), applied: 60, commit: 60}.make(t, fs, "copied")
			must(t, fs.Rename(copied.state(), storage.ReadyDir(p.state())))
		}, "start the member once", true},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			p := some().make(t, fs, "d")
			c.spoil(t, fs, p)
			f := Look(p)
			if f.Problem == nil || !strings.Contains(f.Problem.Error(), c.says) || f.Whole() {
				t.Errorf("the problem is %v", f.Problem)
			}
			if known := f.ID == 1 && f.Cluster == cluster && f.Name == "m1"; known != c.known {
				t.Errorf("%+v", f)
			}
			if name == "a copy waits" && f.Commit != 61 {
				t.Errorf("a copy that waits has entry 61 at its end, and the member is told to know of %d", f.Commit)
			}
			if _, err := Rebuild(p, f, quiet()); err == nil {
				t.Error("it was rebuilt")
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestABackupIsTheMemberAsItWas copies a directory, also where files cannot have two names and where an earlier copy was
// interrupted, and rebuilds the original. The copy is what the original was, and it can take its place.
func TestABackupIsTheMemberAsItWas(t *testing.T) {
	for name, wrap := range map[string]func(vfs.FS) vfs.FS{
		"with links":    func(fs vfs.FS) vfs.FS { return fs },
		"without links": func(fs vfs.FS) vfs.FS { return unlinked{fs} },
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			p := some().make(t, fs, "d")
			must(t, fs.Rename(p.log(), "elsewhere"))
			p.WAL = "elsewhere"
			must(t, fs.MkdirAll("b"+unfinished+"/state/old", 0o700))
			before := Look(p)
			p.FS = wrap(fs)
			must(t, Backup(p, "b"))
			if err := Backup(p, "b"); err == nil {
				t.Error("a backup was made over another one")
			}
			_, err := Rebuild(p, before, quiet())
			must(t, err)
			copied := Place{FS: fs, Data: "b"}
			if got := Look(copied); !got.same(before) || got.Problem != nil {
				t.Fatalf("it was %+v and the copy is %+v", before, got)
			}
			_, err = Rebuild(copied, Look(copied), quiet())
			must(t, err)
			if got, err := run(t, copied); err != nil || got != "cluster c1, member 1, 1 keys, revision 31, voter 1, voters [1], learners [], removed [2 3]" {
				t.Errorf("the copy holds %s, %v", got, err)
			}
			names, err := fs.List("b")
			must(t, err)
			if len(names) != 2 {
				t.Errorf("the copy has %v inside", names)
			}
		})
	}
}

// unlinked is a disk where a file has one name.
type unlinked struct{ vfs.FS }

func (unlinked) Link(string, string) error { return errors.New("not here") }

// full is a disk without room for more.
type full struct{ unlinked }

func (full) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: 1 << 20}, nil
}

func TestABackupWithoutRoomLeavesNothing(t *testing.T) {
	fs := vfs.NewMem()
	p := some().make(t, fs, "d")
	p.FS = full{unlinked{fs}}
	if err := Backup(p, "b"); !errors.Is(err, storage.ErrNoRoom) {
		t.Errorf("a backup on a full disk: %v", err)
	}
	names, err := fs.List("")
	must(t, err)
	if len(names) != 1 {
		t.Errorf("it left %v", names)
	}
	if f := Look(p); f.ID != member.ID(1) || f.Problem != nil {
		t.Errorf("afterwards the member is %+v", f)
	}
}
