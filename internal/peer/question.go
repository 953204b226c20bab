package peer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/keelson-db/keelson/internal/frames"
	"github.com/keelson-db/keelson/internal/replica"
)

// Question is what kind of thing one member asks another. The numbers travel.
type Question uint16

// The questions of this release.
const (
	QuestionRenew      Question = 1 // lease (8) to its time to live in seconds (8)
	QuestionTimeToLive Question = 2 // lease (8) to seconds left (8), seconds granted (8) and whether it is there (1)
	QuestionPromote    Question = 3 // member (8) to nothing
	QuestionFetching   Question = 4 // log entry (8) to nothing
)

const (
	// maxQuestions is how many questions to one member may wait for their answers, and how many of one member are
	// answered at once.
	maxQuestions = 4096
	// maxAnswerTime is how long an answer may take, whatever the one who asks is ready to wait.
	maxAnswerTime = 30 * time.Second
	// questionBytes and answerBytes are what stands before the content of a question and of an answer, in bytes.
	questionBytes = 8 + 4 + 2
	answerBytes   = 8 + 2
)

// Reasons why a question has no answer. After ErrUnreachable and the end of the context it may have been
// acted upon or not.
var (
	// ErrUnreachable means that the member is not connected in both directions, or was not long enough.
	ErrUnreachable = errors.New("ask another member: it is not connected")
	// ErrBusy means that too many questions wait for their answers.
	ErrBusy = errors.New("ask another member: too many questions wait")
	// ErrTooLong means that a question is longer than what one frame holds.
	ErrTooLong = errors.New("ask another member: the question is too long")
)

// The codes of answers. Those from codeStatus on are a gRPC status whose code is the difference.
const (
	codeFine       = 0
	codeFailed     = 1
	codeUnknown    = 2 // the question is of a kind that the answerer does not know
	codeBusy       = 3
	codeNotPrimary = 4
	codeLate       = 5 // the time for the answer was over
	codeStatus     = 1000
)

// Failure is an answerer's error as it arrives at the one who asked.
type Failure struct {
	Code uint16
	Text string
}

// Error implements error.
func (f *Failure) Error() string { return f.Text }

// ErrUnknownQuestion is what an Answerer returns for a kind that it does not know.
var ErrUnknownQuestion = errors.New("the question is of a kind that this release does not know")

// Answerer answers other members' questions. It is asked many at a time, and must return when its context ends.
type Answerer interface {
	// Answer returns at most frames.MaxTalkBytes. A *Failure among the errors travels as it is, of others the text does.
	Answer(ctx context.Context, from uint64, kind Question, body []byte) ([]byte, error)
}

// reply is what became of a question.
type reply struct {
	body []byte
	err  error
}

// Ask puts a question to another member and waits for the answer. The errors of the answerer come as *Failure.
func (m *Mesh) Ask(ctx context.Context, to uint64, kind Question, body []byte) ([]byte, error) {
	r := m.remote(to)
	switch {
	case r == nil:
		return nil, ErrUnreachable
	case questionBytes+len(body) > frames.MaxTalkBytes:
		return nil, ErrTooLong
	}
	patience := maxAnswerTime
	if deadline, ok := ctx.Deadline(); ok {
		patience = max(0, min(patience, time.Until(deadline)))
	}
	id, done, err := r.await()
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, questionBytes+len(body))
	b = binary.LittleEndian.AppendUint64(b, id)
	b = binary.LittleEndian.AppendUint32(b, uint32(patience.Milliseconds()))
	b = append(binary.LittleEndian.AppendUint16(b, uint16(kind)), body...)
	if !r.senders[replica.Urgent].queue.put(frames.Question, b) {
		r.settle(id, reply{err: ErrUnreachable})
	}
	select {
	case got := <-done:
		return got.body, got.err
	case <-ctx.Done():
		r.settle(id, reply{})
		return nil, ctx.Err()
	}
}

