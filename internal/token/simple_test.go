package token

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-db/keelson/internal/auth"
	"github.com/keelson-db/keelson/internal/storage"
)

// good and bad check a token in a view.
func good(t *testing.T, a *Authority, v *auth.View, token, user, why string) {
	t.Helper()
	if id, err := a.Identify(v, token); err != nil || id.User != user || id.Rev != v.Revision() {
		t.Errorf("%s: %+v, %v; want %s at revision %d", why, id, err, user, v.Revision())
	}
}

func bad(t *testing.T, a *Authority, v *auth.View, token, why string) {
	t.Helper()
	if id, err := a.Identify(v, token); !errors.Is(err, ErrInvalid) || id != (auth.Identity{}) {
		t.Errorf("%s: %+v, %v; want %v", why, id, err, ErrInvalid)
	}
}

func simpleOptions(ttl time.Duration) Options { return Options{Spec: "simple", SimpleTTL: ttl} }

func TestATokenIsGoodOnEveryMemberAndAfterARestart(t *testing.T) {
	u := newUsers(t)
	token := login(t, newAuthority(t, simpleOptions(0)), u.view(), "ann", "one")
	for range 2 {
		other := newAuthority(t, simpleOptions(0))
		good(t, other, u.view(), token, "ann", "first seen")
		good(t, other, u.view(), token, "ann", "remembered")
	}
}

func TestTwoLoginsGiveTwoTokens(t *testing.T) {
	u := newUsers(t)
	a := newAuthority(t, simpleOptions(0))
	synctest.Test(t, func(t *testing.T) { // time stands still
		first, second := login(t, a, u.view(), "ann", "one"), login(t, a, u.view(), "ann", "one")
		if first == second {
			t.Error("the tokens are the same")
		}
	})
}

func TestATokenDiesWithWhatItWasMadeUnder(t *testing.T) {
	for name, end := range map[string]func(u *users){
		"password changed":         func(u *users) { u.password("ann", "two") },
		"same password set again":  func(u *users) { u.password("ann", "one") },
		"user deleted":             func(u *users) { u.remove("ann") },
		"user deleted and added":   func(u *users) { u.remove("ann"); u.add("ann", "one") },
		"users off":                func(u *users) { u.disable() },
		"users off and on again":   func(u *users) { u.disable(); u.enable(testKey(2)) },
		"users off, on, off again": func(u *users) { u.disable(); u.enable(testKey(2)); u.disable() },
	} {
		u := newUsers(t)
		a, idle := newAuthority(t, simpleOptions(0)), newAuthority(t, simpleOptions(0))
		before := u.view()
		token := login(t, a, before, "ann", "one")
		good(t, a, before, token, "ann", name)
		end(u)
		bad(t, a, u.view(), token, name+", remembered")
		bad(t, idle, u.view(), token, name+", never seen")
		good(t, a, before, token, "ann", name+": the older view still has it")
		bad(t, a, u.view(), token, name+", asked again")
	}
}

func TestATokenSurvivesWhatDoesNotConcernIt(t *testing.T) {
	u := newUsers(t)
	a := newAuthority(t, simpleOptions(0))
	token := login(t, a, u.view(), "ann", "one")
	was := u.view().Revision()
	u.password("root", "s")
	u.add("tom", "t")
	u.change(func(b *storage.Batch) error { return u.table.GrantRole(b, "ann", "root") })
	good(t, a, u.view(), token, "ann", "after changes of others")
	if u.view().Revision() <= was {
		t.Error("the revision stood still, so nothing was tested")
	}
}

