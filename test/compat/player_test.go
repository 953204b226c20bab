package compat

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/test/harness"
)

const (
	// askAgain is the pause between two requests for progress: etcd drops one that comes while a watch catches up.
	askAgain = 30 * time.Millisecond
	// catchUpLimit bounds the time that a watch may need to be up to date.
	catchUpLimit = 15 * time.Second
)

// player plays a history to one server.
type player struct {
	*teller
	watching map[string]*watching
}

// watching is one watch of a history, on a stream of its own.
type watching struct {
	stream *harness.WatchStream
	from   int64 // the first revision it waits for
	ended  bool
	seen   []string
}

func newPlayer(t *testing.T, binary string) *player {
	t.Helper()
	s := newTeller(t)
	s.node = harness.New(t, harness.Options{Binary: binary, Args: []string{"--bcrypt-cost=4"}, QuietLog: true})
	s.node.Launch(t)
	return &player{teller: s, watching: map[string]*watching{}}
}

func (p *player) ready(t *testing.T) {
	t.Helper()
	p.node.WaitReady(t)
	p.conn = p.node.Conn(t)
	p.learnNames(t)
}

func (p *player) close() {
	_ = p.conn.Close()
	p.node.Proc().End()
}

// play makes one step and renders its answer.
func (p *player) play(t *testing.T, s step) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.CallLimit)
	defer cancel()
	if s.as != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "token", p.token(s.as))
	}
	switch s.verb {
	case "login":
		resp, err := pb.NewAuthClient(p.conn).Authenticate(ctx, s.request.(*pb.AuthenticateRequest))
		if err != nil {
			return renderError(err)
		}
		p.tokens[s.request.(*pb.AuthenticateRequest).Name] = resp.Token
		return p.named(render(resp))
	case "watch":
		return p.watch(t, s)
	case "compact":
		// An event's former value is read when it is sent: a compaction in between would make it a matter of luck.
		for _, name := range p.streams() {
			p.catchUp(t, p.watching[name])
		}
	}
	answer := p.call(ctx, t, s.verb, s.text())
	if s.verb == "leases" {
		// They come by their end; the clocks of the servers do not divide time equally finely.
		parts := strings.Fields(answer)
		slices.Sort(parts)
		answer = strings.Join(parts, " ")
	}
	return p.named(answer)
}

// watch opens a watch and waits until it is up to date.
func (p *player) watch(t *testing.T, s step) string {
	t.Helper()
	ctx := context.Background()
	if s.as != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "token", p.token(s.as))
	}
	r := s.request.(*pb.WatchCreateRequest)
	w := &watching{stream: harness.OpenWatchIn(ctx, t, pb.NewWatchClient(p.conn)), from: r.StartRevision}
	p.watching[s.stream] = w
	w.stream.Create(t, r)
	created, err := w.stream.Next(harness.ArriveLimit)
	if err != nil {
		return err.Error()
	}
	w.ended = created.Canceled
	p.catchUp(t, w)
	return renderWatch(created)
}

// catchUp takes in what the watch has to say up to now: progress is answered behind all events.
func (p *player) catchUp(t *testing.T, w *watching) {
	t.Helper()
	now := p.revision(t)
	if now < w.from {
		return // it has nothing to say yet, not even how far it is
	}
	deadline := time.Now().Add(catchUpLimit)
	for ask := true; !w.ended && time.Now().Before(deadline); {
		if ask {
			w.stream.Send(t, &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
		}
		resp, err := w.stream.Next(askAgain)
		if ask = err != nil; ask {
			continue
		}
		for _, ev := range resp.Events {
			w.seen = append(w.seen, renderMessage(ev.ProtoReflect()))
		}
		if resp.Canceled {
			w.seen = append(w.seen, renderWatch(resp))
			w.ended = true
		}
		// An answer from before may still be on its way: it tells an earlier revision.
		if resp.WatchId == -1 && resp.Header.Revision >= now {
			return
		}
	}
	if !w.ended {
		w.seen = append(w.seen, "never up to date")
	}
}

// revision is where the server is, as far as it tells.
func (p *player) revision(t *testing.T) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.CallLimit)
	defer cancel()
	if token, ok := p.tokens["root"]; ok {
		ctx = metadata.AppendToOutgoingContext(ctx, "token", token)
	}
	resp, err := pb.NewKVClient(p.conn).Range(ctx, &pb.RangeRequest{Key: []byte{0}, CountOnly: true})
	if err != nil {
		return 0
	}
	return resp.Header.Revision
}

func (p *player) streams() []string {
	var names []string
	for name := range p.watching {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// seen is the end of a history: what all watches saw.
func (p *player) seen(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	for _, name := range p.streams() {
		w := p.watching[name]
		p.catchUp(t, w)
		fmt.Fprintf(&out, "%s:\n  %s\n", name, strings.Join(w.seen, "\n  "))
	}
	return out.String()
}
