// Package lease is the replicated truth about leases: which exist, for how long they were granted, and
// which keys hang on them.
//
// What time it is belongs to another room: the table knows granted and checkpointed seconds and never a
// deadline, so that every member that applies the same log has the same table. The clock (package expiry)
// pulls what changed and proposes the end of leases like any other client.
//
// Attachments are not stored here: every record names its lease, so they are gathered again from the live
// keys when the state is opened.
//
// # Goroutines and invariants
//
// One goroutine, the one that applies the log, writes; any may read. One mutex guards the table and is held
// for lines. A key hangs on at most one lease. The list of changes keeps the last MaxChanges; who asks for
// older ones is given the whole table instead.
package lease
