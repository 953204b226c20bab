package integration

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/keelson-db/keelson/test/harness"
)

// exponential returns the upper bounds of n buckets.
func exponential(first, factor float64, n int) []float64 {
	bounds := make([]float64, n)
	for i := range bounds {
		bounds[i] = first
		first *= factor
	}
	return bounds
}

// metric is a name with its type and, for a histogram, its bounds.
type metric struct {
	name   string
	kind   dto.MetricType
	bounds []float64
}

// extensive is the metric that --metrics=extensive adds.
var extensive = metric{"grpc_server_handling_seconds", dto.MetricType_HISTOGRAM, []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}}

// watched are the metrics that the well-known dashboards and alerts read, with their types.
// A histogram's bounds are compared; a metric with a peer label has no sample on a single member and is left out.
var watched = []metric{
	{"etcd_server_has_leader", dto.MetricType_GAUGE, nil},
	{"etcd_server_leader_changes_seen_total", dto.MetricType_COUNTER, nil},
	{"etcd_server_proposals_committed_total", dto.MetricType_GAUGE, nil},
	{"etcd_server_proposals_applied_total", dto.MetricType_GAUGE, nil},
	{"etcd_server_proposals_pending", dto.MetricType_GAUGE, nil},
	{"etcd_server_proposals_failed_total", dto.MetricType_COUNTER, nil},
	{"etcd_server_quota_backend_bytes", dto.MetricType_GAUGE, nil},
	{"etcd_disk_wal_fsync_duration_seconds", dto.MetricType_HISTOGRAM, exponential(0.001, 2, 14)},
	{"etcd_disk_backend_commit_duration_seconds", dto.MetricType_HISTOGRAM, exponential(0.001, 2, 14)},
	{"etcd_mvcc_db_total_size_in_bytes", dto.MetricType_GAUGE, nil},
	{"etcd_mvcc_db_total_size_in_use_in_bytes", dto.MetricType_GAUGE, nil},
	{"etcd_network_client_grpc_received_bytes_total", dto.MetricType_COUNTER, nil},
	{"etcd_network_client_grpc_sent_bytes_total", dto.MetricType_COUNTER, nil},
	{"grpc_server_started_total", dto.MetricType_COUNTER, nil},
	{"grpc_server_handled_total", dto.MetricType_COUNTER, nil},
	{"grpc_server_msg_received_total", dto.MetricType_COUNTER, nil},
	{"grpc_server_msg_sent_total", dto.MetricType_COUNTER, nil},
	{"process_resident_memory_bytes", dto.MetricType_GAUGE, nil},
	{"process_open_fds", dto.MetricType_GAUGE, nil},
	{"go_goroutines", dto.MetricType_GAUGE, nil},
	// Not read by the dashboards, but part of the contract for whoever reads a single node.
	{"etcd_server_is_leader", dto.MetricType_GAUGE, nil},
	{"etcd_server_is_learner", dto.MetricType_GAUGE, nil},
	{"etcd_server_slow_apply_total", dto.MetricType_COUNTER, nil},
	{"etcd_server_apply_duration_seconds", dto.MetricType_HISTOGRAM, exponential(0.0001, 2, 20)},
	{"etcd_server_range_duration_seconds", dto.MetricType_HISTOGRAM, exponential(0.0001, 2, 20)},
	{"etcd_server_request_duration_seconds", dto.MetricType_HISTOGRAM, exponential(0.001, 2, 14)},
	{"etcd_server_slow_read_indexes_total", dto.MetricType_COUNTER, nil},
	{"etcd_server_read_indexes_failed_total", dto.MetricType_COUNTER, nil},
	{"etcd_server_client_requests_total", dto.MetricType_COUNTER, nil},
	{"etcd_server_version", dto.MetricType_GAUGE, nil},
	{"etcd_server_go_version", dto.MetricType_GAUGE, nil},
	{"etcd_server_id", dto.MetricType_GAUGE, nil},
	{"etcd_cluster_version", dto.MetricType_GAUGE, nil},
	{"etcd_server_health_success", dto.MetricType_COUNTER, nil},
	{"etcd_server_health_failures", dto.MetricType_COUNTER, nil},
	{"os_fd_used", dto.MetricType_GAUGE, nil},
	{"os_fd_limit", dto.MetricType_GAUGE, nil},
	{"etcd_mvcc_put_total", dto.MetricType_COUNTER, nil},
	{"etcd_mvcc_delete_total", dto.MetricType_COUNTER, nil},
	{"etcd_mvcc_range_total", dto.MetricType_COUNTER, nil},
	{"etcd_mvcc_txn_total", dto.MetricType_COUNTER, nil},
	{"etcd_debugging_mvcc_keys_total", dto.MetricType_GAUGE, nil},
	{"etcd_debugging_mvcc_current_revision", dto.MetricType_GAUGE, nil},
	{"etcd_debugging_mvcc_compact_revision", dto.MetricType_GAUGE, nil},
	{"etcd_debugging_mvcc_watch_stream_total", dto.MetricType_GAUGE, nil},
	{"etcd_debugging_mvcc_watcher_total", dto.MetricType_GAUGE, nil},
	{"etcd_debugging_mvcc_slow_watcher_total", dto.MetricType_GAUGE, nil},
	{"etcd_debugging_mvcc_events_total", dto.MetricType_COUNTER, nil},
	{"etcd_debugging_lease_granted_total", dto.MetricType_COUNTER, nil},
	{"etcd_debugging_lease_revoked_total", dto.MetricType_COUNTER, nil},
	{"etcd_debugging_lease_renewed_total", dto.MetricType_COUNTER, nil},
	{"etcd_debugging_server_lease_expired_total", dto.MetricType_COUNTER, nil},
}

