// Package expiry is the leader's lease clock: it knows what time it is for every lease, renews them and
// proposes the end of those whose time has passed.
//
// Which leases exist is replicated truth and belongs to package lease; deadlines are never replicated and
// live only here, in the memory of the member that leads. The clock pulls what changed from the table
// whenever it is asked something, so a lease that was granted a moment ago is known, and it ends leases by
// commands like any other client.
//
// # Why no lease ends early
//
// A deadline is set after the grant is seen, and only ever moves later. A member that begins to lead gives
// every lease its whole time afresh, or what was recorded of it, and an election timeout on top: what the
// leader before it had promised was promised earlier. A lease whose end was decided under the mutex stays
// decided: a keepalive that comes before its deadline wins, one that comes later waits for the revoke and
// is told that the lease is gone.
//
// Recorded seconds (checkpoints) keep a restart from beginning the full time again. They are rounded up. A
// keepalive promises the full time, which a record of fewer seconds would break after a crash, so a lease
// that may have a record has it cleared, durably, before its keepalive is answered. Records and clearings are
// written one command after the other, never two at once, so that none can overtake another.
//
// # Goroutines
//
// Run is one goroutine. It starts a short one for each command under way, at most maxRevokes revokes and one
// writer of records, and waits for them before it returns. Every method may be called from any goroutine.
// One mutex guards everything and is held for lines, never while a command is under way; the table's own
// mutex is taken under it, and nothing takes them the other way round.
//
// # Invariants and limits
//
// An entry stands in the deadlines at or before its deadline, so that a keepalive is one store and the place
// is corrected when it comes up. Without leadership the clock holds no entries. The named limits are
// MaxRevokeLeases, MaxRevokeKeys and MaxCheckpointLeases per command, and maxSteps per hold of the mutex.
package expiry
