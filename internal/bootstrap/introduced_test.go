package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keelson-db/keelson/internal/config"
	"github.com/keelson-db/keelson/internal/member"
)

// fakeDiscovery is as much of a discovery cluster as members use.
type fakeDiscovery struct {
	pb.UnimplementedKVServer
	pb.UnimplementedWatchServer
	addr string

	mu       sync.Mutex
	rows     []*mvccpb.KeyValue
	revision int64
	changed  chan struct{} // closed by the next change
	// failures are calls to come that fail, cut watches to come that end at once; failed tells of each.
	failures, cut int
	failed        chan struct{}
}

func newDiscovery(t *testing.T, rows ...string) *fakeDiscovery {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeDiscovery{addr: l.Addr().String(), revision: 1, changed: make(chan struct{}), failed: make(chan struct{}, 16)}
	for i := 0; i < len(rows); i += 2 {
		f.put(rows[i], rows[i+1])
	}
	s := grpc.NewServer()
	pb.RegisterKVServer(s, f)
	pb.RegisterWatchServer(s, f)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		<-served
	})
	return f
}

func (f *fakeDiscovery) put(key, value string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revision++
	i := slices.IndexFunc(f.rows, func(kv *mvccpb.KeyValue) bool { return string(kv.Key) == key })
	if i < 0 {
		i = len(f.rows)
		f.rows = append(f.rows, &mvccpb.KeyValue{Key: []byte(key), CreateRevision: f.revision})
	}
	f.rows[i] = &mvccpb.KeyValue{Key: []byte(key), Value: []byte(value), CreateRevision: f.rows[i].CreateRevision, ModRevision: f.revision}
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeDiscovery) fails() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failures == 0 {
		return nil
	}
	f.failures--
	f.failed <- struct{}{}
	return status.Error(codes.ResourceExhausted, "out of order")
}

func (f *fakeDiscovery) Range(_ context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if err := f.fails(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	found := &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: f.revision}}
	for _, kv := range f.rows {
		if key := string(kv.Key); key == string(r.Key) || len(r.RangeEnd) > 0 && key >= string(r.Key) && key < string(r.RangeEnd) {
			found.Kvs = append(found.Kvs, kv)
		}
	}
	slices.SortFunc(found.Kvs, func(a, b *mvccpb.KeyValue) int { return strings.Compare(string(a.Key), string(b.Key)) })
	return found, nil
}

func (f *fakeDiscovery) Put(_ context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	if err := f.fails(); err != nil {
		return nil, err
	}
	f.put(string(r.Key), string(r.Value))
	return &pb.PutResponse{Header: &pb.ResponseHeader{}}, nil
}