func scrape(t *testing.T, url string) map[string]*dto.MetricFamily {
	t.Helper()
	got := ask(t, http.MethodGet, url+"/metrics")
	if got.code != http.StatusOK || !strings.HasPrefix(got.header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Fatalf("metrics: %d, %q", got.code, got.header.Get("Content-Type"))
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(got.body))
	if err != nil {
		t.Fatalf("read the metrics: %v", err)
	}
	return families
}

// sample returns the value of the one metric with these labels, written as name=value pairs.
func sample(t *testing.T, families map[string]*dto.MetricFamily, name string, labels ...string) float64 {
	t.Helper()
	for _, m := range families[name].GetMetric() {
		has := map[string]bool{}
		for _, l := range m.Label {
			has[l.GetName()+"="+l.GetValue()] = true
		}
		if !slices.ContainsFunc(labels, func(l string) bool { return !has[l] }) {
			return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	t.Errorf("no %s with %v", name, labels)
	return -1
}

// TestMetricsHaveEtcdsNamesTypesAndBuckets reads the client port and a metrics port.
func TestMetricsHaveEtcdsNamesTypesAndBuckets(t *testing.T) {
	t.Parallel()
	metrics := harness.FreeAddr(t)
	n := harness.Start(t, harness.Options{Args: []string{"--listen-metrics-urls", "http://" + metrics, "--metrics", "extensive"}})
	c := n.Client(t)
	must(c.Put(harness.Ctx(t), "k", "v"))(t)
	must(c.Get(harness.Ctx(t), "k"))(t)
	for _, url := range []string{n.URL(), "http://" + metrics} {
		families := scrape(t, url)
		for _, w := range append(slices.Clone(watched), extensive) {
			f := families[w.name]
			if f == nil {
				t.Errorf("%s is missing", w.name)
				continue
			}
			if f.GetType() != w.kind {
				t.Errorf("%s is a %v, want a %v", w.name, f.GetType(), w.kind)
			}
			if w.bounds == nil {
				continue
			}
			var bounds []string
			for _, b := range f.Metric[0].Histogram.Bucket {
				bounds = append(bounds, fmt.Sprintf("%.6g", b.GetUpperBound()))
			}
			want := fmt.Sprintf("%.6g", w.bounds)
			if got := "[" + strings.Join(slices.DeleteFunc(bounds, func(b string) bool { return b == "+Inf" }), " ") + "]"; got != want {
				t.Errorf("%s has bounds %s, want %s", w.name, got, want)
			}
		}
	}
	plain := harness.Start(t, harness.Options{})
	if scrape(t, plain.URL())[extensive.name] != nil {
		t.Error("basic metrics hold the handling times, which only extensive ones do")
	}
}

// TestMetricsCountWhatHappens makes known requests and reads the counters.
func TestMetricsCountWhatHappens(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	c := n.Client(t)
	ctx := harness.Ctx(t)
	before := scrape(t, n.URL())
	for i := range 7 {
		must(c.Put(ctx, fmt.Sprint(i), "v"))(t)
	}
	must(c.Delete(ctx, "0"))(t)
	must(c.Get(ctx, "1"))(t)
	if _, err := c.Put(ctx, "", "v"); err == nil {
		t.Error("an empty key was put")
	}
	grant := must(c.Grant(ctx, 100))(t)
	must(c.KeepAliveOnce(ctx, grant.ID))(t)
	must(c.Revoke(ctx, grant.ID))(t)
	watching := c.Watch(ctx, "w", clientv3.WithCreatedNotify())
	<-watching

	after := scrape(t, n.URL())
	rises := map[string]float64{
		"etcd_mvcc_put_total": 7, "etcd_mvcc_delete_total": 1, "etcd_debugging_lease_granted_total": 1,
		"etcd_debugging_lease_renewed_total": 1, "etcd_debugging_lease_revoked_total": 1,
		"etcd_debugging_mvcc_watcher_total": 1, "etcd_debugging_mvcc_watch_stream_total": 1,
		"etcd_debugging_mvcc_current_revision": 8,
	}
	for _, name := range slices.Sorted(maps.Keys(rises)) {
		if got := sample(t, after, name) - sample(t, before, name); got != rises[name] {
			t.Errorf("%s rose by %v, want %v", name, got, rises[name])
		}
	}
	for _, name := range []string{
		"etcd_disk_wal_fsync_duration_seconds", "etcd_server_proposals_applied_total", "etcd_server_proposals_committed_total",
		"etcd_network_client_grpc_received_bytes_total", "etcd_network_client_grpc_sent_bytes_total",
	} {
		if sample(t, after, name) <= sample(t, before, name) {
			t.Errorf("%s did not rise", name)
		}
	}
	put := []string{"grpc_service=etcdserverpb.KV", "grpc_method=Put", "grpc_type=unary"}
	if got := sample(t, after, "grpc_server_started_total", put...); got != 8 {
		t.Errorf("%v puts started, want 8", got)
	}
	if got := sample(t, after, "grpc_server_handled_total", append(put, "grpc_code=InvalidArgument")...); got != 1 {
		t.Errorf("%v puts were refused, want 1", got)
	}
	if got := sample(t, after, "grpc_server_handled_total", append(put, "grpc_code=OK")...); got != 7 {
		t.Errorf("%v puts went well, want 7", got)
	}
	// Dashboards read open streams as the started without the handled ones.
	stream := []string{"grpc_service=etcdserverpb.Watch", "grpc_type=bidi_stream"}
	if got := sample(t, after, "grpc_server_started_total", stream...) - sample(t, after, "grpc_server_handled_total", append(stream, "grpc_code=OK")...); got != 1 {
		t.Errorf("%v open watch streams, want 1", got)
	}
	if got := sample(t, after, "etcd_server_has_leader"); got != 1 {
		t.Errorf("has_leader is %v", got)
	}
	if got := sample(t, after, "etcd_server_quota_backend_bytes"); got != 2147483648 {
		t.Errorf("the quota is %v", got)
	}
	sample(t, after, "etcd_cluster_version", "cluster_version=3.7")
	// Everything is there from the first moment on, so that rates begin at zero.
	sample(t, before, "grpc_server_started_total", "grpc_service=etcdserverpb.Lease", "grpc_method=LeaseGrant")
}