// await registers a question and returns where its answer will come.
func (r *remote) await() (id uint64, done chan reply, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !r.out[replica.Urgent] || r.in[replica.Urgent] == nil:
		return 0, nil, ErrUnreachable
	case len(r.asked) >= maxQuestions:
		return 0, nil, ErrBusy
	}
	r.question++
	done = make(chan reply, 1)
	r.asked[r.question] = done
	return r.question, done, nil
}

// settle ends the wait for an answer, if somebody waits still.
func (r *remote) settle(id uint64, got reply) {
	r.mu.Lock()
	done := r.asked[id]
	delete(r.asked, id)
	r.mu.Unlock()
	if done != nil {
		done <- got
	}
}

// giveUp ends all waits for answers, because a lane broke on which they or the questions were. The caller holds the
// mutex.
func (r *remote) giveUp() {
	for id, done := range r.asked {
		delete(r.asked, id)
		done <- reply{err: ErrUnreachable}
	}
}

// answered takes in an answer.
func (r *remote) answered(b []byte) error {
	if len(b) < answerBytes {
		return fmt.Errorf("%w: an answer of %d bytes", frames.ErrMalformed, len(b))
	}
	got := reply{}
	content := bytes.Clone(b[answerBytes:])
	switch code := binary.LittleEndian.Uint16(b[8:]); code {
	case codeFine:
		got.body = content
	case codeBusy:
		got.err = ErrBusy
	case codeLate:
		got.err = context.DeadlineExceeded
	default:
		got.err = &Failure{Code: code, Text: string(content)}
	}
	r.settle(binary.LittleEndian.Uint64(b), got)
	return nil
}

// answer has a question answered. It does not wait for that. The caller is the reader of the urgent lane.
func (r *remote) answer(b []byte) error {
	if len(b) < questionBytes {
		return fmt.Errorf("%w: a question of %d bytes", frames.ErrMalformed, len(b))
	}
	id, kind := binary.LittleEndian.Uint64(b), Question(binary.LittleEndian.Uint16(b[12:]))
	patience := time.Duration(binary.LittleEndian.Uint32(b[8:])) * time.Millisecond
	select {
	case r.answering <- struct{}{}:
	default:
		r.tell(id, nil, &Failure{Code: codeBusy})
		return nil
	}
	body := bytes.Clone(b[questionBytes:])
	r.mesh.serving.Go(func() {
		defer func() { <-r.answering }()
		ctx, cancel := context.WithTimeout(r.ctx, min(patience, maxAnswerTime))
		defer cancel()
		content, err := r.mesh.o.Answerer.Answer(ctx, r.id, kind, body)
		r.tell(id, content, err)
	})
	return nil
}

// tell sends an answer. If it cannot go out, whoever asked learns that from the lane.
func (r *remote) tell(id uint64, content []byte, err error) {
	code := uint16(codeFine)
	if err != nil {
		var failure *Failure
		if !errors.As(err, &failure) {
			failure = &Failure{Code: codeFailed, Text: err.Error()}
			switch {
			case errors.Is(err, ErrUnknownQuestion):
				failure.Code = codeUnknown
			case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
				failure.Code = codeLate
			}
		}
		code, content = failure.Code, []byte(failure.Text)
	}
	if answerBytes+len(content) > frames.MaxTalkBytes {
		code, content = codeFailed, []byte("the answer is too long")
	}
	b := make([]byte, 0, answerBytes+len(content))
	b = binary.LittleEndian.AppendUint64(b, id)
	b = append(binary.LittleEndian.AppendUint16(b, code), content...)
	r.senders[replica.Urgent].queue.put(frames.Answer, b)
}

// noAnswers knows no question.
type noAnswers struct{}

// Answer implements Answerer.
func (noAnswers) Answer(context.Context, uint64, Question, []byte) ([]byte, error) {
	return nil, ErrUnknownQuestion
}
