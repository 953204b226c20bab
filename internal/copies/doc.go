// Package copies carries the whole state from one member to another, over HTTP on the port of the members.
//
// A member that is new, or that the others cannot bring up to date from their logs any more, fetches a copy: it asks a
// member that is up to date for the rows of its state, as they were at one moment, writes them into a directory beside
// its own state, and leaves it there, whole and durable, for the start that takes it over (storage.Adopt). Raft has
// no part in it.
//
// # The conversation
//
//	GET /snapshot?min=I              a copy that has at least log entry I applied
//	GET /snapshot?id=V&frame=N       what is behind the N frames that have arrived of the copy V
//	DELETE /snapshot?id=V            the copy V has arrived
//
// Each with the cluster's ID in X-Etcd-Cluster-Id and the asker's in X-Server-From, which is for counting only. The
// answers: 200 and frames (frame.go); 410 if the copy asked for is not kept any more, so that the asker begins anew; 412
// for somebody from another cluster; 503 with Retry-After where another moment is better. Headers say which copy it is, to
// what place of the log it goes, and about how large it is.
//
// # Goroutines
//
// None of its own but Run, which lets go of copies that nobody fetches. A copy is sent in the goroutine of its HTTP
// request, and fetched in that of the caller.
//
// # Invariants
//
// A frame holds whole rows, so what has arrived is always a part of the state that ends between two rows, and the next
// frame goes on there, over whatever connection. A copy is left behind as whole only if the last frame came, the
// number of rows, of bytes and the checksum over all of them are what the sender counted, the state that they make
// can be read, and it is as new as it should be.
//
// # Limits
//
// maxKept copies are kept at a time, each for keptIdle after somebody last fetched of it; what a copy keeps is disk space
// of what was replaced since, and keptMarks places to go on from. Sending holds one frame in memory, fetching one
// frame and one table of the storage; a frame is pieceBytes long, or one row, which may have FetchOptions.RowBytes.
// The sender rests now and then, longer where it is not alone on the processor.
package copies
