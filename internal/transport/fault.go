package transport

import (
	"context"
	"errors"
	"io"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// connError is a fault of the client that ends its connection.
type connError struct {
	code   http2.ErrCode
	reason string
}

// Error implements error.
func (e connError) Error() string { return e.code.String() + ": " + e.reason }

func protocolError(reason string) error { return connError{http2.ErrCodeProtocol, reason} }

// streamError is a fault of the client that ends one stream.
type streamError struct {
	id   uint32
	code http2.ErrCode
}

// Error implements error.
func (e streamError) Error() string { return e.code.String() }

// readError makes ours of the framer's errors.
func readError(err error) error {
	var ofConn http2.ConnectionError
	var ofStream http2.StreamError
	switch {
	case errors.Is(err, http2.ErrFrameTooLarge):
		return connError{http2.ErrCodeFrameSize, "frame too large"}
	case errors.As(err, &ofConn):
		return connError{http2.ErrCode(ofConn), "malformed frame"}
	case errors.As(err, &ofStream):
		return streamError{ofStream.StreamID, ofStream.Code}
	}
	return err
}

// errClosing is what those hear who send on a connection that is closed.
var errClosing = status.Error(codes.Unavailable, "transport is closing")

// errHeaderSent is what those hear who set a header too late.
var errHeaderSent = status.Error(codes.Internal, "transport: SendHeader called multiple times")

// errHeaderTooLong is what those hear whose header the client does not take.
var errHeaderTooLong = status.Error(codes.Internal, "transport: trying to send header list size larger than the limit set by peer")

// asStatus is the status that a client hears of an error of a handler.
func asStatus(err error) *status.Status {
	if err == nil {
		return nil
	}
	if st, ok := status.FromError(err); ok {
		return st
	}
	return status.FromContextError(err)
}

// asRPCError is what a handler hears of an error of its stream.
func asRPCError(err error) error {
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return status.Error(codes.Internal, err.Error())
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return status.FromContextError(err).Err()
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Unknown, err.Error())
}
