// Package peer carries what members say to each other: raft's messages, and questions that only another member can
// answer. docs/peers.md shows every byte.
//
// Between two members there are four connections: in each direction one for each of two lanes, so that what is small
// and urgent (heartbeats, votes, answers, questions) never waits behind what is large (entries). Who has something to
// say dials. A connection begins as an HTTP/1.1 request on the peer port, over TLS where the URL says so; both
// sides tell who they are and what they hold, each judges the other, and with 101 it becomes a one-way stream of frames.
//
// # Goroutines
//
// Mesh.Run follows the member table. Under it each other member has two senders, each with one more goroutine that
// watches for the end of its connection. A connection from another member is read in the goroutine of its HTTP request.
// Each question of another member is answered in a short goroutine, at most maxQuestions of one member. Run has ended all of them when it returns, so nothing is received afterwards.
//
// # Invariants
//
// Nothing is taken from a connection whose greeting was not admitted, and nothing is handed on that raft would
// choke on. Who a message is from and for follows from the connection and does not travel. A member and lane have at most
// one connection in each direction; a new one takes the place of the old one. Only a member of this cluster, at an
// address of the member table, is believed that this member was removed or has lost its memory. No method of Order
// waits, so a reader never does, and one member that is slow or speaks garbage costs itself its connection.
//
// # Limits
//
// Of frames: Options.MaxFrameBytes and those of package frames; of what waits: maxQueueBytes and the outboxes' own; of
// questions: maxQuestions and maxAnswerTime; of time: Options.ReadTimeout and WriteTimeout, dialTimeout,
// resolveTimeout, greetTimeout, unackedTimeout, redialMax and refusedPause; of HTTP: maxAnswerBytes and maxRequestBytes.
// Each stands at its declaration.
package peer
