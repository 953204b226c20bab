// Package rpc is the gRPC door: it checks the shape of a request, calls one of
// the three verbs of the house (propose, barrier then look, follow a cursor)
// and answers in etcd's words.
//
// Goroutines: every request runs on the goroutine gRPC gave it. One goroutine
// of the package's own exists, Services.Run, which cancels streams that asked
// for a leader when there has been none for a while.
//
// Invariants: a request that fails its check never reaches the log; an error
// leaves through the one table in errors.go; a reply that was encoded by hand
// is byte for byte readable by any protobuf decoder.
//
// Limits: see Options; every one of them is a flag of the server.
package rpc
