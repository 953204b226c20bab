// Package wire turns the messages of etcd's API into bytes and back. What every request is made of (ranges,
// puts, deletes, transactions, watch events) is read and written by hand, the rest by the protobuf library;
// records and events that the store keeps in their wire form are passed on without being decoded.
//
// Goroutines: none. Codec is shared by all; a WatchEncoder belongs to the one goroutine that sends on its
// stream, and so does a Burst, which hands many small messages to the transport in one piece. What
// WhenSent calls runs on a goroutine of the transport.
//
// Invariants: a reply is byte for byte readable by any protobuf decoder, and is the length that its size was
// said to be; a reader by hand understands a request as the protobuf library does or leaves it to that library; a
// request owns its bytes; the store's memory is given back once, when the transport is done with the last of it.
//
// Limits: it has none of its own on a message, the transport has been told them (package rpc). Replies above
// pooledReplyBytes come from no pool, ranges above copiedRangeBytes are not copied, a burst has at most burstBytes.
package wire
