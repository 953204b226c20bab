// Package snapshot makes of the state, at one moment, the database file that an etcd at the same place would
// have: what its clients ask for as a backup, and what its tools restore.
//
// Nothing is copied first. The moment is pinned in the engine, the file is laid out from the small rows of the
// revision index, and the records are read while it is written, in the order of history, which is not the
// order in which they lie on disk. So several readers fetch ahead. Each record is held against the sum that was
// noted when it was written: a snapshot that was finished is sound.
//
// # Goroutines
//
// Write starts one that walks the rows and readers that fetch records; all of them end before it returns.
//
// # Invariants
//
// A File says its size before it is written, and what is written has that size.
//
// # Limits
//
// Memory: batchesAhead batches of batchBytes, or of one record where that is larger, and batchesSpare more.
package snapshot
