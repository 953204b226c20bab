package token

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/keelson-db/keelson/internal/storage"
)

func TestLoginsAnswers(t *testing.T) {
	u := newUsers(t)
	a := newAuthority(t, simpleOptions(0))
	full := strings.Repeat("p", maxPasswordBytes)
	u.add("max", full)
	for range 2 { // the second time what can be remembered is
		for _, c := range []struct {
			user, password string
			want           error
		}{
			{"ann", "one", nil},
			{"ann", "two", ErrFailed},
			{"ann", "", ErrFailed},
			{"ann", "one\x00", ErrFailed},
			{"root", "one", ErrFailed},
			{"", "", ErrFailed},
			{"nobody", "one", ErrFailed},
			{"bob", "", ErrNoPassword},
			{"bob", "x", ErrNoPassword},
			{"eve", "", ErrFailed},
			{"eve", "x", ErrFailed},
			{"max", full, nil},
			{"max", full[1:], ErrFailed},
			{"max", full + " bcrypt reads no further", nil},
			{"nobody", strings.Repeat("x", 1<<20), ErrFailed},
		} {
			token, err := a.Login(t.Context(), u.view(), c.user, c.password)
			if !errors.Is(err, c.want) || (err == nil) != (token != "") {
				t.Errorf("%.8s, %.8s: %q, %v; want %v", c.user, c.password, token, err, c.want)
			}
		}
	}
	if n := a.passwords.good.size(); n != 2 {
		t.Errorf("%d passwords are remembered, want the 2 good ones", n)
	}
}

func TestAnOldPasswordIsForgottenAtOnce(t *testing.T) {
	u := newUsers(t)
	a := newAuthority(t, simpleOptions(0))
	login(t, a, u.view(), "ann", "one")
	u.password("ann", "two")
	if _, err := a.Login(t.Context(), u.view(), "ann", "one"); !errors.Is(err, ErrFailed) {
		t.Errorf("the old password says %v", err)
	}
	login(t, a, u.view(), "ann", "two")
	// A user who got the hash of another did not get their mark.
	ann, _ := u.view().User("ann")
	u.change(func(b *storage.Batch) error { return u.table.AddUser(b, "tom", ann.Hash, false) })
	u.remove("ann")
	if _, err := a.Login(t.Context(), u.view(), "ann", "two"); !errors.Is(err, ErrFailed) {
		t.Errorf("a deleted user says %v", err)
	}
}

func TestGuessingPushesNothingOut(t *testing.T) {
	u := newUsers(t)
	a := newAuthority(t, simpleOptions(0))
	login(t, a, u.view(), "ann", "one")
	for i := range 200 {
		_, _ = a.Login(t.Context(), u.view(), "ann", fmt.Sprint("guess ", i))
		_, _ = a.Login(t.Context(), u.view(), fmt.Sprint("name ", i), "one")
	}
	if a.passwords.good.size() != 1 || len(a.passwords.running) != 0 {
		t.Errorf("%d good, %d running", a.passwords.good.size(), len(a.passwords.running))
	}
	if n := testing.AllocsPerRun(10, func() { login(t, a, u.view(), "ann", "one") }); n > 40 {
		t.Errorf("%v allocations: bcrypt ran", n)
	}
}

func TestTheDummyIsAHashOfTheRightCost(t *testing.T) {
	for cost := bcrypt.MinCost; cost <= bcrypt.MaxCost; cost++ {
		if got, err := bcrypt.Cost(dummyHash(cost)); err != nil || got != cost {
			t.Errorf("cost %d reads as %d, %v", cost, got, err)
		}
	}
	if err := bcrypt.CompareHashAndPassword(dummyHash(bcrypt.MinCost), []byte("x")); !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		t.Errorf("bcrypt does not work on it: %v", err)
	}
}

