// Package chores is a member's upkeep: work that must be done and for which nobody waits.
//
// Sweeper removes what compactions have made unreachable, a bounded number of keys at a time, so that a
// compaction costs what it removes and never stands in the way of a write. Cutter lets the raft log forget
// what the state machine holds durably, and has the state written out early when the log grows too long.
//
// # Goroutines
//
// None of its own: the server starts Run of each. Neither changes replicated state; a crash in the middle
// of either costs only the work to do it again.
package chores
