// Package cli is the client side of the keelson binary. put, get, del, watch, status, member, move-leader and join-token speak
// to servers, most of them to any with etcd's v3 API; dump and recover read the files of servers that are stopped; version
// says what this is. join starts a server, which the binary does itself; only its help is here.
//
// It is for people at a terminal: the plain format is that of etcdctl where etcdctl has one, the JSON format
// shows text as text, and an error says what to do next. Scripts that need etcdctl's exact JSON use etcdctl.
//
// # Goroutines and limits
//
// Every command runs in the goroutine of Main and ends with its context, which an interrupt cancels. Requests
// are bounded by the --timeout flag, watches by nothing. A value read from standard input is bounded by
// maxValueBytes, a join token by maxTokenAnswer, what a person types by maxTyped.
package cli
