package compat

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// varying names the fields whose value differs from run to run; a story shows only whether they are set.
var varying = map[protoreflect.FullName]bool{
	"etcdserverpb.StatusResponse.storageVersion":   true,
	"etcdserverpb.StatusResponse.dbSize":           true,
	"etcdserverpb.StatusResponse.dbSizeInUse":      true,
	"etcdserverpb.StatusResponse.raftIndex":        true,
	"etcdserverpb.StatusResponse.raftTerm":         true,
	"etcdserverpb.StatusResponse.raftAppliedIndex": true,
	"etcdserverpb.HashResponse.hash":               true,
	"etcdserverpb.AuthenticateResponse.token":      true,
}

// unordered names the lists whose order is not said.
var unordered = map[protoreflect.FullName]bool{
	"etcdserverpb.LeaseTimeToLiveResponse.keys": true,
	"etcdserverpb.AlarmResponse.alarms":         true,
	"etcdserverpb.StatusResponse.errors":        true,
	"etcdserverpb.MemberAddResponse.members":    true, // sorted by IDs, which are drawn
	"etcdserverpb.MemberListResponse.members":   true,
	"etcdserverpb.MemberUpdateResponse.members": true,
}

// longValue is the length in bytes from which a story shows a value's length instead of the value.
const longValue = 40

// render writes a response in one line, every field that is set, in declaration order.
//
// A header is written as @revision when cluster, member and term are all set; as @revision(bare) when none is;
// a top-level response without any header is marked. A key-value is written as key=value with its create, mod and
// version numbers and its lease.
func render(m proto.Message) string {
	text := renderMessage(m.ProtoReflect())
	if fd := m.ProtoReflect().Descriptor().Fields().ByName("header"); fd != nil && !m.ProtoReflect().Has(fd) {
		text = strings.TrimSpace("no-header " + text)
	}
	return text
}

func renderError(err error) string {
	s, _ := status.FromError(err)
	text := fmt.Sprintf("%v: %s", s.Code(), s.Message())
	if n := len(s.Proto().GetDetails()); n > 0 {
		text += fmt.Sprintf(" (with %d details)", n)
	}
	return text
}

func renderMessage(m protoreflect.Message) string {
	switch v := m.Interface().(type) {
	case *etcdserverpb.ResponseHeader:
		return renderHeader(v)
	case *mvccpb.KeyValue:
		return renderKV(v)
	case *timestamppb.Timestamp:
		return v.String()
	}
	var parts []string
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if !m.Has(fd) {
			continue
		}
		name := string(fd.Name())
		switch {
		case fd.Kind() == protoreflect.MessageKind && name == "header":
			parts = append(parts, renderMessage(m.Get(fd).Message()))
		case fd.IsList():
			items := renderList(m, fd)
			if unordered[fd.FullName()] {
				slices.SortFunc(items, func(a, b string) int {
					return strings.Compare(drawn.ReplaceAllString(a, ""), drawn.ReplaceAllString(b, ""))
				})
			}
			parts = append(parts, items...)
		default:
			parts = append(parts, name+":"+renderValue(m, fd, m.Get(fd)))
		}
	}
	return strings.Join(parts, " ")
}

func renderList(m protoreflect.Message, fd protoreflect.FieldDescriptor) []string {
	var items []string
	list := m.Get(fd).List()
	for j := range list.Len() {
		items = append(items, string(fd.Name())+":"+renderValue(m, fd, list.Get(j)))
	}
	return items
}

func renderValue(in protoreflect.Message, fd protoreflect.FieldDescriptor, v protoreflect.Value) string {
	if varying[fd.FullName()] || leaseVaries(in, fd, v) {
		return "<set>"
	}
	switch fd.Kind() {
	case protoreflect.MessageKind:
		return "{" + renderMessage(v.Message()) + "}"
	case protoreflect.EnumKind:
		if d := fd.Enum().Values().ByNumber(v.Enum()); d != nil {
			return string(d.Name())
		}
		return strconv.Itoa(int(v.Enum()))
	case protoreflect.StringKind:
		// A server writes an alarm with one space or two, as its build has it.
		return strconv.Quote(strings.ReplaceAll(v.String(), "  ", " "))
	case protoreflect.BytesKind:
		return renderBytes(v.Bytes())
	default:
		return fmt.Sprint(v.Interface())
	}
}

// leaseVaries recognises lease IDs drawn by the server and remaining times.
func leaseVaries(in protoreflect.Message, fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
	switch m := in.Interface().(type) {
	case *etcdserverpb.LeaseGrantResponse:
		return fd.Name() == "ID" && v.Int() > 1<<32
	case *etcdserverpb.LeaseStatus:
		return fd.Name() == "ID" && v.Int() > 1<<32
	case *etcdserverpb.LeaseTimeToLiveResponse:
		return fd.Name() == "TTL" && m.TTL > 0 && m.TTL <= m.GrantedTTL && m.GrantedTTL-m.TTL < 60
	}
	return false
}

func renderHeader(h *etcdserverpb.ResponseHeader) string {
	ids := 0
	for _, id := range []uint64{h.ClusterId, h.MemberId, h.RaftTerm} {
		if id != 0 {
			ids++
		}
	}
	switch ids {
	case 3:
		return fmt.Sprintf("@%d", h.Revision)
	case 0:
		return fmt.Sprintf("@%d(bare)", h.Revision)
	default:
		return fmt.Sprintf("@%d(incomplete: %d %d %d)", h.Revision, h.ClusterId, h.MemberId, h.RaftTerm)
	}
}

func renderKV(kv *mvccpb.KeyValue) string {
	text := fmt.Sprintf("%s=%s c%d m%d v%d", renderBytes(kv.Key), renderBytes(kv.Value), kv.CreateRevision, kv.ModRevision, kv.Version)
	if kv.Lease != 0 {
		text += fmt.Sprintf(" lease %d", kv.Lease)
	}
	return text
}

func renderBytes(b []byte) string {
	if len(b) > longValue {
		return fmt.Sprintf("<%d bytes>", len(b))
	}
	text := strconv.Quote(string(b))
	if plain := text[1 : len(text)-1]; plain == string(b) && !strings.ContainsAny(plain, " {}:=") && plain != "" {
		return plain
	}
	return text
}
