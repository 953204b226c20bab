package auth

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/keelson-db/keelson/internal/storage"
)

var (
	wholeUser = User{Name: "n", Hash: []byte("hash"), Roles: []string{"", "a", "b"}, Epoch: 300, NoPassword: true}
	wholeRole = Role{Name: "n", Permissions: []Permission{
		{Read: true, Key: []byte("a"), End: []byte("b")}, {Write: true, Key: []byte("a")}, {Key: []byte("b"), End: []byte{0}},
	}}
	wholeView = View{enabled: true, rev: 300, key: []byte("key")}
)

// TestDamagedRowsAreRefused cuts each kind of row at every byte, and adds and changes some.
func TestDamagedRowsAreRefused(t *testing.T) {
	user, role, meta := encodeUser(&wholeUser), encodeRole(&wholeRole), encodeMeta(&wholeView)
	for _, c := range []struct {
		table string
		key   []byte
		whole []byte
		bad   [][]byte
	}{
		{"users", storage.UserRowKey(nil, "n"), user, [][]byte{
			append(bytes.Clone(user), 0),
			{2, 0, 1, 0, 0}, {1, 2, 1, 0, 0}, // format, flag
			{1, 0, 1, 0, 2, 1, 'b', 1, 'a'}, {1, 0, 1, 0, 2, 1, 'a', 1, 'a'}, // order
			{1, 0, 1, 0, 0xff, 0xff, 0xff, 0xff, 0x7f}, // a list that is not there
		}},
		{"users", []byte("u"), user, [][]byte{user}},
		{"roles", storage.RoleRowKey(nil, "n"), role, [][]byte{
			append(bytes.Clone(role), 0), {2, 0}, {1, 1, 4, 0, 0}, {1, 2, 1, 1, 'b', 0, 1, 1, 'a', 0}, {1, 0xff, 0xff, 0xff, 0xff, 0x7f},
		}},
		{"meta", storage.MetaKey(nil, storage.MetaAuth), meta, [][]byte{
			append(bytes.Clone(meta), 0), {2, 0, 1, 0}, {1, 2, 1, 0}, {1, 0, 0, 0},
			{1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0},
		}},
	} {
		w := newWorld(t)
		bad := c.bad
		if len(c.key) > 1 {
			w.b.Set(c.key, c.whole)
			w.publish()
			w.reopen()
			for n := range c.whole {
				bad = append(bad, c.whole[:n])
			}
		}
		for _, row := range bad {
			w.b.Set(c.key, row)
			w.publish()
			table, err := Open(w.e)
			var damage *storage.DamagedError
			if !errors.As(err, &damage) || damage.Table != c.table || damage.Why == "" {
				t.Errorf("row %x of %s is read as %v, error %v", row, c.table, table, err)
			}
		}
	}
}

func FuzzUserRow(f *testing.F) {
	f.Add(encodeUser(&wholeUser))
	f.Add([]byte{1, 0, 1, 0, 0})
	f.Add([]byte{1, 0, 1, 0, 2, 1, 'b', 1, 'a'})
	f.Fuzz(func(t *testing.T, row []byte) {
		u, why := parseUser("n", row)
		if why != "" {
			return
		}
		if again, why := parseUser("n", encodeUser(&u)); why != "" || !reflect.DeepEqual(again, u) {
			t.Fatalf("%+v came back as %+v, %s", u, again, why)
		}
	})
}

func FuzzRoleRow(f *testing.F) {
	f.Add(encodeRole(&wholeRole))
	f.Add([]byte{1, 0})
	f.Add([]byte{1, 1, 3, 1, 'a', 1, 0})
	f.Fuzz(func(t *testing.T, row []byte) {
		r, why := parseRole("n", row)
		if why != "" {
			return
		}
		if again, why := parseRole("n", encodeRole(&r)); why != "" || !reflect.DeepEqual(again, r) {
			t.Fatalf("%+v came back as %+v, %s", r, again, why)
		}
		// Whatever a row says, it can be asked.
		v := &View{roles: layers[Role]{base: map[string]*Role{"n": &r}}, merger: newMerger(0)}
		for _, p := range r.Permissions {
			got := v.rightsOf(&account{User: User{Roles: []string{"n"}}})
			if p.Read && (len(p.End) == 0 || validRange(p.Key, p.End)) && !got.read.covers(p.Key, p.End) {
				t.Fatalf("%+v does not cover itself", p)
			}
		}
	})
}

func FuzzMetaRow(f *testing.F) {
	f.Add(encodeMeta(&wholeView))
	f.Add([]byte{1, 0, 1, 0})
	f.Fuzz(func(t *testing.T, row []byte) {
		v, why := parseMeta(row)
		if why != "" {
			return
		}
		if again, why := parseMeta(encodeMeta(&v)); why != "" || !reflect.DeepEqual(again, v) {
			t.Fatalf("%+v came back as %+v, %s", v, again, why)
		}
	})
}
