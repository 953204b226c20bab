package metrics

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
)

// series is one name of etcd's contract: its type, its labels in alphabetical order, and for histograms
// the first bucket, the factor and the number of buckets.
type series struct {
	name   string
	kind   string // C, G or H
	labels string
	start  float64
	factor float64
	n      int
}

// contract is the whole list of names, one row each, in the order of the compatibility notes.
func contract() []series {
	c := func(name, labels string) series { return series{name: name, kind: "C", labels: labels} }
	g := func(name, labels string) series { return series{name: name, kind: "G", labels: labels} }
	h := func(name, labels string, start, factor float64, n int) series {
		return series{name: name, kind: "H", labels: labels, start: start, factor: factor, n: n}
	}
	return []series{
		g("etcd_server_has_leader", ""),
		g("etcd_server_is_leader", ""),
		g("etcd_server_is_learner", ""),
		c("etcd_server_leader_changes_seen_total", ""),
		c("etcd_server_learner_promote_failures", "Reason"),
		c("etcd_server_learner_promote_successes", ""),
		c("etcd_server_heartbeat_send_failures_total", ""),
		c("etcd_server_slow_apply_total", ""),
		h("etcd_server_apply_duration_seconds", "op,success,version", 0.0001, 2, 20),
		h("etcd_server_range_duration_seconds", "success", 0.0001, 2, 20),
		h("etcd_server_request_duration_seconds", "success,type", 0.001, 2, 14),
		g("etcd_server_proposals_committed_total", ""),
		g("etcd_server_proposals_applied_total", ""),
		g("etcd_server_proposals_pending", ""),
		c("etcd_server_proposals_failed_total", ""),
		c("etcd_server_slow_read_indexes_total", ""),
		c("etcd_server_read_indexes_failed_total", ""),
		g("etcd_server_snapshot_apply_in_progress_total", ""),
		g("etcd_server_quota_backend_bytes", ""),
		c("etcd_server_client_requests_total", "client_api_version,type"),
		g("etcd_server_version", "server_version"),
		g("etcd_server_go_version", "server_go_version"),
		g("etcd_server_id", "server_id"),
		g("etcd_cluster_version", "cluster_version"),
		g("etcd_server_feature_enabled", "name,stage"),
		c("etcd_server_health_success", ""),
		c("etcd_server_health_failures", ""),
		g("etcd_server_healthcheck", "name,type"),
		c("etcd_server_healthchecks_total", "name,status,type"),
		g("os_fd_used", ""),
		g("os_fd_limit", ""),

		h("etcd_disk_wal_fsync_duration_seconds", "", 0.001, 2, 14),
		h("etcd_disk_wal_write_duration_seconds", "", 0.001, 2, 14),
		g("etcd_disk_wal_write_bytes_total", ""),
		h("etcd_disk_backend_commit_duration_seconds", "", 0.001, 2, 14),
		h("etcd_disk_backend_defrag_duration_seconds", "", .1, 2, 13),
		h("etcd_disk_backend_snapshot_duration_seconds", "", .01, 2, 17),
		g("etcd_disk_defrag_inflight", ""),
		h("etcd_debugging_disk_backend_commit_rebalance_duration_seconds", "", 0.001, 2, 14),
		h("etcd_debugging_disk_backend_commit_spill_duration_seconds", "", 0.001, 2, 14),
		h("etcd_debugging_disk_backend_commit_write_duration_seconds", "", 0.001, 2, 14),
		h("etcd_snap_db_fsync_duration_seconds", "", 0.001, 2, 14),
		h("etcd_snap_db_save_total_duration_seconds", "", 0.1, 2, 10),
		h("etcd_snap_fsync_duration_seconds", "", 0.001, 2, 14),
		h("etcd_debugging_snap_save_marshalling_duration_seconds", "", 0.001, 2, 14),
		h("etcd_debugging_snap_save_total_duration_seconds", "", 0.001, 2, 14),

		g("etcd_mvcc_db_total_size_in_bytes", ""),
		g("etcd_mvcc_db_total_size_in_use_in_bytes", ""),
		g("etcd_mvcc_db_open_read_transactions", ""),
		c("etcd_mvcc_put_total", ""),
		c("etcd_mvcc_delete_total", ""),
		c("etcd_mvcc_range_total", ""),
		c("etcd_mvcc_txn_total", ""),
		h("etcd_mvcc_hash_duration_seconds", "", .01, 2, 15),
		h("etcd_mvcc_hash_rev_duration_seconds", "", .01, 2, 15),
		g("etcd_debugging_mvcc_keys_total", ""),
		g("etcd_debugging_mvcc_current_revision", ""),
		g("etcd_debugging_mvcc_compact_revision", ""),
		g("etcd_debugging_mvcc_watch_stream_total", ""),
		g("etcd_debugging_mvcc_watcher_total", ""),
		g("etcd_debugging_mvcc_slow_watcher_total", ""),
		g("etcd_debugging_mvcc_pending_events_total", ""),
		c("etcd_debugging_mvcc_events_total", ""),
		g("etcd_debugging_mvcc_total_put_size_in_bytes", ""),
		c("etcd_debugging_mvcc_db_compaction_keys_total", ""),
		g("etcd_debugging_mvcc_db_compaction_last", ""),
		h("etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds", "", 1, 2, 13),
		h("etcd_debugging_mvcc_db_compaction_total_duration_milliseconds", "", 100, 2, 14),
		h("etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds", "", 0.5, 2, 14),

		c("etcd_network_client_grpc_received_bytes_total", ""),
		c("etcd_network_client_grpc_sent_bytes_total", ""),
		c("etcd_network_peer_received_bytes_total", "From"),
		c("etcd_network_peer_sent_bytes_total", "To"),
		c("etcd_network_peer_sent_failures_total", "To"),
		c("etcd_network_peer_received_failures_total", "From"),
		h("etcd_network_peer_round_trip_time_seconds", "To", 0.0001, 2, 16),
		g("etcd_network_active_peers", "Local,Remote"),
		c("etcd_network_disconnected_peers_total", "Local,Remote"),
		g("etcd_network_known_peers", "Local,Remote"),
		c("etcd_network_server_stream_failures_total", "API,Type"),
		c("etcd_network_snapshot_send_success", "To"),
		c("etcd_network_snapshot_send_failures", "To"),
		g("etcd_network_snapshot_send_inflights_total", "To"),
		h("etcd_network_snapshot_send_total_duration_seconds", "To", 0.1, 2, 10),
		c("etcd_network_snapshot_receive_success", "From"),
		c("etcd_network_snapshot_receive_failures", "From"),
		g("etcd_network_snapshot_receive_inflights_total", "From"),
		h("etcd_network_snapshot_receive_total_duration_seconds", "From", 0.1, 2, 10),

		c("etcd_debugging_lease_granted_total", ""),
		c("etcd_debugging_lease_revoked_total", ""),
		c("etcd_debugging_lease_renewed_total", ""),
		h("etcd_debugging_lease_ttl_total", "", 1, 2, 24),
		c("etcd_debugging_server_lease_expired_total", ""),
		g("etcd_debugging_auth_revision", ""),
		g("etcd_debugging_server_alarms", "alarm_type,server_id"),
		h("etcd_debugging_server_watch_send_loop_watch_stream_duration_seconds", "", 0.001, 2, 14),
		h("etcd_debugging_server_watch_send_loop_watch_stream_duration_per_event_seconds", "", 0.001, 2, 14),
		h("etcd_debugging_server_watch_send_loop_control_stream_duration_seconds", "", 0.001, 2, 14),
		h("etcd_debugging_server_watch_send_loop_progress_duration_seconds", "", 0.001, 2, 14),

		c("grpc_server_started_total", "grpc_method,grpc_service,grpc_type"),
		c("grpc_server_handled_total", "grpc_code,grpc_method,grpc_service,grpc_type"),
		c("grpc_server_msg_received_total", "grpc_method,grpc_service,grpc_type"),
		c("grpc_server_msg_sent_total", "grpc_method,grpc_service,grpc_type"),
		h("grpc_server_handling_seconds", "grpc_method,grpc_service,grpc_type", 0.005, 0, 11),
	}
}

