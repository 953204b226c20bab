package metrics

import "github.com/prometheus/client_golang/prometheus"

// Network is what passes between this member, its clients and its peers. The peer ones are vectors by
// member id and have no series while there is one member only.
type Network struct {
	// ClientReceivedBytes and ClientSentBytes sum the bytes of client messages.
	ClientReceivedBytes, ClientSentBytes *Counter
	// StreamFailures counts streams that broke, by Type ("receive", "send") and API ("watch", ...).
	StreamFailures *prometheus.CounterVec

	// PeerReceivedBytes sums the bytes of messages from peers, by From.
	PeerReceivedBytes *prometheus.CounterVec
	// PeerSentBytes sums the bytes of messages to peers, by To.
	PeerSentBytes *prometheus.CounterVec
	// PeerSentFailures counts messages to peers that were lost, by To.
	PeerSentFailures *prometheus.CounterVec
	// PeerReceivedFailures counts messages from peers that could not be taken in, by From.
	PeerReceivedFailures *prometheus.CounterVec
	// PeerRoundTrip is the time of one round trip to a peer, by To.
	PeerRoundTrip *prometheus.HistogramVec
	// ActivePeers is 1 where a peer is connected, by Local and Remote.
	ActivePeers *prometheus.GaugeVec
	// DisconnectedPeers counts lost connections, by Local and Remote.
	DisconnectedPeers *prometheus.CounterVec
	// KnownPeers is 1 for every peer in the member list, by Local and Remote.
	KnownPeers *prometheus.GaugeVec

	// SnapshotSend is about snapshots sent to peers, by To.
	SnapshotSend SnapshotTransfer
	// SnapshotReceive is about snapshots received from peers, by From.
	SnapshotReceive SnapshotTransfer
}

// SnapshotTransfer is one direction of snapshots between members.
type SnapshotTransfer struct {
	// Success and Failures count transfers by how they ended.
	Success, Failures *prometheus.CounterVec
	// Inflight is how many transfers run now.
	Inflight *prometheus.GaugeVec
	// Duration is the time of a whole transfer.
	Duration *prometheus.HistogramVec
}

func newNetwork(b *builder) *Network {
	return &Network{
		ClientReceivedBytes:  b.hotCounter("etcd_network_client_grpc_received_bytes_total", "Bytes received from clients."),
		ClientSentBytes:      b.hotCounter("etcd_network_client_grpc_sent_bytes_total", "Bytes sent to clients."),
		StreamFailures:       b.counterVec("etcd_network_server_stream_failures_total", "Client streams that broke.", "Type", "API"),
		PeerReceivedBytes:    b.counterVec("etcd_network_peer_received_bytes_total", "Bytes received from peers.", "From"),
		PeerSentBytes:        b.counterVec("etcd_network_peer_sent_bytes_total", "Bytes sent to peers.", "To"),
		PeerSentFailures:     b.counterVec("etcd_network_peer_sent_failures_total", "Messages to peers that were lost.", "To"),
		PeerReceivedFailures: b.counterVec("etcd_network_peer_received_failures_total", "Messages from peers that could not be taken in.", "From"),
		PeerRoundTrip: b.histogramVec("etcd_network_peer_round_trip_time_seconds",
			"Time of one round trip to a peer.", exponential(0.0001, 16), "To"),
		ActivePeers:       b.gaugeVec("etcd_network_active_peers", "Peers that are connected.", "Local", "Remote"),
		DisconnectedPeers: b.counterVec("etcd_network_disconnected_peers_total", "Lost connections to peers.", "Local", "Remote"),
		KnownPeers:        b.gaugeVec("etcd_network_known_peers", "Peers in the member list.", "Local", "Remote"),
		SnapshotSend:      newSnapshotTransfer(b, "etcd_network_snapshot_send_", "To"),
		SnapshotReceive:   newSnapshotTransfer(b, "etcd_network_snapshot_receive_", "From"),
	}
}

func newSnapshotTransfer(b *builder, prefix, peer string) SnapshotTransfer {
	return SnapshotTransfer{
		Success:  b.counterVec(prefix+"success", "Snapshot transfers that succeeded.", peer),
		Failures: b.counterVec(prefix+"failures", "Snapshot transfers that failed.", peer),
		Inflight: b.gaugeVec(prefix+"inflights_total", "Snapshot transfers that run now.", peer),
		Duration: b.histogramVec(prefix+"total_duration_seconds", "Time of a whole snapshot transfer.", exponential(0.1, 10), peer),
	}
}
