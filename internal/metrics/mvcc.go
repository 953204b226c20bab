package metrics

import "github.com/prometheus/client_golang/prometheus"

// MVCC is what the key space has to tell. Sizes, revisions and key counts are read at scrape time: see
// Sources.
type MVCC struct {
	// Puts, Deletes, Ranges and Txns count operations on the key space, those inside transactions included.
	Puts, Deletes, Ranges, Txns *Counter
	// PutBytes is the sum of the sizes of all keys and values put.
	PutBytes *Counter
	// HashDuration is the time to hash the whole key space.
	HashDuration prometheus.Histogram
	// HashRevDuration is the time to hash the key space up to a revision.
	HashRevDuration prometheus.Histogram
	// CompactedKeys counts the old versions that compactions removed.
	CompactedKeys *Counter
	// LastCompaction is when the last compaction ended, in seconds of Unix time.
	LastCompaction prometheus.Gauge
	// CompactionPause is the time in milliseconds that one step of a compaction held up writes.
	CompactionPause prometheus.Histogram
	// CompactionTotal is the time in milliseconds of one whole compaction.
	CompactionTotal prometheus.Histogram
	// IndexCompactionPause is the time in milliseconds that a compaction held up the index.
	IndexCompactionPause prometheus.Histogram
}

func newMVCC(b *builder) *MVCC {
	return &MVCC{
		Puts:                 b.hotCounter("etcd_mvcc_put_total", "Puts."),
		Deletes:              b.hotCounter("etcd_mvcc_delete_total", "Deletes."),
		Ranges:               b.hotCounter("etcd_mvcc_range_total", "Ranges."),
		Txns:                 b.hotCounter("etcd_mvcc_txn_total", "Transactions."),
		PutBytes:             b.hotGauge("etcd_debugging_mvcc_total_put_size_in_bytes", "Bytes of all keys and values put."),
		HashDuration:         b.histogram("etcd_mvcc_hash_duration_seconds", "Time to hash the whole key space.", exponential(.01, 15)),
		HashRevDuration:      b.histogram("etcd_mvcc_hash_rev_duration_seconds", "Time to hash the key space up to a revision.", exponential(.01, 15)),
		CompactedKeys:        b.hotCounter("etcd_debugging_mvcc_db_compaction_keys_total", "Old versions removed by compactions."),
		LastCompaction:       b.gauge("etcd_debugging_mvcc_db_compaction_last", "Unix time of the last compaction."),
		CompactionPause:      b.histogram("etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds", "Time a step of a compaction held up writes.", exponential(1, 13)),
		CompactionTotal:      b.histogram("etcd_debugging_mvcc_db_compaction_total_duration_milliseconds", "Time of one whole compaction.", exponential(100, 14)),
		IndexCompactionPause: b.histogram("etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds", "Time a compaction held up the index.", exponential(0.5, 14)),
	}
}
