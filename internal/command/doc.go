// Package command holds the words written to the replicated log, and their encoding.
//
// A client's request becomes one command; everything that waited while the previous append was under way
// becomes one raft entry, which is a batch of commands. The replicas apply commands in the order of the
// log, so a command carries everything its effect depends on: a lease grant has its ID and its TTL, never a
// deadline, because a deadline would be read against each member's own clock.
//
// # Encoding
//
// An entry is
//
//	format   1 byte   FormatV1
//	commands until the end of the entry, each:
//	  size   uvarint  bytes of id, kind and body together
//	  id     8 bytes  big endian; names the proposal to whoever waits for it
//	  kind   1 byte   see Kind
//	  body   the rest
//
// The bodies of client requests are those requests as etcd's own protobuf messages (that contract is
// etcd's to define and stays readable for ever); the bodies of our own commands are varints and are
// described beside their types. An empty entry carries no commands: raft writes one at each new term.
//
// The package has no goroutines and keeps no state. Its limit is that of an entry, MaxEntryBytes.
package command
