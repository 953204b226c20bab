package token

import (
	"bytes"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/crypto/bcrypt"

	"github.com/keelson-db/keelson/internal/auth"
	"github.com/keelson-db/keelson/internal/storage"
)

// users is a table of users to ask for.
type users struct {
	t      testing.TB
	engine *storage.Engine
	table  *auth.Table
}

// newUsers has root, ann ("one"), bob (no password), eve (an empty hash); users are on.
func newUsers(t testing.TB) *users {
	t.Helper()
	e, err := storage.Open(storage.Options{FS: vfs.NewMem(), Dir: "state"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	table, err := auth.Open(e)
	if err != nil {
		t.Fatal(err)
	}
	u := &users{t: t, engine: e, table: table}
	u.change(func(b *storage.Batch) error { return table.AddUser(b, "root", cheapHash(t, "r"), false) })
	u.change(func(b *storage.Batch) error { return table.AddRole(b, "root") })
	u.change(func(b *storage.Batch) error { return table.GrantRole(b, "root", "root") })
	u.add("ann", "one")
	u.change(func(b *storage.Batch) error { return table.AddUser(b, "bob", nil, true) })
	u.change(func(b *storage.Batch) error { return table.AddUser(b, "eve", nil, false) })
	u.enable(testKey(1))
	return u
}

// testKey is one of many keys.
func testKey(n byte) []byte { return bytes.Repeat([]byte{n}, KeyBytes) }

func cheapHash(t testing.TB, password string) []byte {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (u *users) change(f func(b *storage.Batch) error) {
	u.t.Helper()
	b := u.engine.NewBatch()
	defer b.Close()
	if err := f(b); err != nil {
		u.t.Fatal(err)
	}
	if err := u.engine.Commit(b); err != nil {
		u.t.Fatal(err)
	}
	u.table.Publish()
}

func (u *users) add(name, password string) {
	u.t.Helper()
	u.change(func(b *storage.Batch) error { return u.table.AddUser(b, name, cheapHash(u.t, password), false) })
}

func (u *users) password(name, password string) {
	u.t.Helper()
	u.change(func(b *storage.Batch) error { return u.table.ChangePassword(b, name, cheapHash(u.t, password)) })
}

func (u *users) remove(name string) {
	u.t.Helper()
	u.change(func(b *storage.Batch) error { return u.table.DeleteUser(b, name) })
}

func (u *users) enable(key []byte) {
	u.t.Helper()
	u.change(func(b *storage.Batch) error { return u.table.Enable(b, key) })
}

func (u *users) disable() {
	u.t.Helper()
	u.change(u.table.Disable)
}

func (u *users) view() *auth.View { return u.table.View() }

func newAuthority(t testing.TB, o Options) *Authority {
	t.Helper()
	if o.Cost == 0 {
		o.Cost = bcrypt.MinCost
	}
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// login must work.
func login(t testing.TB, a *Authority, v *auth.View, user, password string) string {
	t.Helper()
	token, err := a.Login(t.Context(), v, user, password)
	if err != nil {
		t.Fatalf("login of %s: %v", user, err)
	}
	return token
}