func TestATokensTimeSlides(t *testing.T) {
	u := newUsers(t)
	v := u.view()
	synctest.Test(t, func(t *testing.T) {
		const ttl = 300 * time.Second
		a, idle := newAuthority(t, simpleOptions(ttl)), newAuthority(t, simpleOptions(ttl))
		token, unused := login(t, a, v, "ann", "one"), login(t, a, v, "ann", "one")
		good(t, a, v, token, "ann", "fresh")
		for range 20 {
			time.Sleep(ttl - time.Second)
			good(t, a, v, token, "ann", "used within its time")
			good(t, a, v, token, "ann", "and at once again")
		}
		bad(t, a, v, unused, "never used")
		bad(t, idle, v, token, "used on another member only, and older than its time")
		time.Sleep(ttl + time.Second)
		bad(t, a, v, token, "unused for longer than its time")
		bad(t, a, v, token, "asking does not wake it")
		time.Sleep(time.Hour)
		bad(t, a, v, token, "an hour later")
	})
}

func TestAnUnusedTokenLivesFromItsIssue(t *testing.T) {
	u := newUsers(t)
	v := u.view()
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, simpleOptions(time.Minute))
		token := login(t, a, v, "ann", "one")
		time.Sleep(time.Minute)
		good(t, a, v, token, "ann", "on its last moment")
		late := login(t, a, v, "ann", "one")
		time.Sleep(time.Minute + 1)
		bad(t, a, v, late, "a moment later")
	})
}

func TestATokenOfAMemberWhoseClockIsAheadIsGood(t *testing.T) {
	u := newUsers(t)
	v := u.view()
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, simpleOptions(time.Minute))
		ann, _ := v.User("ann")
		ahead := func(by time.Duration) string {
			return claim{issued: time.Now().Add(by).UnixNano(), epoch: ann.Epoch, user: "ann"}.encode(v.Key())
		}
		good(t, a, v, ahead(time.Minute), "ann", "a life ahead")
		bad(t, a, v, ahead(time.Minute+1), "more than a life ahead")
		bad(t, a, v, ahead(time.Duration(1<<62)), "in another age")
	})
}

func TestANameThatFillsATokenIsRefused(t *testing.T) {
	u := newUsers(t)
	a := newAuthority(t, simpleOptions(0))
	long := strings.Repeat("n", maxTokenBytes)
	u.add(long, "l")
	if _, err := a.Login(t.Context(), u.view(), long, "l"); !errors.Is(err, errNameTooLong) {
		t.Errorf("%v, want %v", err, errNameTooLong)
	}
	name := strings.Repeat("n", maxTokenBytes/2)
	u.add(name, "l")
	good(t, a, u.view(), login(t, a, u.view(), name, "l"), name, "a long name")
}

func TestWithUsersOffNobodyGetsAToken(t *testing.T) {
	u := newUsers(t)
	a := newAuthority(t, simpleOptions(0))
	u.disable()
	if _, err := a.Login(t.Context(), u.view(), "ann", "one"); err == nil {
		t.Error("a token was signed with no key")
	}
}

func TestUsedTokensAreForgottenInTime(t *testing.T) {
	u := newUsers(t)
	v := u.view()
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, simpleOptions(time.Minute))
		s := a.tokens.(*simple)
		for range 40 {
			for range 50 {
				good(t, a, v, login(t, a, v, "ann", "one"), "ann", "fresh")
			}
			time.Sleep(time.Minute)
		}
		// Logins of some three periods at most, of the forty that there were.
		if n := s.used.size(); n > 4*50+2*memoryShards {
			t.Errorf("%d tokens are remembered", n)
		}
	})
}

func TestTheWayOfEveryRequestAllocatesNothing(t *testing.T) {
	u := newUsers(t)
	v := u.view()
	for _, spec := range []string{"simple", newKeyFiles(t).spec("sign-method=EdDSA,priv-key=ed.key")} {
		a := newAuthority(t, Options{Spec: spec})
		token := login(t, a, v, "ann", "one")
		good(t, a, v, token, "ann", "fresh")
		if n := testing.AllocsPerRun(1000, func() { _, _ = a.Identify(v, token) }); n != 0 {
			t.Errorf("%s: %v allocations", spec, n)
		}
	}
}
