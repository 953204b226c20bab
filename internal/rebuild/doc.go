// Package rebuild makes a serving cluster of what is left when more members are lost than a quorum can miss.
//
// Look tells what a member's directory holds without changing a byte of it. A Survey puts what was found of several
// members side by side, says whose log is the longest, and weighs what would be lost with each of them. Force makes one
// member the only one of its cluster, and Rebuild does that to a directory. Backup keeps what was there before.
//
// # Goroutines
//
// None. Everything here is for members that do not run; a directory that is in use is refused by its locks.
//
// # Invariants
//
// Force decides with a single write: the changes that remove all others are appended to the log together with a commit
// index that covers them. Before that write is durable the member is what it was, and after it the log alone leads to the
// new cluster, however often the state has to be made from it again. Nothing in the log is dropped, for nobody can tell
// which of the last entries were acknowledged. The new entries have a term that no leader had as far as this member
// knows. Doing it twice changes nothing.
//
// A verdict says that nothing acknowledged is lost only where that follows from raft's rules: less than a quorum of voters
// could not be asked, under every membership that the chosen log knows, and nobody who was asked has a later log.
//
// # Limits
//
// A log is read in pieces of pieceBytes. Force holds what stands behind an entry that removes the member itself in memory,
// and writes at most raftlog.MaxBatchBytes. A survey holds a few numbers for each term of each log.
package rebuild
