// Package invariant states what must be true for the program to go on.
//
// A broken invariant means that the program no longer knows what it is doing. A
// member that crashes heals: it restarts from its disk or catches up from its
// peers. A member that carries on wrongly spreads the damage. So the checks stand
// in production too, and they are only for what the code itself promises: bad
// input, a full disk or a lost peer are errors and are returned.
//
// The package starts no goroutines, holds no state and has no limits.
package invariant

// Check panics with why unless ok holds. The sentence says what should have been
// true, so that the person who reads the crash knows which promise was broken. It
// is a plain string, because a check must cost nothing while it holds.
func Check(ok bool, why string) {
	if !ok {
		panic("invariant broken: " + why)
	}
}
