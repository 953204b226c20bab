package server

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/keelson-db/keelson/internal/config"
	"github.com/keelson-db/keelson/internal/copies"
	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/metrics"
	"github.com/keelson-db/keelson/internal/peer"
)

// ErrCopied ends a run because a copy of the state waits to be put into its place: open the server again.
var ErrCopied = errors.New("a copy of the state was fetched and is to be put into its place")

const (
	// joinTries is how many copies a new member fetches that do not know it yet, and joinPause the time between two:
	// whom it asks may not have applied that it was added.
	joinTries = 20
	joinPause = 500 * time.Millisecond
	// tellPause is how often the leader is told of copies that are being fetched.
	tellPause = time.Second
)

// copied is a copy that was fetched. The run that fetched it ends with it; the next one counts it.
type copied struct {
	from string // member ID
	took time.Duration
}

// count tells the metrics.
func (c *copied) count(m metrics.SnapshotTransfer) {
	if c != nil {
		m.Success.WithLabelValues(c.from).Inc()
		m.Duration.WithLabelValues(c.from).Observe(c.took.Seconds())
	}
}

// copyBegun counts a copy that another member begins to fetch here, and returns what counts its end. Who is no member is
// not counted.
func (s *Server) copyBegun(to uint64) (ended func(arrived bool)) {
	if _, known := s.data.machine.Members().Get(member.ID(to)); !known {
		return func(bool) {}
	}
	sent, name, began := s.metrics.Network.SnapshotSend, hex(to), time.Now()
	sent.Inflight.WithLabelValues(name).Inc()
	return func(arrived bool) {
		sent.Inflight.WithLabelValues(name).Dec()
		if !arrived {
			sent.Failures.WithLabelValues(name).Inc()
			return
		}
		sent.Success.WithLabelValues(name).Inc()
		sent.Duration.WithLabelValues(name).Observe(time.Since(began).Seconds())
	}
}

// want is a copy of the state that is wanted.
type want struct {
	local   member.ID
	cluster uint64
	log     uint64 // that is to feed it
	least   uint64 // index that it must reach
	sources []string
}

// catchUp fetches a copy of the state when this member was told that the log no longer reaches back to where it is.
// It ends with ErrCopied then.
func (s *Server) catchUp(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.replica.Wanted():
		}
		behind := s.replica.Behind()
		s.log.Warn("this member has fallen behind what the log holds: fetching a copy of the state; it goes on with what it has until then",
			"leader", hex(behind.From), "index", behind.Index, "applied", s.replica.Status().Applied)
		err := s.fetchCopy(ctx, behind.Index)
		if err == nil {
			return ErrCopied
		}
		if ctx.Err() != nil {
			return nil
		}
		s.log.Warn("fetch a copy of the state: waiting to be told again", "error", err.Error())
	}
}

// tellFetches tells the leader what copies are being fetched from this member, so that it keeps the log behind them.
func (s *Server) tellFetches(ctx context.Context) error {
	ticker := time.NewTicker(tellPause)
	defer ticker.Stop()
	leader := peer.NewLeader(s.mesh, s.replica.Status)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		index, ok := s.copies.Oldest()
		if !ok {
			continue
		}
		ask, cancel := context.WithTimeout(ctx, tellPause)
		s.tellFetch(ask, leader, index)
		cancel()
	}
}

func (s *Server) leads() bool { st := s.replica.Status(); return st.Leader == st.ID }

// fetchCopy fetches a copy from one of the other members.
func (s *Server) fetchCopy(ctx context.Context, least uint64) (err error) {
	members, received := s.data.machine.Members(), s.metrics.Network.SnapshotReceive
	err = errors.New("fetch a copy of the state: there is no other member to fetch it from")
	for _, m := range s.sources() {
		from, start := hex(uint64(m.ID)), time.Now()
		received.Inflight.WithLabelValues(from).Inc()
		err = s.data.fetch(ctx, want{
			local: members.Local(), cluster: members.ClusterID(), log: s.data.log.ID(), least: least, sources: m.PeerURLs,
		})
		received.Inflight.WithLabelValues(from).Dec()
		if err == nil {
			s.copied = &copied{from: from, took: time.Since(start)}
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		received.Failures.WithLabelValues(from).Inc()
	}
	return err
}

// sources are all others: first those who do not lead, for the leader has enough to do, and last those who are not
// connected.
func (s *Server) sources() []member.Member {
	leader, local := s.replica.Status().Leader, s.data.machine.Members().Local()
	var first, leading, absent []member.Member
	for _, m := range s.data.machine.Members().List() {
		_, connected := s.mesh.ActiveSince(uint64(m.ID))
		switch {
		case m.ID == local, m.Learner:
		case !connected:
			absent = append(absent, m)
		case uint64(m.ID) == leader:
			leading = append(leading, m)
		default:
			first = append(first, m)
		}
	}
	return slices.Concat(first, leading, absent)
}

// announceFetches has the leader keep the log from here on before a copy is handed out.
func (s *Server) announceFetches(next http.Handler) http.Handler {
	leader := peer.NewLeader(s.mesh, s.replica.Status)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && !r.URL.Query().Has("id") {
			ctx, cancel := context.WithTimeout(r.Context(), tellPause)
			s.tellFetch(ctx, leader, s.replica.Status().Applied) // what is copied is no older
			cancel()
		}
		next.ServeHTTP(w, r)
	})
}

// tellFetch notes here and at the leader that a copy up to an entry, or a later one, is being fetched.
func (s *Server) tellFetch(ctx context.Context, leader *peer.Leader, index uint64) {
	s.replica.Fetching(uint64(s.data.machine.Members().Local()), index)
	if err := leader.Fetching(ctx, index); err != nil && !s.leads() {
		s.log.Debug("tell the leader of a copy that is being fetched", "error", err.Error())
	}
}

// fetch fetches a copy into its place beside the state.
func (d *data) fetch(ctx context.Context, w want) error {
	progress := new(copies.Progress)
	ended := d.env.sayCopying(progress)
	_, err := copies.Fetch(ctx, d.peers.client, w.sources, copies.FetchOptions{
		FS: d.env.FS, Dir: d.stateDir(), Cluster: w.cluster, Local: w.local, Log: w.log, Least: w.least,
		RowBytes: rowBytes(d.config), Progress: progress, Logger: d.env.Log,
	})
	ended(err)
	return err
}

// rowBytes is the longest row that a copy may have: a record with the longest value that a request of another member,
// whose limit may be higher, is likely to have brought.
func rowBytes(c *config.Config) int { return max(copies.DefaultRowBytes, 2*int(c.MaxRequestBytes)) }
