// Package lock is etcd's lock and election services: recipes over keys and leases, carried out in the server
// with the caller's rights.
//
// Whoever wants a name writes a key below it, bound to a lease: name + "/" + lease in hex. The oldest key
// holds the name; each other one waits for the newest key before it to be deleted. So a release wakes one
// waiter and not all of them, and what dies takes its key with it when its lease ends.
//
// The recipes are clients: they reach the services through a connection that the server holds to itself, and
// pass on who asked. They have no other way to the data, so nothing here can do what its caller may not.
//
// Goroutines: none of its own. A call that waits holds one watch stream on the connection, which ends with
// the call.
//
// Invariants: a name is only given to a key that was seen, in one look, to exist and to be the oldest; a call
// that does not end well leaves no key behind, unless the server itself cannot be asked any more, or not by a
// caller whose token has expired while they waited (then the lease ends it); an inner error reaches the caller as
// its text with code Unknown.
//
// Limits: drawnLeaseSeconds and settleTimeout, at their declaration. How many may wait is bounded by the
// streams that the connection admits.
package lock
