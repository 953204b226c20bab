// Package rpc is the gRPC door: it checks the shape of a request, calls one of
// the three verbs of the house (propose, barrier then look, follow a cursor)
// and answers in etcd's words.
//
// Goroutines: every request runs on the goroutine gRPC gave it. Services.Run
// has two of the package's own: one cancels streams that asked for a leader
// when there has been none for a while, one has the senders of watch streams
// look at their watchers again when users or roles have changed. A question to
// the member that leads has a short one, which ends it when somebody else does.
//
// Invariants: no method is without a guard (guard.go), and whom a guard lets
// pass is decided in one place, room state; a request that fails its check
// never reaches the log, and a command never does without its author while
// users are on, but for changes of the membership, which carry no name and are
// judged where they are asked for, as in etcd; what only the leader knows is
// asked of it, and that a lease is gone is said only by a member that surely
// leads (Lessor); nothing is sent to a watcher that may not see it; an error
// leaves through the one table in errors.go. How messages become bytes and
// back is the business of room wire.
//
// Limits: see Options; every one of them is a flag of the server.
package rpc
