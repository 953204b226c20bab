// Package auth keeps users and roles, and decides who may touch which range.
//
// Who is asking was found out elsewhere, in room token; here a name is taken as proven.
//
// # Goroutines
//
// None. One goroutine, the one that applies the log, changes the table; Publish makes a group's changes visible.
// A View is immutable and may be used from anywhere.
//
// # Invariants
//
// The auth revision grows with every change that could make an answer wrong that was given before.
package auth