// speakOnce gives every vector a series, because a vector without one shows nothing.
func speakOnce(s *Set) {
	s.Server.SetIdentity(0x8e9e05c52164694d, "3.7.3")
	s.Server.ClientRequests.Unary("3.7")
	s.Server.ApplyOutcomes("Put").Observe(time.Millisecond, nil)
	s.Server.RangeOutcomes().Observe(time.Millisecond, nil)
	s.Server.RequestOutcomes("Put").Observe(time.Millisecond, nil)
	s.GRPC.Register([]MethodInfo{{"etcdserverpb.KV", "Range", Unary}}, true)
	n := s.Network
	for _, v := range []*prometheus.CounterVec{
		s.Server.LearnerPromoteFailures, n.PeerReceivedBytes, n.PeerSentBytes, n.PeerSentFailures, n.PeerReceivedFailures,
		n.SnapshotSend.Success, n.SnapshotSend.Failures, n.SnapshotReceive.Success, n.SnapshotReceive.Failures,
	} {
		v.WithLabelValues("1")
	}
	s.Server.Healthchecks.WithLabelValues("livez", "serializable_read", "success")
	s.Server.Healthcheck.WithLabelValues("livez", "serializable_read")
	s.Server.SetFeature("InitialCorruptCheck", "ALPHA", false)
	s.Observe(Sources{
		Alarms:         func() []Alarm { return []Alarm{{1, "NOSPACE"}} },
		ClusterVersion: func() string { return "3.7" },
	})
	n.StreamFailures.WithLabelValues("receive", "watch")
	n.DisconnectedPeers.WithLabelValues("1", "2")
	n.ActivePeers.WithLabelValues("1", "2")
	n.KnownPeers.WithLabelValues("1", "2")
	n.PeerRoundTrip.WithLabelValues("1")
	n.SnapshotSend.Inflight.WithLabelValues("1")
	n.SnapshotReceive.Inflight.WithLabelValues("1")
	n.SnapshotSend.Duration.WithLabelValues("1")
	n.SnapshotReceive.Duration.WithLabelValues("1")
}

