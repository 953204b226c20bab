package raftlog

import (
	"errors"
	"fmt"
)

// Errors that callers tell apart.
var (
	// ErrExists is returned by Create in a directory that holds a log.
	ErrExists = errors.New("a raft log exists here already")
	// ErrNotFound is returned by Open in a directory that holds none.
	ErrNotFound = errors.New("there is no raft log here")
	// ErrClosed is returned by Append after Close.
	ErrClosed = errors.New("the raft log is closed")
	// ErrBatchTooLarge is returned by Append for a batch above MaxBatchBytes. Nothing
	// was written and the log goes on.
	ErrBatchTooLarge = errors.New("the batch is larger than the raft log takes at once")
	// ErrVersion is returned by Open for segments of an unknown format version.
	ErrVersion = errors.New("the raft log has a format that this program does not know")
)

// DamagedError says that bytes which were durable are wrong or missing. It is not
// what a crash leaves behind, so the log refuses to open instead of guessing.
type DamagedError struct {
	File   string // path of the file
	Offset int64  // where in it reading had to stop
	Why    string // what is wrong there
}

// Error tells the operator what happened, what it means and what to do.
func (e *DamagedError) Error() string {
	return fmt.Sprintf("raft log is damaged: %s, offset %d: %s. "+
		"These bytes were safely on the disk once, so a crash alone cannot explain it: suspect the disk, a copy that was "+
		"interrupted, or a removed file. Nothing was changed. Keep a copy of the directory, look at it with 'keelson dump', and "+
		"bring this member back from a backup or, in a cluster, as a new member with an empty directory", e.File, e.Offset, e.Why)
}
