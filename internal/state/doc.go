// Package state is the replicated state machine: commands in, one storage batch out.
//
// Every member applies the same commands in the same order and so holds the same state. The rooms below
// know one thing each (mvcc the keys, lease the leases, member the members) and nothing of one another;
// here a command becomes calls to them: a put checks its lease, writes its record and moves the key from
// one lease to another.
//
// # How a group of commands is applied
//
// Begin, Apply for each command, Commit. Everything a group changes goes into one batch of the engine
// together with the index and term of the last entry it came from, so what survives a crash is always the
// state after some prefix of the log, and recovery is to apply the rest. Keys are not visible to readers
// before Commit has handed the batch to the engine; then all of them are. Leases and members may show a moment
// earlier, which tells nobody anything that could be taken back: the command is committed.
//
// # Verdicts and failures
//
// A command's own error (a lease that does not exist, a revision that was compacted) is part of its Result:
// every member reaches the same verdict. Any other error means that this member could not do what the
// others do, a failing disk for one: it is returned beside the Result and the member must stop, because
// going on would make it a different state.
//
// # Copies
//
// An Original is the state at one moment, whose rows another member makes a Copy of: all of them but the two that say
// who a member is and which log feeds it. A Copy is a state like any other and goes on from there.
//
// # Goroutines
//
// None of its own. One goroutine, the one that applies the log, calls Begin, Apply and Commit; everything
// else may be called from anywhere.
package state
