package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// jsonPrinter prints one JSON object per answer and line. Keys and values are text where they are valid
// UTF-8; where they are not, they stand base64-encoded in a field of their own, so that the two cannot be
// confused. IDs are hexadecimal text, because not every reader of JSON keeps 64 bits.
type jsonPrinter struct{ enc *json.Encoder }

func newJSONPrinter(w io.Writer) *jsonPrinter {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return &jsonPrinter{enc}
}

type jsonKV struct {
	Key            *string `json:"key,omitempty"`
	KeyBase64      []byte  `json:"key_base64,omitempty"`
	Value          *string `json:"value,omitempty"`
	ValueBase64    []byte  `json:"value_base64,omitempty"`
	CreateRevision int64   `json:"create_revision,omitempty"`
	ModRevision    int64   `json:"mod_revision,omitempty"`
	Version        int64   `json:"version,omitempty"`
	Lease          string  `json:"lease,omitempty"`
}

// readable converts a pair; without its value where there is none to show.
func readable(kv *mvccpb.KeyValue, value bool) *jsonKV {
	if kv == nil {
		return nil
	}
	out := &jsonKV{CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision, Version: kv.Version}
	out.Key, out.KeyBase64 = textOrBytes(kv.Key)
	if value {
		out.Value, out.ValueBase64 = textOrBytes(kv.Value)
	}
	if kv.Lease != 0 {
		out.Lease = strconv.FormatInt(kv.Lease, 16)
	}
	return out
}

func textOrBytes(b []byte) (*string, []byte) {
	if !utf8.Valid(b) {
		return nil, b
	}
	s := string(b)
	return &s, nil
}

func (p *jsonPrinter) print(v any) error {
	if err := p.enc.Encode(v); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func (p *jsonPrinter) put(r *clientv3.PutResponse) error {
	return p.print(struct {
		Revision int64   `json:"revision"`
		Prev     *jsonKV `json:"prev,omitempty"`
	}{r.Header.GetRevision(), readable(r.PrevKv, true)})
}

func (p *jsonPrinter) get(r *clientv3.GetResponse, s shown) error {
	out := struct {
		Revision int64     `json:"revision"`
		Count    int64     `json:"count"`
		More     bool      `json:"more,omitempty"`
		KVs      []*jsonKV `json:"kvs,omitempty"`
	}{Revision: r.Header.GetRevision(), Count: r.Count, More: r.More}
	for _, kv := range r.Kvs {
		out.KVs = append(out.KVs, readable(kv, !s.keys))
	}
	return p.print(out)
}

func (p *jsonPrinter) del(r *clientv3.DeleteResponse) error {
	out := struct {
		Revision int64     `json:"revision"`
		Deleted  int64     `json:"deleted"`
		Prev     []*jsonKV `json:"prev,omitempty"`
	}{Revision: r.Header.GetRevision(), Deleted: r.Deleted}
	for _, kv := range r.PrevKvs {
		out.Prev = append(out.Prev, readable(kv, true))
	}
	return p.print(out)
}

// watch prints a line per change, so that a reader can follow line by line.
func (p *jsonPrinter) watch(r *clientv3.WatchResponse) error {
	for _, e := range r.Events {
		put := e.Type == clientv3.EventTypePut
		kind := "delete"
		if put {
			kind = "put"
		}
		err := p.print(struct {
			Type string  `json:"type"`
			KV   *jsonKV `json:"kv"`
			Prev *jsonKV `json:"prev,omitempty"`
		}{kind, readable(e.Kv, put), readable(e.PrevKv, true)})
		if err != nil {
			return err
		}
	}
	return nil
}

type jsonStatus struct {
	Endpoint         string   `json:"endpoint"`
	Error            string   `json:"error,omitempty"`
	ClusterID        string   `json:"cluster_id,omitempty"`
	MemberID         string   `json:"member_id,omitempty"`
	Leader           string   `json:"leader,omitempty"`
	Learner          bool     `json:"learner,omitempty"`
	Version          string   `json:"version,omitempty"`
	Revision         int64    `json:"revision,omitempty"`
	DBSize           int64    `json:"db_size,omitempty"`
	DBSizeInUse      int64    `json:"db_size_in_use,omitempty"`
	RaftTerm         uint64   `json:"raft_term,omitempty"`
	RaftIndex        uint64   `json:"raft_index,omitempty"`
	RaftAppliedIndex uint64   `json:"raft_applied_index,omitempty"`
	Problems         []string `json:"problems,omitempty"`
}

func (p *jsonPrinter) status(list []endpointStatus) error {
	for _, one := range list {
		out := jsonStatus{Endpoint: one.endpoint}
		if one.err != nil {
			out.Error = one.err.Error()
		} else {
			s := one.status
			out.ClusterID, out.MemberID = hex(s.Header.GetClusterId()), hex(s.Header.GetMemberId())
			out.Leader, out.Learner, out.Version = hex(s.Leader), s.IsLearner, s.Version
			out.Revision, out.DBSize, out.DBSizeInUse = s.Header.GetRevision(), s.DbSize, s.DbSizeInUse
			out.RaftTerm, out.RaftIndex, out.RaftAppliedIndex = s.RaftTerm, s.RaftIndex, s.RaftAppliedIndex
			out.Problems = s.Errors
		}
		if err := p.print(out); err != nil {
			return err
		}
	}
	return nil
}

func hex(id uint64) string {
	if id == 0 {
		return ""
	}
	return strconv.FormatUint(id, 16)
}