// gathered is a scrape, as one line per name: "name kind labels buckets".
func gathered(t *testing.T, s *Set) map[string]string {
	t.Helper()
	families, err := s.Registry.Gather()
	if err != nil {
		t.Fatalf("gather: %v", err)
	}
	lines := map[string]string{}
	for _, f := range families {
		m := f.GetMetric()[0]
		var labels []string
		for _, l := range m.GetLabel() {
			labels = append(labels, l.GetName())
		}
		slices.Sort(labels)
		var bounds []float64
		for _, b := range m.GetHistogram().GetBucket() {
			bounds = append(bounds, b.GetUpperBound())
		}
		lines[f.GetName()] = line(f.GetType().String()[:1], strings.Join(labels, ","), bounds)
	}
	return lines
}

func line(kind, labels string, bounds []float64) string {
	text := fmt.Sprintf("%s {%s}", kind, labels)
	for _, b := range bounds {
		text += fmt.Sprintf(" %.9g", b)
	}
	return text
}

func (s series) want() string {
	var bounds []float64
	if s.factor == 0 && s.kind == "H" {
		bounds = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	} else {
		for i := range s.n {
			bounds = append(bounds, s.start*math.Pow(s.factor, float64(i)))
		}
	}
	return line(s.kind, s.labels, bounds)
}

func TestNamesTypesLabelsAndBucketsAreEtcds(t *testing.T) {
	s := New()
	speakOnce(s)
	got := gathered(t, s)
	known := map[string]bool{}
	for _, row := range contract() {
		known[row.name] = true
		if got[row.name] != row.want() {
			t.Errorf("%s\n got %s\nwant %s", row.name, got[row.name], row.want())
		}
	}
	for name := range got {
		own, _, _ := strings.Cut(name, "_")
		if !known[name] && !slices.Contains([]string{"go", "process", "keelson"}, own) {
			t.Errorf("%s is neither a name of etcd's nor marked as ours", name)
		}
	}
	for _, name := range []string{"go_goroutines", "go_memstats_alloc_bytes"} {
		if got[name] == "" {
			t.Errorf("%s is missing", name)
		}
	}
	if runtime.GOOS == "linux" && got["process_resident_memory_bytes"] == "" {
		t.Error("process_resident_memory_bytes is missing")
	}
}

