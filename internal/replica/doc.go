// Package replica puts commands into one order with raft and has them applied.
//
// Callers know three verbs. Propose hands in a command and waits for its result; Change is the same for the
// membership. Barrier waits until this member's state holds everything that was acknowledged before the call, so
// that a look at it is linearizable. Status says who leads and how far things are.
//
// Other members are reached by whoever has the connections: it takes what is to go out from an Outbox, hands what
// comes in to Receive, and tells Connected and Lost. What members say of themselves at the start of a connection is
// judged by Admit.
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
// during the last sync. What followers forward to the leader joins its batch. A leader that waits for its own disk only
// proposes more once the others have committed what it proposed; when many come, it then lets those join who are only
// just hearing that (gather.go). A follower acknowledges an entry once, and not again when it hears that it is
// committed (acked.go), and forwards together what comes together. While Run can do nothing with a command it is not woken
// for it (proposals.go).
//
// # Leadership
//
// Raft's timeout elects. Beside it there is evidence: a follower that sees the leader's process gone forgets it
// (failover.go); a leader whose log lies behind what others committed hands over, one that is stalled falls silent
// (office.go). Nobody is made leader but by a vote.
//
// # Members that are behind
//
// Raft never carries a snapshot. A member that would get one is told so (Wanted, Behind) and fetches a copy of the
// state by itself; KeepBehind tells what of the log others still need.
//
// # Invariants
//
// A proposal is answered when its command is applied and visible, and it is applied only after the log
// that holds it is durable on a quorum. A commit index alone is not written: it is found again from the log,
// and it travels with the next entries. What a member has told another one, a vote, a term or an entry, it holds
// durably before; one that comes back without it is refused, so no election and no commit rests on what was lost.
//
// # Limits
//
// MaxPendingProposals and MaxPendingBytes bound what waits; more is refused with ErrTooManyRequests.
// MaxForwardedBytes, MaxPendingChanges, MaxOutboxMessages and MaxOutboxBytes bound what comes from and goes to other
// members; what is above is lost, as on a cut wire. A
// proposal or barrier that has waited RequestTimeout plus two election timeouts ends with ErrTimeout.
package replica
