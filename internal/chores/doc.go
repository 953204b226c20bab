// Package chores is a member's upkeep: work that must be done and for which nobody waits.
//
// Sweeper removes what compactions have made unreachable, a bounded number of keys at a time, so that a
// compaction costs what it removes and never stands in the way of a write. Cutter lets the raft log forget
// what the state machine holds durably, and has the state written out early when the log grows too long.
// Compactor compacts history by itself, at etcd's times. Quota refuses what would make the state too large,
// raises the alarm NOSPACE and clears it when there is space again. Checker compares stored records with the sums
// that were noted when they were written, and raises the alarm CORRUPT. Comparer has the members compare what
// they hold, and ends one that most others contradict. Levels raises the cluster's feature level when every member
// knows the next one. Autopilot promotes learners that have caught up and removes dead members that have a successor.
//
// # Goroutines
//
// None of its own: the server starts Run of each. Sweeper and Cutter do not change replicated state; Compactor,
// Quota and Checker change it as everybody does, by commands, which they sign as the member itself. The compactor
// works on the leader alone; an alarm is raised and cleared by the member whose alarm it is. A crash in the
// middle of any of them costs only the work to do it again.
//
// # Limits
//
// What was admitted and is not applied yet does not count, so the state may pass its quota by as much as the
// replica lets wait.
package chores
