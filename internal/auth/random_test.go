package auth

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// change is one change, as the API's words for it.
type change struct {
	verb string
	a, b string // user and role, or what there is of it; the hash or key
	p    Permission
	nopw bool
}

func (c change) do(w *world) error {
	switch c.verb {
	case "enable":
		return w.Enable(w.b, []byte(c.b))
	case "disable":
		return w.Disable(w.b)
	case "user add":
		return w.AddUser(w.b, c.a, []byte(c.b), c.nopw)
	case "user del":
		return w.DeleteUser(w.b, c.a)
	case "user passwd":
		return w.ChangePassword(w.b, c.a, []byte(c.b))
	case "user grant":
		return w.GrantRole(w.b, c.a, c.b)
	case "user revoke":
		return w.RevokeRole(w.b, c.a, c.b)
	case "role add":
		return w.AddRole(w.b, c.a)
	case "role del":
		return w.DeleteRole(w.b, c.a)
	case "role grant":
		return w.GrantPermission(w.b, c.a, c.p)
	}
	return w.RevokePermission(w.b, c.a, c.p.Key, c.p.End)
}

// dice draws changes and questions over few names and keys, so that they meet.
type dice struct{ *rand.Rand }

func (d dice) pick(list ...string) string { return list[d.IntN(len(list))] }
func (d dice) user() string               { return d.pick("root", "root", "ann", "bob", "cid", "dan", "") }
func (d dice) role() string               { return d.pick("root", "x", "x", "y", "z", "") }

func (d dice) key() []byte {
	key := make([]byte, 1+d.IntN(2))
	for i := range key {
		key[i] = "\x00abc\xff"[d.IntN(5)]
	}
	if d.IntN(20) == 0 {
		return nil
	}
	return key
}

// span draws a range, in wire form, of every kind; some are none.
func (d dice) span() (key, end []byte) {
	key = d.key()
	switch d.IntN(8) {
	case 0:
		return key, []byte{0}
	case 1, 2:
		return key, nil
	case 3:
		return []byte{0}, []byte{0}
	}
	end = d.key()
	if d.IntN(4) > 0 && bytes.Compare(key, end) > 0 {
		return end, key
	}
	return key, end
}

func (d dice) change() change {
	c := change{p: Permission{Read: d.IntN(3) > 0, Write: d.IntN(2) > 0}}
	if !c.p.Write {
		c.p.Read = true
	}
	c.p.Key, c.p.End = d.span()
	c.verb = d.pick("enable", "enable", "disable", "user add", "user add", "user del", "user passwd", "user grant", "user grant", "user grant",
		"user revoke", "role add", "role add", "role del", "role grant", "role grant", "role grant", "role grant", "role revoke")
	switch c.verb {
	case "role add", "role del", "role grant", "role revoke":
		c.a = d.role()
	case "user grant", "user revoke":
		c.a, c.b = d.user(), d.role()
	default:
		c.a, c.b, c.nopw = d.user(), d.pick("p", "q", ""), d.IntN(5) == 0
	}
	return c
}

// plain is what the table should be, written down in the plainest way.
type plain struct {
	on    bool
	rev   uint64
	key   string
	users map[string]User
	roles map[string][]Permission
}

func (m *plain) do(c change) error {
	guarded := m.on && c.a == "root"
	u, hasUser := m.users[c.a]
	switch c.verb {
	case "enable":
		return m.enable(c.b)
	case "disable":
		if m.on {
			m.on, m.key = false, ""
			m.rev++
		}
		return nil
	case "user add":
		if c.a == "" {
			return ErrUserEmpty
		}
		if hasUser {
			return ErrUserExists
		}
		m.rev++
		m.password(User{Name: c.a, NoPassword: c.nopw}, c.b)
		return nil
	case "user del":
		if guarded {
			return ErrInvalidManagement
		}
		if !hasUser {
			return ErrUserNotFound
		}
		delete(m.users, c.a)
	case "user passwd":
		if !hasUser {
			return ErrUserNotFound
		}
		m.rev++
		m.password(u, c.b)
		return nil
	case "user grant":
		_, hasRole := m.roles[c.b]
		switch {
		case !hasUser:
			return ErrUserNotFound
		case !hasRole && c.b != "root":
			return ErrRoleNotFound
		case slices.Contains(u.Roles, c.b):
			return nil
		}
		u.Roles = append(slices.Clone(u.Roles), c.b)
		slices.Sort(u.Roles)
		m.users[c.a] = u
	case "user revoke":
		switch {
		case guarded && c.b == "root":
			return ErrInvalidManagement
		case !hasUser:
			return ErrUserNotFound
		case !slices.Contains(u.Roles, c.b):
			return ErrRoleNotGranted
		}
		m.drop(c.a, c.b)
	default:
		return m.doRole(c, guarded)
	}
	m.rev++
	return nil
}

