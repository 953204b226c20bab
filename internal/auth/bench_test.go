package auth

import (
	"fmt"
	"sync"
	"testing"
)

// crowd makes users, each with roles of its own that have permissions between them, and switches users on.
func crowd(t testing.TB, users, roles, permissions int) *world {
	w := newWorld(t)
	w.must(w.AddUser(w.b, "root", nil, true))
	w.must(w.GrantRole(w.b, "root", "root"))
	for u := range users {
		user := fmt.Sprint("user", u)
		w.must(w.AddUser(w.b, user, nil, true))
		for r := range roles {
			role := fmt.Sprint(user, "role", r)
			w.must(w.AddRole(w.b, role))
			w.must(w.GrantRole(w.b, user, role))
			for p := r; p < permissions; p += roles {
				key := fmt.Sprintf("/registry/%05d/", p)
				w.must(w.GrantPermission(w.b, role, Permission{Read: true, Write: true, Key: []byte(key), End: []byte(key + "\xff")}))
			}
		}
	}
	w.must(w.Enable(w.b, []byte("key")))
	w.publish()
	return w
}

func TestACheckAllocatesNothing(t *testing.T) {
	v := crowd(t, 1, 5, 50).View()
	by := Identity{User: "user0", Rev: v.Revision()}
	key, end, other := []byte("/registry/00030/x"), []byte("/registry/00030/y"), []byte("/registry/00030.")
	if n := testing.AllocsPerRun(100, func() {
		if v.CheckRange(by, Read, key, end) != nil || v.CheckRange(by, Write, key, nil) != nil ||
			v.CheckRange(by, Write, other, nil) == nil || v.CheckUser(by) != nil || v.CheckRoot(by) == nil {
			t.Error("wrong answer")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestChecksGoOnWhileRolesChange has many ask the published view and one change what they ask for. Each view must
// answer for itself, whatever was merged for another one meanwhile.
func TestChecksGoOnWhileRolesChange(t *testing.T) {
	w := crowd(t, 4, 2, 10)
	stop := make(chan struct{})
	var asking sync.WaitGroup
	defer asking.Wait()
	defer close(stop)
	for u := range 4 {
		asking.Go(func() {
			user := fmt.Sprint("user", u)
			for {
				select {
				case <-stop:
					return
				default:
				}
				v := w.View()
				role, _ := v.Role(user + "role0")
				want := len(role.Permissions) == 6
				got := v.CheckRange(Identity{user, v.Revision()}, Read, []byte("extra"), nil) == nil
				if got != want {
					t.Errorf("%s reads: %t, want %t", user, got, want)
					return
				}
			}
		})
	}
	for i := range 400 {
		role := fmt.Sprintf("user%drole0", i%4)
		if r, _ := w.Working().Role(role); len(r.Permissions) == 5 {
			w.must(w.GrantPermission(w.b, role, Permission{Read: true, Key: []byte("extra")}))
		} else {
			w.must(w.RevokePermission(w.b, role, []byte("extra"), nil))
		}
		// The applying goroutine asks what is not published yet, and so do the others what is.
		v := w.Working()
		r, _ := v.Role(role)
		user := fmt.Sprint("user", i%4)
		if got := v.CheckRange(Identity{user, v.Revision()}, Read, []byte("extra"), nil) == nil; got != (len(r.Permissions) == 6) {
			t.Fatalf("step %d: the group is answered %t", i, got)
		}
		if i%3 == 0 {
			w.publish()
		}
	}
}

func BenchmarkCheckRange(b *testing.B) {
	for _, c := range []struct{ users, roles, permissions int }{{1, 1, 1}, {1, 3, 30}, {100, 3, 30}, {1, 10, 5000}} {
		b.Run(fmt.Sprintf("%d users, %d roles, %d permissions", c.users, c.roles, c.permissions), func(b *testing.B) {
			v := crowd(b, c.users, c.roles, c.permissions).View()
			by := Identity{User: "user0", Rev: v.Revision()}
			key := fmt.Appendf(nil, "/registry/%05d/pod", c.permissions/2)
			if err := v.CheckRange(by, Write, key, nil); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				_ = v.CheckRange(by, Write, key, nil)
			}
		})
	}
}

// BenchmarkFirstCheck is what a change of a role costs each user's next check.
func BenchmarkFirstCheck(b *testing.B) {
	for _, permissions := range []int{30, 5000} {
		b.Run(fmt.Sprint(permissions, " permissions"), func(b *testing.B) {
			v := *crowd(b, 1, 10, permissions).View()
			by := Identity{User: "user0", Rev: v.Revision()}
			for b.Loop() {
				v.merger = newMerger(v.merger.version + 1)
				_ = v.CheckRange(by, Write, []byte("k"), nil)
			}
		})
	}
}

// BenchmarkChangeAmongManyUsers is a group that changes one user of a hundred thousand.
func BenchmarkChangeAmongManyUsers(b *testing.B) {
	w := crowd(b, 0, 0, 0)
	for u := range 100_000 {
		w.must(w.AddUser(w.b, fmt.Sprint("user", u), nil, true))
	}
	w.publish()
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		w.must(w.ChangePassword(w.b, fmt.Sprint("user", i%100_000), nil))
		w.publish()
	}
}
