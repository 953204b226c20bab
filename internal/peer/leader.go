package peer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keelson-db/keelson/internal/expiry"
	"github.com/keelson-db/keelson/internal/lease"
	"github.com/keelson-db/keelson/internal/replica"
)

// errNoLeader means that nobody, or this member itself, is known to lead.
var errNoLeader = errors.New("ask the leader: no other member is known to lead")

// Leader carries questions to the member that leads, as far as this member knows. It asks once: whether to ask again is
// decided by the one who knows how long.
type Leader struct {
	mesh   *Mesh
	status func() replica.Status
}

// NewLeader builds a way to the leader. status says who leads.
func NewLeader(m *Mesh, status func() replica.Status) *Leader {
	return &Leader{mesh: m, status: status}
}

// ask puts a question about one thing to the leader, and wants so many bytes for an answer.
func (l *Leader) ask(ctx context.Context, kind Question, about uint64, want int) ([]byte, error) {
	s := l.status()
	if s.Leader == 0 || s.Leader == s.ID {
		return nil, errNoLeader
	}
	answer, err := l.mesh.Ask(ctx, s.Leader, kind, binary.BigEndian.AppendUint64(nil, about))
	if err != nil {
		return nil, translate(err)
	}
	if len(answer) != want {
		return nil, fmt.Errorf("ask the leader: the answer has %d bytes and not %d", len(answer), want)
	}
	return answer, nil
}

// translate makes an answerer's failure the error that it was there.
func translate(err error) error {
	var f *Failure
	switch {
	case !errors.As(err, &f):
		return err
	case f.Code == codeNotPrimary:
		return expiry.ErrNotPrimary
	case f.Code >= codeStatus:
		return status.Error(codes.Code(f.Code-codeStatus), f.Text)
	}
	return fmt.Errorf("the leader answers: %w", err)
}

// Renew gives a lease its full time again and returns it, in seconds; 0 means that there is no such lease any more.
func (l *Leader) Renew(ctx context.Context, id lease.ID) (ttl int64, err error) {
	answer, err := l.ask(ctx, QuestionRenew, uint64(id), 8)
	if err != nil {
		return 0, err
	}
	return int64(binary.BigEndian.Uint64(answer)), nil
}

// TimeToLive returns the whole seconds that a lease has left, and how many it was granted. It is not ok for a lease
// that there is not.
func (l *Leader) TimeToLive(ctx context.Context, id lease.ID) (left, granted int64, ok bool, err error) {
	answer, err := l.ask(ctx, QuestionTimeToLive, uint64(id), 17)
	if err != nil {
		return 0, 0, false, err
	}
	return int64(binary.BigEndian.Uint64(answer)), int64(binary.BigEndian.Uint64(answer[8:])), answer[16] != 0, nil
}

// Promote makes a voter of a learner. An error that is a gRPC status is the leader's answer.
func (l *Leader) Promote(ctx context.Context, id uint64) error {
	_, err := l.ask(ctx, QuestionPromote, id, 0)
	return err
}

// Fetching tells the leader that a copy of the state up to an entry is being fetched from this member, so that it keeps
// the log behind that.
func (l *Leader) Fetching(ctx context.Context, index uint64) error {
	_, err := l.ask(ctx, QuestionFetching, index, 0)
	return err
}

// Lessor says what only the leader's clock can say about leases. Elsewhere it returns expiry.ErrNotPrimary.
type Lessor interface {
	Renew(ctx context.Context, id lease.ID) (ttl int64, err error)
	TimeToLive(ctx context.Context, id lease.ID) (left, granted int64, ok bool, err error)
}

// Promoter makes voters of learners. Its errors are gRPC statuses.
type Promoter interface {
	Promote(ctx context.Context, id uint64) error
}

// Fetches is told what copies of the state members are fetching.
type Fetches interface {
	// Fetching notes that a copy up to an entry is being fetched, which a member told of.
	Fetching(id, index uint64)
}

// Answers answers what a Leader of another member asks.
type Answers struct {
	Lessor   Lessor
	Promoter Promoter
	Fetches  Fetches
}

// Answer implements Answerer.
func (a Answers) Answer(ctx context.Context, from uint64, kind Question, body []byte) ([]byte, error) {
	if kind < QuestionRenew || kind > QuestionFetching {
		return nil, ErrUnknownQuestion
	}
	if len(body) != 8 {
		return nil, fmt.Errorf("a question of kind %d about %d bytes", kind, len(body))
	}
	about := binary.BigEndian.Uint64(body)
	var answer []byte
	var err error
	switch kind {
	case QuestionRenew:
		var ttl int64
		ttl, err = a.Lessor.Renew(ctx, lease.ID(about))
		answer = binary.BigEndian.AppendUint64(nil, uint64(ttl))
	case QuestionTimeToLive:
		var left, granted int64
		var ok bool
		left, granted, ok, err = a.Lessor.TimeToLive(ctx, lease.ID(about))
		answer = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(left)), uint64(granted))
		answer = append(answer, 0)
		if ok {
			answer[16] = 1
		}
	case QuestionPromote:
		err = a.Promoter.Promote(ctx, about)
	case QuestionFetching:
		a.Fetches.Fetching(from, about)
	}
	if err != nil {
		return nil, failureOf(err)
	}
	return answer, nil
}

// failureOf makes an error one that translate knows again.
func failureOf(err error) error {
	if errors.Is(err, expiry.ErrNotPrimary) {
		return &Failure{Code: codeNotPrimary, Text: err.Error()}
	}
	var has interface{ GRPCStatus() *status.Status }
	if errors.As(err, &has) && has.GRPCStatus() != nil {
		s := has.GRPCStatus()
		return &Failure{Code: codeStatus + uint16(s.Code()), Text: s.Message()}
	}
	return err
}
