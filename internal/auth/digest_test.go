package auth

import "testing"

// digestByTheBook sums everything up.
func digestByTheBook(v *View) (sum uint64) {
	for _, name := range v.Users() {
		u, _ := v.User(name)
		sum += userDigest(u)
	}
	for _, name := range v.Roles() {
		r, _ := v.Role(name)
		sum += roleDigest(r)
	}
	return sum
}

func TestADigestTellsEveryDifference(t *testing.T) {
	seen := map[uint64]string{}
	for what, sum := range map[string]uint64{
		"nobody":       0,
		"a user":       userDigest(&User{Name: "a", Epoch: 2}),
		"another name": userDigest(&User{Name: "b", Epoch: 2}),
		"a role":       roleDigest(&Role{Name: "a"}),
		"a password":   userDigest(&User{Name: "a", Epoch: 2, Hash: []byte("h")}),
		"of later":     userDigest(&User{Name: "a", Epoch: 3}),
		"none":         userDigest(&User{Name: "a", Epoch: 2, NoPassword: true}),
		"roles":        userDigest(&User{Name: "a", Epoch: 2, Roles: []string{"r"}}),
		"reads":        roleDigest(&Role{Name: "a", Permissions: []Permission{{Read: true, Key: []byte("k")}}}),
		"writes":       roleDigest(&Role{Name: "a", Permissions: []Permission{{Write: true, Key: []byte("k")}}}),
		"a range":      roleDigest(&Role{Name: "a", Permissions: []Permission{{Read: true, Key: []byte("k"), End: []byte("l")}}}),
	} {
		if other, ok := seen[sum]; ok {
			t.Errorf("%q has the digest of %q", what, other)
		}
		seen[sum] = what
	}
	// Members of other releases have the same.
	if got, want := userDigest(&User{Name: "a", Epoch: 2, Roles: []string{"r"}}), uint64(0x5569dd2323fba6bd); got != want {
		t.Errorf("the digest is %#x, want %#x", got, want)
	}
}