func (m *plain) doRole(c change, guarded bool) error {
	list, has := m.roles[c.a]
	at := slices.IndexFunc(list, func(p Permission) bool { return bytes.Equal(p.Key, c.p.Key) && bytes.Equal(p.End, c.p.End) })
	list = slices.Clone(list)
	key, end := string(c.p.Key), string(c.p.End)
	switch {
	case c.verb == "role add" && c.a == "":
		return ErrRoleEmpty
	case c.verb == "role add" && has:
		return ErrRoleExists
	case c.verb == "role del" && guarded:
		return ErrInvalidManagement
	case c.verb == "role grant" && (key == "" || end != "" && end != "\x00" && end <= key):
		return ErrInvalidManagement
	case c.verb != "role add" && !has:
		return ErrRoleNotFound
	case c.verb == "role revoke" && at < 0:
		return ErrPermissionNotGranted
	case c.verb == "role del":
		for name := range m.users {
			m.drop(name, c.a)
		}
		delete(m.roles, c.a)
		m.rev++
		return nil
	case c.verb == "role revoke":
		list = slices.Delete(list, at, at+1)
	case c.verb == "role grant" && at >= 0:
		list[at] = c.p
	case c.verb == "role grant":
		list = append(list, c.p)
		slices.SortStableFunc(list, func(a, b Permission) int { return bytes.Compare(a.Key, b.Key) })
	}
	m.roles[c.a] = list
	m.rev++
	return nil
}

func (m *plain) enable(key string) error {
	root, ok := m.users["root"]
	switch {
	case m.on:
	case !ok:
		return ErrRootUserNotExist
	case !slices.Contains(root.Roles, "root"):
		return ErrRootRoleNotExist
	default:
		m.on, m.key = true, key
	}
	return nil
}

func (m *plain) password(u User, hash string) {
	u.Epoch, u.Hash = m.rev, []byte(hash)
	if u.NoPassword {
		u.Hash = nil
	}
	m.users[u.Name] = u
}

func (m *plain) drop(user, role string) {
	u := m.users[user]
	u.Roles = slices.DeleteFunc(slices.Clone(u.Roles), func(r string) bool { return r == role })
	m.users[user] = u
}

// view writes the model down as a view, of which only the telling parts are used.
func (m *plain) view() *View {
	v := &View{enabled: m.on, rev: m.rev, key: []byte(m.key)}
	v.users.base, v.roles.base = map[string]*account{}, map[string]*Role{}
	for name, u := range m.users {
		v.users.base[name] = &account{User: u}
	}
	for name, list := range m.roles {
		v.roles.base[name] = &Role{Name: name, Permissions: list}
	}
	return v
}

// may answers a question for a range by asking for one key after the other. Between two neighbours among all
// bounds that are named anywhere, all keys fare alike, so the bounds themselves are keys enough.
func (m *plain) may(user string, a Access, key, end []byte) error {
	u, ok := m.users[user]
	switch {
	case !m.on:
		return nil
	case user == "":
		return ErrUserEmpty
	case !ok:
		return ErrPermissionDenied
	case slices.Contains(u.Roles, "root"):
		return nil
	}
	var granted []Permission
	for _, role := range u.Roles {
		for _, p := range m.roles[role] {
			if a == Read && p.Read || a == Write && p.Write {
				granted = append(granted, p)
			}
		}
	}
	if len(key) == 0 {
		key = []byte{0}
	}
	asked := map[string]bool{string(key): true}
	for _, p := range granted {
		for _, bound := range []string{string(p.Key), string(p.Key) + "\x00", string(p.End)} {
			if bound != "" && inside(bound, key, end) {
				asked[bound] = true
			}
		}
	}
	for k := range asked {
		if !slices.ContainsFunc(granted, func(p Permission) bool { return inside(k, p.Key, p.End) }) {
			return ErrPermissionDenied
		}
	}
	return nil
}

// inside reports whether a key lies in a range in wire form.
func inside(k string, key, end []byte) bool {
	switch string(end) {
	case "":
		return k == string(key)
	case "\x00":
		return k >= string(key)
	}
	return k >= string(key) && k < string(end)
}