func TestWhatAlertsReadIsThereBeforeAnythingHappens(t *testing.T) {
	got := gathered(t, New())
	for _, name := range []string{
		"etcd_server_has_leader", "etcd_server_leader_changes_seen_total", "etcd_server_proposals_committed_total",
		"etcd_server_proposals_applied_total", "etcd_server_proposals_pending", "etcd_server_proposals_failed_total",
		"etcd_server_quota_backend_bytes", "etcd_disk_wal_fsync_duration_seconds",
		"etcd_disk_backend_commit_duration_seconds", "etcd_mvcc_db_total_size_in_bytes",
		"etcd_mvcc_db_total_size_in_use_in_bytes", "etcd_network_client_grpc_received_bytes_total",
		"etcd_network_client_grpc_sent_bytes_total",
	} {
		if got[name] == "" {
			t.Errorf("%s is missing from a new set", name)
		}
	}
}

// value reads one series: its name and the label values in the alphabetical order of the labels.
func value(t *testing.T, s *Set, name string, labels ...string) float64 {
	t.Helper()
	families, err := s.Registry.Gather()
	if err != nil {
		t.Fatalf("gather: %v", err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if !slices.Equal(values, labels) {
				continue
			}
			if m.GetHistogram() != nil {
				return float64(m.GetHistogram().GetSampleCount())
			}
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	t.Fatalf("%s%v has no series", name, labels)
	return 0
}

func TestTwoSetsInOneProcessDoNotMix(t *testing.T) {
	a, b := New(), New()
	a.MVCC.Puts.Add(3)
	a.Observe(Sources{Revision: func() float64 { return 7 }})
	for _, check := range []struct {
		set  *Set
		name string
		want float64
	}{
		{a, "etcd_mvcc_put_total", 3},
		{b, "etcd_mvcc_put_total", 0},
		{a, "etcd_debugging_mvcc_current_revision", 7},
		{b, "etcd_debugging_mvcc_current_revision", 0},
	} {
		if got := value(t, check.set, check.name); got != check.want {
			t.Errorf("%s is %v, want %v", check.name, got, check.want)
		}
	}
}

func TestSourcesAreReadAtScrapeTimeAndCanBeReplaced(t *testing.T) {
	s := New()
	applied := 1.0
	s.Observe(Sources{AppliedIndex: func() float64 { return applied }})
	applied = 42
	if got := value(t, s, "etcd_server_proposals_applied_total"); got != 42 {
		t.Errorf("applied is %v, want the value at scrape time, 42", got)
	}
	s.Observe(Sources{})
	if got := value(t, s, "etcd_server_proposals_applied_total"); got != 0 {
		t.Errorf("applied is %v after its source was let go, want 0", got)
	}
}

func TestAlarmsAreShownWhileTheyAreRaised(t *testing.T) {
	s := New()
	raised := []Alarm{{0x8e9e05c52164694d, "NOSPACE"}, {0, "CORRUPT"}}
	s.Observe(Sources{Alarms: func() []Alarm { return raised }})
	for _, labels := range [][]string{{"NOSPACE", "8e9e05c52164694d"}, {"CORRUPT", "0"}} {
		if got := value(t, s, "etcd_debugging_server_alarms", labels...); got != 1 {
			t.Errorf("%v is %v", labels, got)
		}
	}
	raised = nil
	if got := gathered(t, s)["etcd_debugging_server_alarms"]; got != "" {
		t.Errorf("a cleared alarm is shown as %s", got)
	}
	for i := range uint64(1000) {
		raised = append(raised, Alarm{i, "CORRUPT"})
	}
	value(t, s, "etcd_debugging_server_alarms", "CORRUPT", "3f")
}

func TestIdentityAndClusterVersionReplaceWhatWasThere(t *testing.T) {
	s := New()
	s.Server.SetIdentity(0x8e9e05c52164694d, "3.7.3")
	version := "3.7"
	s.Observe(Sources{ClusterVersion: func() string { return version }})
	value(t, s, "etcd_cluster_version", "3.7")
	version = "3.6"
	value(t, s, "etcd_server_id", "8e9e05c52164694d")
	value(t, s, "etcd_server_version", "3.7.3")
	value(t, s, "etcd_server_go_version", runtime.Version())
	if got := value(t, s, "etcd_cluster_version", "3.6"); got != 1 {
		t.Errorf("cluster version 3.6 is %v, want 1", got)
	}
	families, _ := s.Registry.Gather()
	for _, f := range families {
		if f.GetName() == "etcd_cluster_version" && len(f.GetMetric()) != 1 {
			t.Errorf("%d cluster versions are shown at once", len(f.GetMetric()))
		}
	}
}

func TestOutcomesAreSplitBySuccess(t *testing.T) {
	s := New()
	put := s.Server.ApplyOutcomes("Put")
	put.Observe(time.Millisecond, nil)
	put.Observe(time.Millisecond, nil)
	put.Observe(time.Millisecond, fmt.Errorf("no space"))
	s.Server.RequestOutcomes("Range").Observe(time.Second, nil)
	if got := value(t, s, "etcd_server_apply_duration_seconds", "Put", "true", "v3"); got != 2 {
		t.Errorf("%v good applies, want 2", got)
	}
	if got := value(t, s, "etcd_server_apply_duration_seconds", "Put", "false", "v3"); got != 1 {
		t.Errorf("%v failed applies, want 1", got)
	}
	if got := value(t, s, "etcd_server_request_duration_seconds", "true", "Range"); got != 1 {
		t.Errorf("%v requests, want 1", got)
	}
}

func TestMethodsStartAtZeroForEveryCode(t *testing.T) {
	s := New()
	s.GRPC.Register([]MethodInfo{{"etcdserverpb.Watch", "Watch", BidiStream}}, false)
	for code := codes.OK; code <= codes.Unauthenticated; code++ {
		if got := value(t, s, "grpc_server_handled_total", code.String(), "Watch", "etcdserverpb.Watch", "bidi_stream"); got != 0 {
			t.Errorf("code %v starts at %v", code, got)
		}
	}
	for _, name := range []string{"grpc_server_started_total", "grpc_server_msg_received_total", "grpc_server_msg_sent_total"} {
		if got := value(t, s, name, "Watch", "etcdserverpb.Watch", "bidi_stream"); got != 0 {
			t.Errorf("%s starts at %v", name, got)
		}
	}
	if gathered(t, s)["grpc_server_handling_seconds"] != "" {
		t.Error("handling times are shown although nobody asked for extensive metrics")
	}
}

func TestCallsAreCountedByMethodAndCode(t *testing.T) {
	s := New()
	s.GRPC.Register([]MethodInfo{{"etcdserverpb.KV", "Range", Unary}}, true)
	m := s.GRPC.Method("/etcdserverpb.KV/Range")
	m.Started()
	m.MsgReceived()
	m.MsgSent()
	m.Handled(codes.OK)
	m.Handled(codes.Unavailable)
	m.Handled(codes.Code(99))
	if !m.Timed() {
		t.Fatal("extensive metrics do not time the call")
	}
	m.Took(time.Millisecond)
	// A second registration, as another server on the same set would make, keeps what was counted.
	s.GRPC.Register([]MethodInfo{{"etcdserverpb.KV", "Range", Unary}, {"etcdserverpb.KV", "Put", Unary}}, true)
	if s.GRPC.Method("/etcdserverpb.KV/Range") != m {
		t.Error("registering again made another counter")
	}
	labels := []string{"Range", "etcdserverpb.KV", "unary"}
	for name, want := range map[string]float64{
		"grpc_server_started_total": 1, "grpc_server_msg_received_total": 1,
		"grpc_server_msg_sent_total": 1, "grpc_server_handling_seconds": 1,
	} {
		if got := value(t, s, name, labels...); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	for code, want := range map[string]float64{"OK": 1, "Unavailable": 1, "Unknown": 1, "Internal": 0} {
		if got := value(t, s, "grpc_server_handled_total", append([]string{code}, labels...)...); got != want {
			t.Errorf("code %s is %v, want %v", code, got, want)
		}
	}
}

func TestAMethodThatNobodyRegisteredCountsNothing(t *testing.T) {
	s := New()
	m := s.GRPC.Method("/evil.Service/Name")
	m.Started()
	m.MsgReceived()
	m.MsgSent()
	m.Handled(codes.OK)
	m.Took(time.Second)
	if m.Timed() || gathered(t, s)["grpc_server_started_total"] != "" {
		t.Error("an unknown method made a series")
	}
}

func TestTypeOf(t *testing.T) {
	for _, c := range []struct {
		client, server bool
		want           MethodType
	}{{false, false, Unary}, {true, false, ClientStream}, {false, true, ServerStream}, {true, true, BidiStream}} {
		if got := TypeOf(c.client, c.server); got != c.want {
			t.Errorf("TypeOf(%v, %v) is %s, want %s", c.client, c.server, got, c.want)
		}
	}
}

func TestClientVersionsAreBounded(t *testing.T) {
	s := New()
	r := s.Server.ClientRequests
	r.Unary("").Inc()
	r.Stream("3.7").Inc()
	r.Stream("3.7").Inc()
	for i := range 10 * maxClientVersions {
		r.Unary(fmt.Sprintf("made-up-%d", i)).Inc()
	}
	r.Stream(strings.Repeat("x", 1000)).Inc()
	r.Stream("\xff").Inc()
	if got := value(t, s, "etcd_server_client_requests_total", "unknown", "unary"); got != 1 {
		t.Errorf("%v requests without a version, want 1", got)
	}
	if got := value(t, s, "etcd_server_client_requests_total", "3.7", "stream"); got != 2 {
		t.Errorf("%v streams of 3.7, want 2", got)
	}
	// unknown took one place, made-up ones the rest, and all others share one.
	if got := value(t, s, "etcd_server_client_requests_total", "other", "unary"); got != 9*maxClientVersions+1 {
		t.Errorf("%v other requests, want %d", got, 9*maxClientVersions+1)
	}
	value(t, s, "etcd_server_client_requests_total", strings.Repeat("x", maxClientVersionBytes), "stream")
	value(t, s, "etcd_server_client_requests_total", "?", "stream")
}

func TestCountingAndScrapingAtOnceLosesNothing(t *testing.T) {
	const workers, rounds = 8, 500
	s := New()
	s.GRPC.Register([]MethodInfo{{"etcdserverpb.KV", "Put", Unary}}, true)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			m := s.GRPC.Method("/etcdserverpb.KV/Put")
			for i := range rounds {
				m.Started()
				s.MVCC.Puts.Inc()
				s.Network.ClientSentBytes.Add(10)
				s.Server.ClientRequests.Unary(fmt.Sprint(i % 5)).Inc()
				m.Handled(codes.OK)
				if i%100 == 0 {
					s.Observe(Sources{Keys: func() float64 { return float64(w) }})
					s.GRPC.Register([]MethodInfo{{"svc", fmt.Sprint(w, i), Unary}}, true)
					if _, err := s.Registry.Gather(); err != nil {
						t.Errorf("gather: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
	if got := value(t, s, "etcd_mvcc_put_total"); got != workers*rounds {
		t.Errorf("%v puts, want %d", got, workers*rounds)
	}
	if got := value(t, s, "etcd_network_client_grpc_sent_bytes_total"); got != workers*rounds*10 {
		t.Errorf("%v bytes, want %d", got, workers*rounds*10)
	}
	if got := value(t, s, "grpc_server_handled_total", "OK", "Put", "etcdserverpb.KV", "unary"); got != workers*rounds {
		t.Errorf("%v calls handled, want %d", got, workers*rounds)
	}
}

func TestTheHotPathAllocatesNothing(t *testing.T) {
	s := New()
	s.GRPC.Register([]MethodInfo{{"etcdserverpb.KV", "Put", Unary}}, true)
	s.Server.ClientRequests.Unary("3.7")
	put := s.Server.ApplyOutcomes("Put")
	if n := testing.AllocsPerRun(100, func() {
		m := s.GRPC.Method("/etcdserverpb.KV/Put")
		m.Started()
		m.MsgReceived()
		s.Server.ClientRequests.Unary("3.7").Inc()
		s.MVCC.Puts.Inc()
		put.Observe(time.Millisecond, nil)
		m.MsgSent()
		m.Handled(codes.OK)
		m.Took(time.Millisecond)
	}); n != 0 {
		t.Errorf("counting one call allocates %v times", n)
	}
}

func BenchmarkOneCall(b *testing.B) {
	s := New()
	s.GRPC.Register([]MethodInfo{{"etcdserverpb.KV", "Put", Unary}}, false)
	for b.Loop() {
		m := s.GRPC.Method("/etcdserverpb.KV/Put")
		m.Started()
		m.MsgReceived()
		m.MsgSent()
		m.Handled(codes.OK)
	}
}

func BenchmarkScrapeOf60Methods(b *testing.B) {
	s := New()
	var methods []MethodInfo
	for i := range 60 {
		methods = append(methods, MethodInfo{"etcdserverpb.KV", fmt.Sprint("M", i), Unary})
	}
	s.GRPC.Register(methods, false)
	for b.Loop() {
		if _, err := s.Registry.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}