// TestADearHashHoldsUpNobody has a user whose hash takes days to be compared, as one that was moved here may.
func TestADearHashHoldsUpNobody(t *testing.T) {
	u := newUsers(t)
	a := newAuthority(t, simpleOptions(0))
	dear := []byte(strings.Replace(string(cheapHash(t, "x")), "$04$", "$31$", 1))
	u.change(func(b *storage.Batch) error { return u.table.AddUser(b, "dear", dear, false) })
	answers := make(chan error, 1)
	go func() {
		_, err := a.Login(t.Context(), u.view(), "dear", "x")
		answers <- err
	}()
	select {
	case err := <-answers:
		if !errors.Is(err, ErrFailed) {
			t.Errorf("the login says %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("bcrypt is at work")
	}
	login(t, a, u.view(), "ann", "one")
	for own, want := range map[int]bool{bcrypt.MinCost: true, maxHashCost: true, 31: false} {
		if got := (&passwords{cost: own}).tooDear(dear); got != want {
			t.Errorf("where new hashes cost %d, 31 is too dear: %t", own, got)
		}
	}
	if a.passwords.tooDear(cheapHash(t, "x")) || a.passwords.tooDear([]byte("no hash")) {
		t.Error("what costs nothing is too dear")
	}
}

func TestHashes(t *testing.T) {
	for cost, want := range map[int]int{-1: 10, 0: 10, 3: 10, 4: 4, 5: 5, 31: 31, 32: 10} {
		if got := newPasswords(cost).cost; got != want {
			t.Errorf("cost %d is taken as %d, want %d", cost, got, want)
		}
	}
	a := newAuthority(t, simpleOptions(0))
	for _, password := range []string{"", "one", strings.Repeat("x", maxPasswordBytes)} {
		h, err := a.Hash(t.Context(), password)
		if err != nil || bcrypt.CompareHashAndPassword(h, []byte(password)) != nil {
			t.Errorf("%q: %q, %v", password, h, err)
		}
	}
	const want = "bcrypt: password length exceeds 72 bytes"
	if _, err := a.Hash(t.Context(), strings.Repeat("x", maxPasswordBytes+1)); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Hash(gone, "one"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v for a caller who is gone", err)
	}
}

func TestTheQueueForBcryptIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns()
		for range cap(turns.slots) {
			if err := turns.take(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		ctx, leave := context.WithCancel(t.Context())
		var left atomic.Int64
		for range maxWaiting {
			go func() {
				if errors.Is(turns.take(ctx), context.Canceled) {
					left.Add(1)
				}
			}()
		}
		synctest.Wait()
		if err := turns.take(t.Context()); !errors.Is(err, ErrBusy) {
			t.Errorf("one more than can wait: %v", err)
		}
		leave()
		synctest.Wait()
		if left.Load() != maxWaiting || turns.waiting.Load() != 0 {
			t.Errorf("%d left, %d wait", left.Load(), turns.waiting.Load())
		}
		turns.give()
		if err := turns.take(t.Context()); err != nil {
			t.Errorf("a turn is free: %v", err)
		}
	})
}

func TestTheSameLoginsShareOneBcrypt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPasswords(bcrypt.MinCost)
		var ran, failed atomic.Int64
		var all sync.WaitGroup
		m := p.mark("ann", nil, "x")
		for range 100 {
			all.Go(func() {
				if errors.Is(p.once(t.Context(), m, func() error {
					time.Sleep(time.Second)
					ran.Add(1)
					return ErrFailed
				}), ErrFailed) {
					failed.Add(1)
				}
			})
		}
		all.Wait()
		if ran.Load() != 1 || failed.Load() != 100 {
			t.Errorf("bcrypt ran %d times for %d failures", ran.Load(), failed.Load())
		}
	})
}

