package token

import (
	"fmt"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// BenchmarkIdentify is what every request pays.
func BenchmarkIdentify(b *testing.B) {
	u, k := newUsers(b), newKeyFiles(b)
	v := u.view()
	for _, c := range []struct{ name, spec string }{
		{"simple", "simple"},
		{"jwt", k.spec("sign-method=RS256,priv-key=rsa.key")},
	} {
		a := newAuthority(b, Options{Spec: c.spec})
		token := login(b, a, v, "ann", "one")
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.Identify(v, token); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"/parallel", func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_, _ = a.Identify(v, token)
				}
			})
		})
	}
}

// BenchmarkIdentifyOfMany has as many tokens as a large cluster has clients.
func BenchmarkIdentifyOfMany(b *testing.B) {
	u := newUsers(b)
	v := u.view()
	a := newAuthority(b, Options{Spec: "simple"})
	tokens := make([]string, 10_000)
	for i := range tokens {
		tokens[i] = login(b, a, v, "ann", "one")
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := a.Identify(v, tokens[i%len(tokens)]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIdentifyUnknown is what a hostile or forgotten token costs.
func BenchmarkIdentifyUnknown(b *testing.B) {
	u, k := newUsers(b), newKeyFiles(b)
	v := u.view()
	ann, _ := v.User("ann")
	simple := newAuthority(b, Options{Spec: "simple"})
	rs := newAuthority(b, Options{Spec: k.spec("sign-method=RS256,priv-key=rsa.key")})
	other := newAuthority(b, Options{Spec: k.spec("sign-method=RS256,priv-key=rsa2.key")})
	forged := claim{epoch: ann.Epoch, user: "ann"}.encode(testKey(9))
	stranger := login(b, other, v, "ann", "one")
	b.Run("simple", func(b *testing.B) {
		for b.Loop() {
			_, _ = simple.Identify(v, forged)
		}
	})
	b.Run("jwt", func(b *testing.B) {
		for b.Loop() {
			_, _ = rs.Identify(v, stranger)
		}
	})
}

// BenchmarkLogin is what a login costs whose password is remembered.
func BenchmarkLogin(b *testing.B) {
	u, k := newUsers(b), newKeyFiles(b)
	v := u.view()
	for _, c := range []struct{ name, spec string }{
		{"simple", "simple"},
		{"jwt", k.spec("sign-method=RS256,priv-key=rsa.key")},
	} {
		a := newAuthority(b, Options{Spec: c.spec})
		login(b, a, v, "ann", "one")
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				login(b, a, v, "ann", "one")
			}
		})
	}
	b.Run("wrong", func(b *testing.B) {
		a := newAuthority(b, Options{Spec: "simple", Cost: bcrypt.DefaultCost})
		for b.Loop() {
			_, _ = a.Login(b.Context(), v, "nobody", "one")
		}
	})
}

// BenchmarkLoginOfMany has many users log in from all cores.
func BenchmarkLoginOfMany(b *testing.B) {
	u := newUsers(b)
	a := newAuthority(b, Options{Spec: "simple"})
	names := make([]string, 500)
	for i := range names {
		names[i] = fmt.Sprint("user", i)
		u.add(names[i], "one")
		login(b, a, u.view(), names[i], "one")
	}
	v := u.view()
	var next atomic.Int64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, _ = a.Login(b.Context(), v, names[int(next.Add(1))%len(names)], "one")
		}
	})
}
