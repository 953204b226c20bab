// Package frames turns what members say to each other into bytes and back: raft's messages, and small frames of other
// kinds whose content is the business of whoever sends them. docs/peers.md shows every byte.
//
// raft's own encoding allocates once for each number of a message. Here a Packer writes into one buffer and allocates
// nothing, and Unpack makes one piece of memory of all messages of a frame, and one of all their entries, whose data
// stays where it came.
//
// Goroutines: none. A Packer and a Reader belong to one goroutine each.
//
// Invariants: what Unpack returns is what was packed, field by field, and nothing on which raft would panic: each type
// has the fields that raft gives it. A frame whose checksum is wrong is never unpacked. Memory for a long frame follows
// what has come of it and not what its head says.
//
// Limits: DefaultBytes, fullBytes, maxMessages, maxEntries, MaxTalkBytes, readBufferBytes and firstStepBytes, each at its
// declaration.
package frames
