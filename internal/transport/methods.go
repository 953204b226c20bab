package transport

import (
	"fmt"
	"reflect"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// method is one method of a registered service; it has a unary or a stream handler.
type method struct {
	path   string // "/service/method"
	impl   any
	unary  grpc.MethodHandler
	stream grpc.StreamHandler
	// asksOnce says that a client sends exactly one message.
	asksOnce bool
}

// methods is the table of what is registered. It is not written to while a server serves.
type methods struct {
	byPath   map[string]*method
	services map[string]bool
}

func newMethods() methods {
	return methods{byPath: map[string]*method{}, services: map[string]bool{}}
}

// add registers a service. A service without an implementation has handlers that need none.
func (m methods) add(desc *grpc.ServiceDesc, impl any) {
	if m.services[desc.ServiceName] {
		panic("transport: " + desc.ServiceName + " is registered twice")
	}
	if impl != nil {
		want := reflect.TypeOf(desc.HandlerType).Elem()
		if !reflect.TypeOf(impl).Implements(want) {
			panic(fmt.Sprintf("transport: %T does not implement %v", impl, want))
		}
	}
	m.services[desc.ServiceName] = true
	for _, d := range desc.Methods {
		m.put(&method{path: "/" + desc.ServiceName + "/" + d.MethodName, impl: impl, unary: d.Handler, asksOnce: true})
	}
	for _, d := range desc.Streams {
		m.put(&method{path: "/" + desc.ServiceName + "/" + d.StreamName, impl: impl, stream: d.Handler, asksOnce: !d.ClientStreams})
	}
}

func (m methods) put(one *method) { m.byPath[one.path] = one }

// missing says why there is no method of that path.
func (m methods) missing(path string) *status.Status {
	name, ok := strings.CutPrefix(path, "/")
	slash := strings.LastIndexByte(name, '/')
	if !ok || slash < 0 {
		return status.Newf(codes.Unimplemented, "malformed method name: %q", path)
	}
	service, method := name[:slash], name[slash+1:]
	if !m.services[service] {
		return status.Newf(codes.Unimplemented, "unknown service %v", service)
	}
	return status.Newf(codes.Unimplemented, "unknown method %v for service %v", method, service)
}