// TestRandomChangesAndQuestions holds the table against the model: each verdict, each answer, all that is told, what
// is published meanwhile, and what comes back from the rows.
func TestRandomChangesAndQuestions(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			d := dice{rand.New(rand.NewPCG(seed, 1))}
			w := newWorld(t)
			m := &plain{rev: 1, users: map[string]User{}, roles: map[string][]Permission{}}
			published := render(w.View())
			for step := range 400 {
				c := d.change()
				got, want := c.do(w), m.do(c)
				if !errors.Is(got, want) {
					t.Fatalf("step %d: %+v: %v, want %v", step, c, got, want)
				}
				if got, want := render(w.Working()), render(m.view()); got != want {
					t.Fatalf("step %d: %+v:\n%s\nwant\n%s", step, c, got, want)
				}
				if got, want := w.Working().Digest(), digestByTheBook(w.Working()); got != want {
					t.Fatalf("step %d: %+v: the digest is %x, want %x", step, c, got, want)
				}
				if got := render(w.View()); got != published {
					t.Fatalf("step %d: %+v shows before it is published:\n%s", step, c, got)
				}
				for range 5 {
					ask(t, d, w.Working(), m)
				}
				switch d.IntN(12) {
				case 0:
					w.publish()
					w.reopen()
					published = render(w.View())
				case 1, 2, 3:
					w.publish()
					published = render(w.View())
					ask(t, d, w.View(), m)
				}
			}
		})
	}
}

func ask(t *testing.T, d dice, v *View, m *plain) {
	t.Helper()
	user, access := d.user(), Access(d.IntN(2))
	key, end := d.span()
	got, want := v.CheckRange(Identity{User: user, Rev: v.Revision()}, access, key, end), m.may(user, access, key, end)
	if !errors.Is(got, want) {
		t.Fatalf("may %q (access %d) %q..%q: %v, want %v of\n%s", user, access, key, end, got, want, render(v))
	}
}

// TestManyPermissionsAgainstTheModel asks a user whose roles have permissions by the hundred, for ranges that touch,
// overlap and lie apart.
func TestManyPermissionsAgainstTheModel(t *testing.T) {
	for seed := range uint64(8) {
		d := dice{rand.New(rand.NewPCG(seed, 2))}
		w := newWorld(t)
		m := &plain{rev: 1, users: map[string]User{}, roles: map[string][]Permission{}}
		do := func(c change) {
			t.Helper()
			if got, want := c.do(w), m.do(c); !errors.Is(got, want) {
				t.Fatalf("seed %d: %+v: %v, want %v", seed, c, got, want)
			}
		}
		short := func(wide int) (key, end []byte) {
			at := d.IntN(900)
			key = fmt.Appendf(nil, "%03d", at)
			if wide := d.IntN(wide); wide > 0 {
				end = fmt.Appendf(nil, "%03d", at+wide)
			}
			return key, end
		}
		do(change{verb: "user add", a: "root"})
		do(change{verb: "user add", a: "ann"})
		do(change{verb: "user grant", a: "root", b: "root"})
		do(change{verb: "enable", b: "k"})
		for i := range 6 {
			role := fmt.Sprint("r", i)
			do(change{verb: "role add", a: role})
			do(change{verb: "user grant", a: "ann", b: role})
			for range 60 {
				p := Permission{Read: true, Write: d.IntN(3) > 0}
				p.Key, p.End = short(8)
				do(change{verb: "role grant", a: role, p: p})
			}
		}
		allowed := 0
		for range 2000 {
			key, end := short(6)
			if d.IntN(10) == 0 {
				_, end = short(6)
			}
			access := Access(d.IntN(2))
			got, want := w.Working().CheckRange(Identity{"ann", 1 << 40}, access, key, end), m.may("ann", access, key, end)
			if !errors.Is(got, want) {
				t.Fatalf("seed %d: may ann (access %d) %q..%q: %v, want %v", seed, access, key, end, got, want)
			}
			if got == nil {
				allowed++
			}
		}
		if allowed < 500 || allowed > 1800 {
			t.Errorf("seed %d: %d of 2000 questions are allowed: the dice ask too little", seed, allowed)
		}
	}
}

// TestManyNamesAreKeptInLayers goes over the size at which what is recent becomes part of the base, and removes.
func TestManyNamesAreKeptInLayers(t *testing.T) {
	w := newWorld(t)
	want := map[string]bool{}
	d := dice{rand.New(rand.NewPCG(3, 3))}
	for i := range 4 * maxRecent {
		name := fmt.Sprint("user", d.IntN(3*maxRecent))
		if want[name] {
			w.must(w.DeleteUser(w.b, name))
			delete(want, name)
		} else {
			w.must(w.AddUser(w.b, name, nil, true))
			want[name] = true
		}
		if i%100 == 0 {
			w.publish()
		}
		if _, ok := w.Working().User(name); ok != want[name] {
			t.Fatalf("step %d: user %s is there: %t", i, name, ok)
		}
	}
	w.publish()
	for range 2 {
		if got := w.View().Users(); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
			t.Fatalf("%d users, want %d: %s", len(got), len(want), strings.Join(got, " "))
		}
		w.reopen()
	}
}
