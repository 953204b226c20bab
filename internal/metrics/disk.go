package metrics

import "github.com/prometheus/client_golang/prometheus"

// Disk is what the raft log and the storage engine have to tell. The names say "wal" and "backend" because
// etcd's alerts do: the wal is our raft log, the backend our storage engine.
//
// Names that only a bbolt file or a v2 snapshot gives a meaning to are registered all the same and stay
// empty, so that a dashboard shows a flat line instead of an error.
type Disk struct {
	// WALFsync is the time of one sync of the raft log.
	WALFsync prometheus.Histogram
	// WALWrite is the time of one write to the raft log, without the sync.
	WALWrite prometheus.Histogram
	// WALWriteBytes is the sum of the bytes written to the raft log.
	WALWriteBytes *Counter
	// BackendCommit is the time of one commit to the storage engine.
	BackendCommit prometheus.Histogram
	// BackendDefrag is the time of one defragmentation.
	BackendDefrag prometheus.Histogram
	// BackendSnapshot is the time to stream one snapshot of the database.
	BackendSnapshot prometheus.Histogram
	// DefragInflight is 1 while a defragmentation runs.
	DefragInflight prometheus.Gauge
	// SnapDBFsync is the time to sync a received database snapshot.
	SnapDBFsync prometheus.Histogram
	// SnapDBSave is the time to save a received database snapshot.
	SnapDBSave prometheus.Histogram
	// SnapFsync is the time to sync a raft snapshot record.
	SnapFsync prometheus.Histogram
}

func newDisk(b *builder) *Disk {
	d := &Disk{
		WALFsync:        b.histogram("etcd_disk_wal_fsync_duration_seconds", "Time of one sync of the raft log.", exponential(0.001, 14)),
		WALWrite:        b.histogram("etcd_disk_wal_write_duration_seconds", "Time of one write to the raft log, without the sync.", exponential(0.001, 14)),
		WALWriteBytes:   b.hotGauge("etcd_disk_wal_write_bytes_total", "Bytes written to the raft log."),
		BackendCommit:   b.histogram("etcd_disk_backend_commit_duration_seconds", "Time of one commit to the storage engine.", exponential(0.001, 14)),
		BackendDefrag:   b.histogram("etcd_disk_backend_defrag_duration_seconds", "Time of one defragmentation.", exponential(.1, 13)),
		BackendSnapshot: b.histogram("etcd_disk_backend_snapshot_duration_seconds", "Time to stream one snapshot of the database.", exponential(.01, 17)),
		DefragInflight:  b.gauge("etcd_disk_defrag_inflight", "1 while a defragmentation runs."),
		SnapDBFsync:     b.histogram("etcd_snap_db_fsync_duration_seconds", "Time to sync a received database snapshot.", exponential(0.001, 14)),
		SnapDBSave:      b.histogram("etcd_snap_db_save_total_duration_seconds", "Time to save a received database snapshot.", exponential(0.1, 10)),
		SnapFsync:       b.histogram("etcd_snap_fsync_duration_seconds", "Time to sync a raft snapshot record.", exponential(0.001, 14)),
	}
	for _, name := range []string{
		"etcd_debugging_disk_backend_commit_rebalance_duration_seconds",
		"etcd_debugging_disk_backend_commit_spill_duration_seconds",
		"etcd_debugging_disk_backend_commit_write_duration_seconds",
		"etcd_debugging_snap_save_marshalling_duration_seconds",
		"etcd_debugging_snap_save_total_duration_seconds",
	} {
		b.histogram(name, "A phase that this storage engine does not have; always empty.", exponential(0.001, 14))
	}
	return d
}
