package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/keelson-db/keelson/internal/lock"
	"github.com/keelson-db/keelson/internal/lock/electionpb"
	"github.com/keelson-db/keelson/internal/lock/lockpb"
)

// field is one way from a request down to a field of it: the request's message, the fields that hold the
// messages between, and the message and name of the field itself, which is empty for a message without any.
type field struct {
	way     []protoreflect.FieldDescriptor
	message protoreflect.MessageDescriptor
	name    string
}

func (f field) row() string {
	if f.name == "" {
		return string(f.message.Name())
	}
	return string(f.message.Name()) + "." + f.name
}

func (f field) String() string {
	var b strings.Builder
	for _, step := range f.way {
		b.WriteString(string(step.Name()) + ".")
	}
	return b.String() + f.row()
}

// fieldsOf are all ways down into a request. A message within itself, which a transaction may be, is followed
// once.
func fieldsOf(m protoreflect.MessageDescriptor, way []protoreflect.FieldDescriptor) (all []field) {
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		if f.Message() == nil {
			all = append(all, field{way, m, string(f.Name())})
			continue
		}
		within := 0
		for _, step := range way {
			if step.Message() == f.Message() {
				within++
			}
		}
		if within < 1 || f.Message().Name() != "TxnRequest" && within < 2 {
			all = append(all, fieldsOf(f.Message(), append(slices.Clip(way), f))...)
		}
	}
	if m.Fields().Len() == 0 {
		all = append(all, field{way, m, ""})
	}
	return all
}

// method is one method of the services.
type rpcMethod struct {
	full  string
	input protoreflect.MessageDescriptor
	// stream describes it, if it is one.
	stream *grpc.StreamDesc
}

// allMethods are those that are registered, whoever thought of them.
func allMethods(t *testing.T, s *Services) (all []rpcMethod) {
	t.Helper()
	for _, desc := range s.descs {
		found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(desc.ServiceName))
		if err != nil {
			t.Fatal(err)
		}
		methods := found.(protoreflect.ServiceDescriptor).Methods()
		for i := range methods.Len() {
			m := methods.Get(i)
			r := rpcMethod{full: "/" + desc.ServiceName + "/" + string(m.Name()), input: m.Input()}
			if m.IsStreamingClient() || m.IsStreamingServer() {
				r.stream = &grpc.StreamDesc{ClientStreams: m.IsStreamingClient(), ServerStreams: m.IsStreamingServer()}
			}
			all = append(all, r)
		}
	}
	return all
}

// newMessage makes a message of a type that is linked in.
func newMessage(t *testing.T, m protoreflect.MessageDescriptor) protoreflect.Message {
	t.Helper()
	kind, err := protoregistry.GlobalTypes.FindMessageByName(m.FullName())
	if err != nil {
		t.Fatal(err)
	}
	return kind.New()
}

// request puts a message where a field's way leads. What it is put into has of everything else only what it
// cannot do without.
func (f field) request(t *testing.T, m rpcMethod, leaf proto.Message) proto.Message {
	t.Helper()
	if len(f.way) == 0 {
		return proto.Clone(leaf)
	}
	out := newMessage(t, m.input)
	at := out
	for i, step := range f.way {
		if base, ok := containers()[string(at.Descriptor().Name())]; ok {
			proto.Merge(at.Interface(), base)
		}
		value := leaf.ProtoReflect()
		if i+1 < len(f.way) {
			value = newMessage(t, step.Message())
		}
		if step.IsList() {
			at.Mutable(step).List().Append(protoreflect.ValueOfMessage(value))
		} else {
			at.Set(step, protoreflect.ValueOfMessage(value))
		}
		at = value
	}
	return proto.Clone(out.Interface())
}

// refusals are what a guard says, as text: locks and elections pass on nothing else.
func refusals() map[string]bool {
	all := map[string]bool{}
	for _, err := range []error{
		rpctypes.ErrGRPCUserEmpty, rpctypes.ErrGRPCInvalidAuthToken, rpctypes.ErrGRPCPermissionDenied, rpctypes.ErrGRPCAuthOldRevision,
	} {
		all[rpctypes.ErrorDesc(err)] = true
	}
	return all
}

// TestEveryFieldOfEveryMethodIsGuarded asks, as everybody, for everything that there is to ask for. What
// comes out must be what the field's row says; and a field that has no row, because it is new, fails.
func TestEveryFieldOfEveryMethodIsGuarded(t *testing.T) {
	w := newRightsWorld(t)
	table, asked, used := rightsRows(), 0, map[string]bool{}
	for _, m := range allMethods(t, w.services) {
		for _, f := range fieldsOf(m.input, nil) {
			rows, ok := table[f.row()]
			used[f.row()] = true
			if !ok {
				t.Errorf("%s: the field %s has no row in the table: what does it need?", m.full, f)
			}
			for _, row := range rows {
				for _, who := range people() {
					asked++
					w.try(t, m, f, row, who)
				}
			}
		}
	}
	for row := range table {
		if !used[row] {
			t.Errorf("the table has a row for %s, which no method has", row)
		}
	}
	t.Logf("%d questions", asked)
}

