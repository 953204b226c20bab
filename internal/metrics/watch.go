package metrics

import "github.com/prometheus/client_golang/prometheus"

// Watch is what the watch streams have to tell. How many streams, watchers and waiting events there are is
// read at scrape time: see Sources.
type Watch struct {
	// Events counts the events sent to clients.
	Events *Counter
	// StreamDuration is the time to send one watch response.
	StreamDuration prometheus.Histogram
	// StreamDurationPerEvent is that time divided by the events in the response.
	StreamDurationPerEvent prometheus.Histogram
	// ControlDuration is the time to send one answer to a create or a cancel.
	ControlDuration prometheus.Histogram
	// ProgressDuration is the time to send one progress notice.
	ProgressDuration prometheus.Histogram
}

func newWatch(b *builder) *Watch {
	loop := func(part, help string) prometheus.Histogram {
		return b.histogram("etcd_debugging_server_watch_send_loop_"+part+"_seconds", help, exponential(0.001, 14))
	}
	return &Watch{
		Events:                 b.hotCounter("etcd_debugging_mvcc_events_total", "Events sent to watchers."),
		StreamDuration:         loop("watch_stream_duration", "Time to send one watch response."),
		StreamDurationPerEvent: loop("watch_stream_duration_per_event", "Time to send one watch response, per event in it."),
		ControlDuration:        loop("control_stream_duration", "Time to send one answer to a create or a cancel."),
		ProgressDuration:       loop("progress_duration", "Time to send one progress notice."),
	}
}
