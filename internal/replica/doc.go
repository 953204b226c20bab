// Package replica puts commands into one order with raft and has them applied.
//
// Callers know three verbs. Propose hands in a command and waits for its result. Barrier waits until this
// member's state holds everything that was acknowledged before the call, so that a look at it is
// linearizable. Status says who leads and how far things are.
//
// # Goroutines
//
// Three, each started once by the server and each the owner of one thing:
//
//	Run        the RawNode; it never waits for a disk or for the state machine
//	RunAppend  the tail of the raft log: one synced write per batch, the only wait for a disk
//	RunApply   the write side of the state machine
//
// They pass messages through mailboxes that never block the sender. Raft runs with asynchronous storage
// writes, also for one voter: an append or apply is a message that carries the answers to be delivered when
// it is done.
//
// # Batching
//
// Run proposes what has gathered since it last looked, as one raft entry, but only while no append of
// entries is under way. So a lone client's command goes out at once, and under load a batch is what arrived
// during the last sync: no timer, no delay.
//
// # Invariants
//
// A proposal is answered when its command is applied and visible, and it is applied only after the log
// that holds it is durable on a quorum. A commit index alone is not written: it is found again from the log,
// and it travels with the next entries.
//
// # Limits
//
// MaxPendingProposals and MaxPendingBytes bound what waits; more is refused with ErrTooManyRequests. A
// proposal or barrier that has waited RequestTimeout plus two election timeouts ends with ErrTimeout.
package replica
