package transport

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

var (
	_ grpc.ServerStream          = (*stream)(nil)
	_ grpc.ServerTransportStream = (*call)(nil)
)

// stream is a call as its stream handler sees it. One goroutine may send and another receive.
type stream struct{ call *call }

// Context implements grpc.ServerStream.
func (s *stream) Context() context.Context { return s.call }

// SetHeader implements grpc.ServerStream.
func (s *stream) SetHeader(md metadata.MD) error {
	if err := validate(md); err != nil {
		return err
	}
	return s.call.SetHeader(md)
}

// SendHeader implements grpc.ServerStream.
func (s *stream) SendHeader(md metadata.MD) error {
	if err := validate(md); err != nil {
		return err
	}
	return s.call.SendHeader(md)
}

// SetTrailer implements grpc.ServerStream. What cannot be sent is left out when the trailer is.
func (s *stream) SetTrailer(md metadata.MD) { _ = s.call.SetTrailer(md) }

// RecvMsg implements grpc.ServerStream.
func (s *stream) RecvMsg(v any) error { return s.call.receive(v) }

// SendMsg implements grpc.ServerStream. Who is told of an error has nothing more to say: the client hears it at once.
func (s *stream) SendMsg(v any) error {
	err := s.call.reply(v, false)
	if err != nil && !errors.Is(err, io.EOF) {
		s.call.finish(status.Convert(err), false)
	}
	return err
}

// Method implements grpc.ServerTransportStream.
func (k *call) Method() string { return k.request.path }

// SetHeader implements grpc.ServerTransportStream.
func (k *call) SetHeader(md metadata.MD) error { return k.set(&k.header, md, false) }

// SetTrailer implements grpc.ServerTransportStream.
func (k *call) SetTrailer(md metadata.MD) error { return k.set(&k.trailer, md, true) }

func (k *call) set(to *metadata.MD, md metadata.MD, late bool) error {
	if md.Len() == 0 {
		return nil
	}
	k.conn.out.Lock()
	defer k.conn.out.Unlock()
	if k.closed || k.headerSent && !late {
		return errHeaderSent
	}
	*to = metadata.Join(*to, md)
	return nil
}

// SendHeader implements grpc.ServerTransportStream.
func (k *call) SendHeader(md metadata.MD) error {
	out := &k.conn.out
	out.Lock()
	switch {
	case k.closed || out.err != nil:
		err := k.unsendable()
		out.Unlock()
		return err
	case k.headerSent:
		out.Unlock()
		return errHeaderSent
	}
	if md.Len() > 0 {
		k.header = metadata.Join(k.header, md)
	}
	err := k.appendHeader()
	out.push()
	return err
}

// HeaderValue is the first value of one field of the call's header, by its name in small letters. It is a shorter way
// than metadata.ValueFromIncomingContext, which wants a map of all of them first.
func (k *call) HeaderValue(name string) (string, bool) {
	for i := range k.request.fields {
		if f := &k.request.fields[i]; f.Name == name {
			return f.Value, true
		}
	}
	return "", false
}

// metadata are the fields of the call's header as gRPC gives them to handlers.
func (k *call) metadata() metadata.MD {
	k.once.Do(func() {
		q := &k.request
		md := make(metadata.MD, len(q.fields))
		for _, f := range q.fields {
			name := f.Name
			if name == "host" {
				if q.authorities > 0 {
					continue
				}
				name = ":authority"
			}
			md[name] = append(md[name], f.Value)
		}
		k.incoming = md
	})
	return k.incoming
}

// validate says whether metadata can be sent.
func validate(md metadata.MD) error {
	for name, values := range md {
		if !validKey(name) {
			if name == "" {
				return status.Error(codes.Internal, "there is an empty key in the header")
			}
			return status.Errorf(codes.Internal, "header key %q contains illegal characters not in [0-9a-z-_.]", name)
		}
		for _, v := range values {
			if !isBinary(name) && !printable(v) {
				return status.Errorf(codes.Internal, "header key %q contains value with non-printable ASCII characters", name)
			}
		}
	}
	return nil
}
