// Package server builds the rooms of one member, starts them in order and stops them in order.
//
// Open reads or founds the data and builds everything; Run starts every long-lived goroutine there is,
// waits for the first failure or the end of its context, and takes the house down floor by floor from the
// top: first the doors, so that nothing new comes in, then the lease clock, which notes what time the leases
// have left, then the replica, and at last the log and the storage engine. A killed process skips all of
// that and loses nothing; it only has more to apply at its next start.
//
// # Goroutines
//
// Started by Run and nobody else; docs/architecture.md lists them all.
//
// # The data directory
//
//	<data-dir>/state   the storage engine, whose lock keeps a second process out
//	<data-dir>/log     the raft log, unless --wal-dir puts it elsewhere
//
// A new directory is founded in two steps, the log first and then the state; a crash between them is
// recognised and the second step is done again.
//
// # The outside
//
// Everything that is not computation enters through Env, so that a test can run a server on a disk in memory
// that it can crash.
package server
