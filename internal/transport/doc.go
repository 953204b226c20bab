// Package transport serves gRPC over HTTP/2. It stands where gRPC's own server would stand: services are registered with
// it by the same generated functions, and clients cannot tell the two apart. What it is for is fewer steps: a
// call costs one goroutine that waits, and one write to the connection, often shared with others.
//
// A connection is read by one goroutine, which never waits for a write. A call that asks one question begins when the
// question has come whole; a stream begins with its header. Whoever has something for the client appends frames
// to what is pending on the connection; who finds that nobody writes becomes the writer, and writes until
// nothing is pending, the frames of others included.
//
// # Goroutines
//
// One for each connection, which reads; one for each call under way, of which maxIdleWorkers wait for the next call
// because their stacks have grown already. While frames are pending and no call's goroutine writes them, one
// more writes. A connection that ends gently has one that waits for its last frames. Serve runs on
// its caller's goroutine.
//
// # Invariants
//
// What a connection knows is guarded by the one lock of its output; nothing waits while it holds it. A call is in
// conn.calls until one side has ended its stream, and counts against Options.MaxConcurrentStreams until its
// handler has returned as well. A header that we send uses no dynamic table, so that it can be made anywhere and
// sent in any order. Every byte that a client sends is given back to its windows once.
// A message belongs to its codec only until Unmarshal returns. No goroutine of a call is left in a write when its
// connection is closed.
//
// # Limits
//
// Of frames: maxFrameBytes; of headers: maxHeaderListBytes and maxContinuations; of settings: maxSettings; of messages: Options.MaxRecvBytes and
// MaxSendBytes; of what a client may send unasked: streamWindow and connWindow; of what is pending: maxPendingBytes for
// senders; maxUnwrittenBytes, maxUnwrittenAnswers and maxBlockedSenders, at which reading stops; of calls: Options.MaxConcurrentStreams, and
// maxAbandoned; of time: Options.HandshakeTimeout, Keepalive and Enforcement, drainTime, lingerTime. Each stands
// at its declaration. What of gRPC's server is not here: interceptors, stats handlers, channelz, binary
// logs, grpc.SetSendCompressor, and limits of a connection's age.
package transport
