package metrics

import (
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Server is what the replica, the applying side and the process as a whole have to tell.
type Server struct {
	// LeaderChanges counts how often the known leader became another one.
	LeaderChanges prometheus.Counter
	// HeartbeatFailures counts heartbeats that the leader sent more than two intervals late.
	HeartbeatFailures prometheus.Counter
	// LearnerPromoteFailures counts refused promotions, by reason.
	LearnerPromoteFailures *prometheus.CounterVec
	// LearnerPromoteSuccesses counts learners that became voters.
	LearnerPromoteSuccesses prometheus.Counter
	// SlowApply counts applies that took longer than the configured warning.
	SlowApply prometheus.Counter
	// ApplyDuration is the time of one apply by version, op and success; hot paths use ApplyOutcomes.
	ApplyDuration *prometheus.HistogramVec
	// RangeDuration is the time of one range on the state, by success.
	RangeDuration *prometheus.HistogramVec
	// RequestDuration is the time of one request through the replica, by type and success.
	RequestDuration *prometheus.HistogramVec
	// ProposalsFailed counts proposals that timed out or were dropped.
	ProposalsFailed prometheus.Counter
	// SlowReadIndex counts barriers that took longer than they should.
	SlowReadIndex prometheus.Counter
	// ReadIndexFailed counts barriers that failed.
	ReadIndexFailed prometheus.Counter
	// SnapshotApplyInProgress is 1 while a snapshot from a peer is being taken in.
	SnapshotApplyInProgress prometheus.Gauge
	// Quota is the effective limit of the database in bytes.
	Quota prometheus.Gauge
	// ClientRequests counts requests by the client's API version.
	ClientRequests *ClientRequests
	// HealthSuccess counts /health answers that said true.
	HealthSuccess prometheus.Counter
	// HealthFailures counts /health answers that said false.
	HealthFailures prometheus.Counter
	// Healthcheck is 1 where the last run of a livez or readyz check passed, by type and name.
	Healthcheck *prometheus.GaugeVec
	// Healthchecks counts runs of livez and readyz checks by type, name and status.
	Healthchecks *prometheus.CounterVec

	version, goVersion, id, features *prometheus.GaugeVec
}

func newServer(b *builder) *Server {
	s := &Server{
		LeaderChanges:           b.counter("etcd_server_leader_changes_seen_total", "Leader changes this member has seen."),
		HeartbeatFailures:       b.counter("etcd_server_heartbeat_send_failures_total", "Heartbeats sent late by this member as leader."),
		LearnerPromoteFailures:  b.counterVec("etcd_server_learner_promote_failures", "Learner promotions refused, by reason.", "Reason"),
		LearnerPromoteSuccesses: b.counter("etcd_server_learner_promote_successes", "Learners promoted to voters."),
		SlowApply:               b.counter("etcd_server_slow_apply_total", "Applies slower than the configured warning."),
		ProposalsFailed:         b.counter("etcd_server_proposals_failed_total", "Proposals that timed out or were dropped."),
		SlowReadIndex:           b.counter("etcd_server_slow_read_indexes_total", "Linearizable read barriers that were slow."),
		ReadIndexFailed:         b.counter("etcd_server_read_indexes_failed_total", "Linearizable read barriers that failed."),
		SnapshotApplyInProgress: b.gauge("etcd_server_snapshot_apply_in_progress_total", "1 while a received snapshot is being taken in."),
		Quota:                   b.gauge("etcd_server_quota_backend_bytes", "Effective limit of the database in bytes."),
		ClientRequests:          newClientRequests(b),
		HealthSuccess:           b.counter("etcd_server_health_success", "Answers of /health that said true."),
		HealthFailures:          b.counter("etcd_server_health_failures", "Answers of /health that said false."),
		Healthcheck:             b.gaugeVec("etcd_server_healthcheck", "1 where the last run of this check passed.", "type", "name"),
		Healthchecks:            b.counterVec("etcd_server_healthchecks_total", "Runs of the health checks by result.", "type", "name", "status"),

		version:   b.gaugeVec("etcd_server_version", "The version this server reports.", "server_version"),
		goVersion: b.gaugeVec("etcd_server_go_version", "The Go version this server was built with.", "server_go_version"),
		id:        b.gaugeVec("etcd_server_id", "The member's id in hexadecimal.", "server_id"),
		features:  b.gaugeVec("etcd_server_feature_enabled", "1 for a feature gate that is on.", "name", "stage"),
	}
	s.ApplyDuration = b.histogramVec("etcd_server_apply_duration_seconds",
		"Time to apply one request to the state.", exponential(0.0001, 20), "version", "op", "success")
	s.RangeDuration = b.histogramVec("etcd_server_range_duration_seconds",
		"Time of one range on the state.", exponential(0.0001, 20), "success")
	s.RequestDuration = b.histogramVec("etcd_server_request_duration_seconds",
		"Time of one request through the replica.", exponential(0.001, 14), "type", "success")
	s.goVersion.WithLabelValues(runtime.Version()).Set(1)
	return s
}

// SetIdentity shows who this member is and which version it reports.
func (s *Server) SetIdentity(id uint64, version string) {
	s.id.Reset()
	s.id.WithLabelValues(strconv.FormatUint(id, 16)).Set(1)
	s.version.Reset()
	s.version.WithLabelValues(version).Set(1)
}

// SetFeature shows whether a feature gate is on. The stage is "ALPHA" or "BETA".
func (s *Server) SetFeature(name, stage string, on bool) {
	value := 0.0
	if on {
		value = 1
	}
	s.features.WithLabelValues(name, stage).Set(value)
}

// Outcomes is one duration histogram split by success, with the labels already looked up: a room asks for
// it once and then observes without touching a label.
type Outcomes struct {
	ok, failed prometheus.Observer
}

// Observe records how long something took and whether it ended in an error.
func (o Outcomes) Observe(took time.Duration, err error) {
	if err != nil {
		o.failed.Observe(took.Seconds())
		return
	}
	o.ok.Observe(took.Seconds())
}

// outcomes splits v, whose last label is success, by that label.
func outcomes(v *prometheus.HistogramVec, labels ...string) Outcomes {
	with := func(success string) prometheus.Observer {
		return v.WithLabelValues(append(labels[:len(labels):len(labels)], success)...)
	}
	return Outcomes{ok: with("true"), failed: with("false")}
}

// ApplyOutcomes is the apply time of one operation, such as "Put", "Txn" or "LeaseGrant".
func (s *Server) ApplyOutcomes(op string) Outcomes { return outcomes(s.ApplyDuration, "v3", op) }

// RangeOutcomes is the time of ranges on the state.
func (s *Server) RangeOutcomes() Outcomes { return outcomes(s.RangeDuration) }

// RequestOutcomes is the time of one type of request through the replica, such as "Range" or "Put".
func (s *Server) RequestOutcomes(kind string) Outcomes { return outcomes(s.RequestDuration, kind) }