func TestWhatWasJustVerifiedIsNotVerifiedAgain(t *testing.T) {
	p := newPasswords(bcrypt.MinCost)
	m := p.mark("ann", nil, "x")
	p.good.put(m.sum(), m, struct{}{}) // by another login, after this one looked
	if err := p.once(t.Context(), m, func() error { return ErrFailed }); err != nil {
		t.Errorf("bcrypt ran: %v", err)
	}
}

func TestACheckThatBreaksLetsNobodyIn(t *testing.T) {
	p := newPasswords(bcrypt.MinCost)
	c := &check{done: make(chan struct{})}
	func() {
		defer func() { _ = recover() }()
		p.lead(t.Context(), p.mark("ann", nil, "x"), c, func() error { panic("broken") })
	}()
	<-c.done
	if !errors.Is(c.err, ErrFailed) || len(p.turns.slots) != 0 {
		t.Errorf("who waited is told %v, %d turns are taken", c.err, len(p.turns.slots))
	}
}

// TestNamesCannotBeProbedByTime asks for the least of several times, which a busy machine does not change much.
func TestNamesCannotBeProbedByTime(t *testing.T) {
	u := newUsers(t)
	a := newAuthority(t, simpleOptions(0))
	least := func(user string) time.Duration {
		best := time.Hour
		for range 5 {
			start := time.Now()
			_, _ = a.Login(t.Context(), u.view(), user, "wrong")
			best = min(best, time.Since(start))
		}
		return best
	}
	known := least("ann")
	for _, user := range []string{"nobody", "eve", ""} {
		if took := least(user); took < known/4 {
			t.Errorf("%q takes %v, a known user %v", user, took, known)
		}
	}
}

// TestWhoWaitsOutlivesTheOneWaitedFor lets the first of several give up in the queue.
func TestWhoWaitsOutlivesTheOneWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPasswords(bcrypt.MinCost)
		for range cap(p.turns.slots) {
			_ = p.turns.take(t.Context())
		}
		m := p.mark("ann", nil, "x")
		compare := func() error { return nil }
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var first, second, third error
		var all sync.WaitGroup
		all.Go(func() { first = p.once(short, m, compare) })
		synctest.Wait()
		all.Go(func() { second = p.once(t.Context(), m, compare) })
		all.Go(func() { third = p.once(short, m, compare) })
		time.Sleep(2 * time.Second)
		p.turns.give()
		all.Wait()
		if !errors.Is(first, context.DeadlineExceeded) || second != nil || !errors.Is(third, context.DeadlineExceeded) {
			t.Errorf("%v, %v, %v", first, second, third)
		}
	})
}

func TestMarksTellEverythingApart(t *testing.T) {
	p, other := newPasswords(4), newPasswords(4)
	seen := map[mark]string{}
	for _, c := range [][3]string{{"a", "b", "c"}, {"ab", "", "c"}, {"", "ab", "c"}, {"a", "bc", ""}, {"", "", "abc"}, {"a", "", "bc"}} {
		for who, p := range map[string]*passwords{"one": p, "other": other} {
			m := p.mark(c[0], []byte(c[1]), c[2])
			if was := seen[m]; was != "" {
				t.Errorf("%q and %s have one mark", c, was)
			}
			seen[m] = fmt.Sprintf("%q of %s", c, who)
		}
	}
	if seen[p.mark("a", []byte("b"), "c")] == "" {
		t.Error("the same asked again has another mark")
	}
}

func TestManyLoginsAtOnce(t *testing.T) {
	u := newUsers(t)
	a := newAuthority(t, simpleOptions(0))
	v := u.view()
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			for range 20 {
				name, password, want := "ann", "one", error(nil)
				if i%4 == 0 {
					name, password, want = "nobody", fmt.Sprint(i), ErrFailed
				}
				token, err := a.Login(t.Context(), v, name, password)
				if !errors.Is(err, want) {
					t.Errorf("%s: %v, want %v", name, err, want)
				}
				if err == nil {
					good(t, a, v, token, name, "just logged in")
				}
			}
		})
	}
	all.Wait()
}
