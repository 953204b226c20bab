// Package token finds out who is asking: it checks passwords, gives out tokens and recognises them.
//
// Who the users are and what their passwords' hashes are is replicated truth and comes with an auth.View; what is kept
// here are memories that make asking again cheap. Losing all of them costs time and never lets anybody in. ADR 9
// says why tokens are signed instead of remembered.
//
// # Goroutines
//
// None. An Authority may be used from anywhere. A login runs bcrypt on its caller's goroutine, a few at a time
// (turns.go); memories are purged by those who add to them (memory.go).
//
// # Invariants
//
//   - A password is remembered only after bcrypt said yes, as a MAC over user, stored hash and password under a
//     key that exists in this process alone. A changed hash gives another MAC, so an entry dies with its hash.
//   - A failed login leaves nothing behind, so guessing cannot push out what is remembered.
//   - A simple token is recognised only under the key, and the user's epoch, of the view that is asked; what
//     is remembered about a token is never asked before both were compared.
//   - A JWT is verified with the configured method alone; a remembered one is good until its own expiry.
//   - An unknown user costs the same bcrypt as a wrong password.
//
// # Limits
//
// See limits.go. Who finds the queue for bcrypt full gets ErrBusy; what exceeds a memory pushes out what was not used for
// longest: a token that was pushed out counts from its issue again, a password meets bcrypt again.
package token