// rightsWorld is a town with keys and leases within and beyond what its people may touch.
type rightsWorld struct {
	*town
	names int
}

func newRightsWorld(t *testing.T) *rightsWorld {
	t.Helper()
	var inner lateConn
	service := lock.New(&inner)
	w := &rightsWorld{town: newTown(t, func(d *Deps) { d.Lock, d.Election = service, service })}
	inner.ClientConnInterface = w.conn
	w.restore(t)
	return w
}

// lateConn is a connection that is made after who uses it.
type lateConn struct{ grpc.ClientConnInterface }

// restore brings back what a request may have taken away.
func (w *rightsWorld) restore(t *testing.T) {
	t.Helper()
	for id, key := range map[int64]string{leaseOfK: "k", leaseOfL: "l", leaseOfSecret: "secret", emptyLease: ""} {
		if _, err := w.lease.LeaseGrant(w.as(root), &pb.LeaseGrantRequest{ID: id, TTL: 60}); err != nil && status.Code(err) != codes.FailedPrecondition {
			t.Fatal(err)
		}
		if key != "" {
			w.must(t, &pb.PutRequest{Key: []byte(key), Lease: id})
		}
	}
	for _, key := range []string{"m/leader", "secret/leader"} { // somebody to observe
		w.must(t, &pb.PutRequest{Key: []byte(key)})
	}
}

// try asks once and compares.
func (w *rightsWorld) try(t *testing.T, m rpcMethod, f field, row need, who string) {
	t.Helper()
	at := w
	if row.alone {
		at = newRightsWorld(t)
	}
	in := f.request(t, m, row.message)
	at.rename(in)
	err := at.ask(m, in, who)
	if status.Code(err) == codes.Unimplemented {
		return // by this server, or not with what else the request holds
	}
	refused := refusals()[rpctypes.ErrorDesc(err)]
	want := ""
	switch {
	case row.who.lets(who):
	case who == nobody:
		want = rpctypes.ErrorDesc(rpctypes.ErrGRPCUserEmpty)
	case who == unknown:
		want = rpctypes.ErrorDesc(rpctypes.ErrGRPCInvalidAuthToken)
	default:
		want = rpctypes.ErrorDesc(rpctypes.ErrGRPCPermissionDenied)
	}
	if got := rpctypes.ErrorDesc(err); refused != (want != "") || refused && got != want {
		t.Errorf("%s, field %s, as %s: %v asked for, answered with %v, want refusal %q", m.full, f, who, in, err, want)
	}
	if !refused {
		at.restore(t)
	}
}

// rename gives each lock and each election a name of its own, so that nobody waits for somebody else.
func (w *rightsWorld) rename(in proto.Message) {
	w.names++
	switch r := in.(type) {
	case *lockpb.LockRequest:
		r.Name = fmt.Appendf(r.Name, "%d", w.names)
	case *electionpb.CampaignRequest:
		r.Name = fmt.Appendf(r.Name, "%d", w.names)
	}
}

// ask sends one request and returns how it ended.
func (w *rightsWorld) ask(m rpcMethod, in proto.Message, who string) error {
	ctx, cancel := context.WithCancel(w.as(who))
	defer cancel()
	if m.stream == nil {
		return w.conn.Invoke(ctx, m.full, in, &emptypb.Empty{})
	}
	stream, err := w.conn.NewStream(ctx, m.stream, m.full)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(in); err != nil {
		return err
	}
	if m.full == pb.Watch_Watch_FullMethodName {
		return askWatch(stream)
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	if err := stream.RecvMsg(&emptypb.Empty{}); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// askWatch waits for the answer to a last request, which is refused to everybody, and returns what was said
// before.
func askWatch(stream grpc.ClientStream) error {
	last := &pb.WatchCreateRequest{Key: []byte("last"), StartRevision: -1}
	if err := stream.SendMsg(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: last}}); err != nil {
		return err
	}
	var refusal error
	for {
		out := new(pb.WatchResponse)
		if err := stream.RecvMsg(out); err != nil {
			return err
		}
		if out.CancelReason == rpctypes.ErrorDesc(rpctypes.ErrGRPCCompacted) && out.WatchId == -1 {
			return refusal
		}
		if _, text, ok := strings.Cut(out.CancelReason, " desc = "); ok {
			refusal = status.Error(codes.Unknown, text)
		}
	}
}
