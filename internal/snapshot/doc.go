// Package snapshot makes of the state, at one moment, the database file that an etcd at the same place would
// have: what its clients ask for as a backup, and what its tools restore.
//
// The moment is pinned in the engine, and the file is laid out from the small rows of the revision index. Its
// records are wanted in the order of history, which is not the order in which they lie on disk: they are scanned
// as they lie, sorted in runs, on the disk if they do not fit into memory, and merged while the file is written.
// What the scan does not bring is looked up, and where sorting is not possible everything is. Each record is held
// against the sum that was noted when it was written: a snapshot that was finished is sound.
//
// # Goroutines
//
// Write sorts in its own; then it starts one that walks the rows, one that merges or several that look records up,
// and one that yields them. All of them end before it returns.
//
// # Invariants
//
// A File says its size before it is written, and what is written has that size.
//
// # Limits
//
// Memory: runBytes and 24 bytes for each of runRows for sorting and merging, batchesAhead batches of batchBytes, or of
// one record where that is larger, and batchesSpare more. Disk: garbageShare times the records.
package snapshot