// Watch tells every change since the revision asked for as one event.
func (f *fakeDiscovery) Watch(stream pb.Watch_WatchServer) error {
	r, err := stream.Recv()
	if err != nil {
		return err
	}
	if err := stream.Send(&pb.WatchResponse{Header: &pb.ResponseHeader{}, Created: true}); err != nil {
		return err
	}
	f.mu.Lock()
	cut := f.cut > 0
	if cut {
		f.cut--
		f.failed <- struct{}{}
	}
	f.mu.Unlock()
	if cut {
		return stream.Send(&pb.WatchResponse{Header: &pb.ResponseHeader{}, Canceled: true, CompactRevision: 99})
	}
	for {
		f.mu.Lock()
		news, changed := f.revision >= r.GetCreateRequest().StartRevision, f.changed
		f.mu.Unlock()
		if news {
			return stream.Send(&pb.WatchResponse{Header: &pb.ResponseHeader{}, Events: []*mvccpb.Event{{Kv: &mvccpb.KeyValue{Key: []byte("x"), ModRevision: r.GetCreateRequest().StartRevision}}}})
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

const (
	sizeKey   = "/_etcd/registry/t/_config/size"
	memberKey = "/_etcd/registry/t/members/"
)

// candidate are the flags of a member that is to be introduced.
func (f *fakeDiscovery) candidate(name, u string) string {
	return fmt.Sprintf("--discovery-endpoints=%s --discovery-token=t --name=%s --initial-advertise-peer-urls=%s ", f.addr, name, u)
}

func TestThreeStrangersAreIntroduced(t *testing.T) {
	f := newDiscovery(t, sizeKey, "3", memberKey+"junk", "no member")
	type result struct {
		name string
		plan Plan
		err  error
	}
	results := make(chan result, 3)
	for _, name := range []string{"a", "b", "c"} {
		go func() {
			p, err := Resolve(t.Context(), parseArgs(t, f.candidate(name, "http://127.0.0.1:"+map[string]string{"a": "1", "b": "2", "c": "3"}[name])),
				Options{Client: &http.Client{}, Resolver: &fakeDNS{}, Log: slog.New(slog.DiscardHandler)})
			results <- result{name, p, err}
		}()
	}
	var cluster uint64
	for range 3 {
		r := <-results
		if r.err != nil {
			t.Fatal(r.err)
		}
		if cluster == 0 {
			cluster = r.plan.Cluster
		}
		i := slices.IndexFunc(r.plan.Members, func(m member.Member) bool { return m.ID == r.plan.Local })
		if r.plan.Cluster != cluster || r.plan.Existing || len(r.plan.Members) != 3 || i < 0 || r.plan.Members[i].Name != r.name ||
			uint64(r.plan.Local) != config.MemberID(r.plan.Members[i].PeerURLs, "t") {
			t.Errorf("%s: %s", r.name, summary(r.plan))
		}
	}
	// Who was there asks again after a crash and gets the same; a fourth one comes too late.
	p, err := resolveArgs(t, f.candidate("b", "http://127.0.0.1:2"), nil)
	if err != nil || p.Cluster != cluster {
		t.Errorf("%s %v", summary(p), err)
	}
	_, err = resolveArgs(t, f.candidate("d", "http://127.0.0.1:4"), nil)
	wantError(t, "too late", err, "failed to join discovery cluster (discovery: cluster is full)")
}

func TestARegistryThatCannotBeIsRefusedInEtcdsWords(t *testing.T) {
	const u = "http://127.0.0.1:1"
	self := memberKey + fmt.Sprintf("%x", config.MemberID([]string{u}, "t"))
	for name, c := range map[string]struct {
		rows []string
		want string
	}{
		"no size":    {nil, "failed to join discovery cluster (discovery: size key not found)"},
		"bad size":   {[]string{sizeKey, "three"}, "failed to join discovery cluster (discovery: size key is bad)"},
		"no members": {[]string{sizeKey, "0"}, "failed to join discovery cluster (discovery: size key is bad)"},
		"full":       {[]string{sizeKey, "1", memberKey + "9", "b=http://b:1"}, "failed to join discovery cluster (discovery: cluster is full)"},
		"too late":   {[]string{sizeKey, "1", memberKey + "9", "b=http://b:1", self, "a=" + u}, "failed to join discovery cluster (discovery: cluster is full)"},
		"bad URL":    {[]string{sizeKey, "2", memberKey + "9", "b=nowhere"}, "failed to join discovery cluster (discovery: invalid peer URL)"},
		"same URL":   {[]string{sizeKey, "2", memberKey + "9", "b=" + u}, "discovery cluster a=" + u + ",b=" + u + " has duplicate url"},
		"same name": {[]string{sizeKey, "2", memberKey + "9", "a=http://127.0.0.1:2"}, "discovery cluster a=" + u + `,a=http://127.0.0.1:2 has another member with the name "a": ` +
			"give each one a name of its own with --name"},
	} {
		f := newDiscovery(t, c.rows...)
		_, err := resolveArgs(t, f.candidate("a", u), nil)
		wantError(t, name, err, c.want)
	}
	_, err := resolveArgs(t, newDiscovery(t).candidate("a", u)+"--discovery-cert=c", nil)
	wantError(t, "half a pair", err, "failed to join discovery cluster (KeyFile and CertFile must both be present[key: , cert: c])")
}

// TestADiscoveryClusterThatFailsIsAskedAgain fails one call of each kind and ends a watch.
func TestADiscoveryClusterThatFailsIsAskedAgain(t *testing.T) {
	f := newDiscovery(t, sizeKey, "2")
	f.failures, f.cut = 1, 1
	done := make(chan error, 1)
	go func() {
		p, err := Resolve(t.Context(), parseArgs(t, f.candidate("a", "http://127.0.0.1:1")), Options{Client: &http.Client{}, Resolver: &fakeDNS{}, Log: slog.New(slog.DiscardHandler)})
		if err == nil && len(p.Members) != 2 {
			err = fmt.Errorf("%s", summary(p))
		}
		done <- err
	}()
	<-f.failed // the first call
	<-f.failed // the first watch
	f.put(memberKey+"9", "b=http://127.0.0.1:2")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if f.failures != 0 || f.cut != 0 {
		t.Errorf("%d failures and %d cuts were not met", f.failures, f.cut)
	}
}

// waitFor returns when somebody has registered.
func (f *fakeDiscovery) waitFor(t *testing.T, prefix string) {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		f.mu.Lock()
		there, changed := slices.ContainsFunc(f.rows, func(kv *mvccpb.KeyValue) bool { return strings.HasPrefix(string(kv.Key), prefix) }), f.changed
		f.mu.Unlock()
		if there {
			return
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatal("nobody registers")
		}
	}
}

// TestAMemberThatWasIntroducedBeforeFoundsNothing starts one again whose data is gone, beside another that remembers it.
func TestAMemberThatWasIntroducedBeforeFoundsNothing(t *testing.T) {
	other := newPeer(t, 7)
	id := config.MemberID([]string{own}, "t")
	other.members = []remoteMember{{ID: 5, PeerURLs: []string{other.URL}}, {ID: member.ID(id), PeerURLs: []string{own}, ClientURLs: []string{"http://127.0.0.1:2"}}}
	f := newDiscovery(t, sizeKey, "2", memberKey+fmt.Sprintf("%x", id), "a="+own, memberKey+"9", "b="+other.URL)
	_, err := resolveArgs(t, f.candidate("a", own), nil)
	wantError(t, "lost", err, fmt.Sprintf("member %x has already been bootstrapped", id))
}

// TestPausesGrowUpToABound fails for as long as somebody may.
func TestPausesGrowUpToABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, begin := &directory{log: slog.New(slog.DiscardHandler)}, time.Now()
		for range 10 {
			if err := d.pause(t.Context(), "ask", errors.New("no")); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begin); took != (2+4+8+16+32+64+128+256+256+256)*time.Second {
			t.Errorf("took %v", took)
		}
		d.retries = 1 << 40
		if err := d.pause(t.Context(), "ask", nil); err != nil || time.Since(begin) > 2*time.Hour {
			t.Error(err)
		}
	})
}

func TestAStopEndsTheWaitForOthers(t *testing.T) {
	f := newDiscovery(t, sizeKey, "2")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := Resolve(ctx, parseArgs(t, f.candidate("a", "http://127.0.0.1:1")), Options{Client: &http.Client{}, Resolver: &fakeDNS{}, Log: slog.New(slog.DiscardHandler)})
		done <- err
	}()
	f.waitFor(t, memberKey)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
