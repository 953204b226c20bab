package metrics

import (
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Sources are the values that other rooms keep anyway. Each is called once per scrape, from the scraper's
// goroutine, and must not block; one that is nil reads as 0.
type Sources struct {
	HasLeader        func() float64 // 1 when a leader is known
	IsLeader         func() float64 // 1 when this member leads
	IsLearner        func() float64 // 1 when this member does not vote
	CommittedIndex   func() float64 // last raft index known to be committed
	AppliedIndex     func() float64 // last raft index applied to the state
	PendingProposals func() float64 // proposals waiting for their result
	Revision         func() float64 // current revision of the key space
	CompactRevision  func() float64 // last compacted revision
	Keys             func() float64 // live keys
	DBSize           func() float64 // bytes that count for the quota
	DBSizeInUse      func() float64 // bytes of it that hold data
	DiskBytes        func() float64 // bytes of the storage engine's files
	OpenReads        func() float64 // views that are open now
	WatchStreams     func() float64 // open watch streams
	Watchers         func() float64 // watchers on all streams
	SlowWatchers     func() float64 // watchers that read history because they are behind
	PendingEvents    func() float64 // events waiting to be sent
	AuthRevision     func() float64 // revision of users, roles and permissions
	Alarms           func() []Alarm // alarms that are raised now
	ClusterVersion   func() string  // what the cluster has agreed on, as major.minor
}

// Alarm is one kind of trouble of one member.
type Alarm struct {
	Member uint64
	Type   string // "NOSPACE" or "CORRUPT"
}

// Observe tells where values are read from on the next scrape, in place of what was told before. Rooms
// that are being closed are let go with Observe(Sources{}).
func (s *Set) Observe(from Sources) { s.sources.Store(&from) }

// observe registers a gauge for every field of Sources.
func (b *builder) observe(sources *atomic.Pointer[Sources]) {
	for _, g := range []struct {
		name, help string
		source     func(*Sources) func() float64
	}{
		{"etcd_server_has_leader", "1 when a leader is known.", func(s *Sources) func() float64 { return s.HasLeader }},
		{"etcd_server_is_leader", "1 when this member leads.", func(s *Sources) func() float64 { return s.IsLeader }},
		{"etcd_server_is_learner", "1 when this member does not vote.", func(s *Sources) func() float64 { return s.IsLearner }},
		{"etcd_server_proposals_committed_total", "Last raft index known to be committed.", func(s *Sources) func() float64 { return s.CommittedIndex }},
		{"etcd_server_proposals_applied_total", "Last raft index applied.", func(s *Sources) func() float64 { return s.AppliedIndex }},
		{"etcd_server_proposals_pending", "Proposals waiting for their result.", func(s *Sources) func() float64 { return s.PendingProposals }},
		{"etcd_debugging_mvcc_current_revision", "Current revision.", func(s *Sources) func() float64 { return s.Revision }},
		{"etcd_debugging_mvcc_compact_revision", "Last compacted revision.", func(s *Sources) func() float64 { return s.CompactRevision }},
		{"etcd_debugging_mvcc_keys_total", "Live keys.", func(s *Sources) func() float64 { return s.Keys }},
		{"etcd_mvcc_db_total_size_in_bytes", "Bytes of the database that count for its quota.", func(s *Sources) func() float64 { return s.DBSize }},
		{"etcd_mvcc_db_total_size_in_use_in_bytes", "Bytes of the database that hold data.", func(s *Sources) func() float64 { return s.DBSizeInUse }},
		{"keelson_storage_disk_bytes", "Bytes of the storage engine's files.", func(s *Sources) func() float64 { return s.DiskBytes }},
		{"etcd_mvcc_db_open_read_transactions", "Views that are open now.", func(s *Sources) func() float64 { return s.OpenReads }},
		{"etcd_debugging_mvcc_watch_stream_total", "Open watch streams.", func(s *Sources) func() float64 { return s.WatchStreams }},
		{"etcd_debugging_mvcc_watcher_total", "Watchers on all streams.", func(s *Sources) func() float64 { return s.Watchers }},
		{"etcd_debugging_mvcc_slow_watcher_total", "Watchers that are behind and read history.", func(s *Sources) func() float64 { return s.SlowWatchers }},
		{"etcd_debugging_mvcc_pending_events_total", "Events waiting to be sent.", func(s *Sources) func() float64 { return s.PendingEvents }},
		{"etcd_debugging_auth_revision", "Revision of users, roles and permissions.", func(s *Sources) func() float64 { return s.AuthRevision }},
	} {
		b.gaugeFunc(g.name, g.help, func() float64 {
			if read := g.source(sources.Load()); read != nil {
				return read()
			}
			return 0
		})
	}
}

// maxAlarmSeries bounds the alarms that are shown, in series: an operator may raise one for any member.
const maxAlarmSeries = 64

// alarms shows a series of 1 for each alarm that is raised, and none for one that is not.
type alarms struct {
	desc    *prometheus.Desc
	sources *atomic.Pointer[Sources]
}

func (b *builder) alarms(sources *atomic.Pointer[Sources]) {
	made(b, &alarms{
		desc:    prometheus.NewDesc("etcd_debugging_server_alarms", "1 for an alarm that is raised, by member and type.", []string{"server_id", "alarm_type"}, nil),
		sources: sources,
	})
}

// Describe implements prometheus.Collector.
func (a *alarms) Describe(ch chan<- *prometheus.Desc) { ch <- a.desc }

// Collect implements prometheus.Collector.
func (a *alarms) Collect(ch chan<- prometheus.Metric) {
	read := a.sources.Load().Alarms
	if read == nil {
		return
	}
	raised := read()
	for _, one := range raised[:min(len(raised), maxAlarmSeries)] {
		ch <- prometheus.MustNewConstMetric(a.desc, prometheus.GaugeValue, 1, strconv.FormatUint(one.Member, 16), one.Type)
	}
}

// clusterVersion shows a series of 1 for the version that the cluster has now, which a downgrade changes.
type clusterVersion struct {
	desc    *prometheus.Desc
	sources *atomic.Pointer[Sources]
}

func (b *builder) clusterVersion(sources *atomic.Pointer[Sources]) {
	made(b, &clusterVersion{
		desc:    prometheus.NewDesc("etcd_cluster_version", "The version the whole cluster has agreed on.", []string{"cluster_version"}, nil),
		sources: sources,
	})
}

// Describe implements prometheus.Collector.
func (c *clusterVersion) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector.
func (c *clusterVersion) Collect(ch chan<- prometheus.Metric) {
	if read := c.sources.Load().ClusterVersion; read != nil {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, 1, read())
	}
}

func (b *builder) gaugeFunc(name, help string, read func() float64) {
	made(b, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
}

// descriptors registers the two gauges about open files, which etcd has beside Prometheus's own.
func (b *builder) descriptors() {
	b.gaugeFunc("os_fd_used", "File descriptors that are open.", openDescriptors)
	b.gaugeFunc("os_fd_limit", "File descriptors that may be open.",
		func() float64 { return float64(DescriptorLimit()) })
}
