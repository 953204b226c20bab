package rpc

import "google.golang.org/grpc/mem"

// Encoded is a reply that is already in its wire form. The codec hands its
// buffers to the transport as they are, so that a range or a watch event is
// never encoded twice. The codec takes over the references of Bufs.
type Encoded struct{ Bufs mem.BufferSlice }
