// Package dump prints what a server wrote, for a person who wants to know: every record of the raft log, every row of the
// state.
//
// It only reads. What it does not understand it prints as it is and goes on, because who dumps files may well do so since
// something is wrong with them. The log of a running server may be printed, without what is just being written; its
// state may not, because its engine cannot be opened twice.
//
// Goroutines: none. Limits: a key or value is printed up to shownBytes, unless all is asked for.
package dump
