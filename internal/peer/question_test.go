package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/keelson-db/keelson/internal/frames"
	"github.com/keelson-db/keelson/internal/replica"
)

// answering is an Answerer made of a function.
type answering func(ctx context.Context, from uint64, kind Question, body []byte) ([]byte, error)

func (a answering) Answer(ctx context.Context, from uint64, kind Question, body []byte) ([]byte, error) {
	return a(ctx, from, kind, body)
}

// inTime is a context for what must happen.
func inTime(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func TestQuestionsAreAnswered(t *testing.T) {
	sites := town(t, 3, func(o *Options) {
		local := uint64(0)
		if o.Members != nil {
			local = uint64(o.Members.Local())
		}
		o.Answerer = answering(func(_ context.Context, from uint64, kind Question, body []byte) ([]byte, error) {
			switch kind {
			case 200:
				return nil, &Failure{Code: 777, Text: "it is so"}
			case 201:
				return nil, errors.New("some reason")
			case 202:
				return nil, fmt.Errorf("wrapped: %w", ErrUnknownQuestion)
			case 203:
				return bytes.Repeat([]byte{1}, frames.MaxTalkBytes), nil
			}
			return fmt.Appendf(nil, "%d says to %d: %d %s", local, from, kind, body), nil
		})
	})
	for _, s := range sites {
		s.open()
	}
	meet(t, sites...)
	var all sync.WaitGroup
	for _, a := range sites {
		for _, b := range sites {
			if a == b {
				continue
			}
			for i := range 200 {
				all.Go(func() {
					body := strings.Repeat("x", i*i)
					want := fmt.Sprintf("%d says to %d: %d %s", b.id, a.id, 100+i%3, body)
					if got, err := a.mesh.Ask(inTime(t), b.id, Question(100+i%3), []byte(body)); err != nil || string(got) != want {
						t.Errorf("%d asks %d: %.40q, %v, want %.40q", a.id, b.id, got, err, want)
					}
				})
			}
		}
	}
	all.Wait()
	for kind, want := range map[Question]Failure{
		200: {777, "it is so"}, 201: {codeFailed, "some reason"}, 202: {codeUnknown, "wrapped: " + ErrUnknownQuestion.Error()},
		203: {codeFailed, "the answer is too long"},
	} {
		var f *Failure
		if _, err := sites[0].mesh.Ask(inTime(t), 2, kind, nil); !errors.As(err, &f) || *f != want {
			t.Errorf("question %d fails with %v, want %v", kind, err, want)
		}
	}
	if _, err := sites[0].mesh.Ask(inTime(t), 2, 100, make([]byte, frames.MaxTalkBytes)); !errors.Is(err, ErrTooLong) {
		t.Errorf("a long question: %v", err)
	}
	if _, err := sites[0].mesh.Ask(inTime(t), 9, 100, nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("a question to nobody: %v", err)
	}
}

// TestQuestionsEndWithTheirLane: whoever waits is told at once when the other member dies.
func TestQuestionsEndWithTheirLane(t *testing.T) {
	asked := make(chan struct{}, 10)
	ended := make(chan struct{}, 10)
	sites := town(t, 2, func(o *Options) {
		o.Answerer = answering(func(ctx context.Context, _ uint64, _ Question, _ []byte) ([]byte, error) {
			asked <- struct{}{}
			<-ctx.Done()
			ended <- struct{}{}
			return nil, ctx.Err()
		})
	})
	sites[0].open()
	if _, err := sites[0].mesh.Ask(inTime(t), 2, 1, nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("a question to a member that is not there: %v", err)
	}
	sites[1].open()
	meet(t, sites...)
	failed := make(chan error, 1)
	go func() {
		_, err := sites[0].mesh.Ask(context.Background(), 2, 1, nil)
		failed <- err
	}()
	<-asked
	sites[1].kill()
	if err := <-failed; !errors.Is(err, ErrUnreachable) {
		t.Errorf("the question ends with %v", err)
	}
	<-ended // the answerer's time ends with its member

	// The one who asks gives up, and the answerer learns it from the time that it was given.
	sites[1].open()
	meet(t, sites...)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := sites[0].mesh.Ask(ctx, 2, 1, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the question ends with %v", err)
	}
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("the answerer goes on although nobody waits")
	}
	eventually(t, "nothing waits", func() bool { r := sites[0].mesh.remote(2); r.mu.Lock(); defer r.mu.Unlock(); return len(r.asked) == 0 })
}

// TestQuestionsEndWithEitherLane: the one on which they go out, and the one on which answers come.
func TestQuestionsEndWithEitherLane(t *testing.T) {
	for _, cut := range []string{"out", "in"} {
		sites := town(t, 2, func(o *Options) { o.ReadTimeout = time.Hour }) // silence ends nothing here
		conns := make(chan net.Conn, 100)
		pretender(t, sites[1], welcoming(conns, "", ""))
		sites[0].open()
		held := []net.Conn{<-conns, <-conns}
		_, in := call(t, sites[0], "GET", streamPath+"urgent", greetingOf())
		_, _ = call(t, sites[0], "GET", streamPath+"bulk", greetingOf())
		eventually(t, "they connect", func() bool { _, ok := sites[0].mesh.ActiveSince(2); return ok })
		failed := make(chan error, 1)
		ctx := inTime(t)
		go func() {
			_, err := sites[0].mesh.Ask(ctx, 2, 1, nil)
			failed <- err
		}()
		eventually(t, "the question waits", func() bool { r := sites[0].mesh.remote(2); r.mu.Lock(); defer r.mu.Unlock(); return len(r.asked) == 1 })
		if cut == "in" {
			_ = in.Close()
		} else {
			_ = held[0].Close()
			_ = held[1].Close()
		}
		if err := <-failed; !errors.Is(err, ErrUnreachable) {
			t.Errorf("with the lane %s cut the question ends with %v", cut, err)
		}
		sites[0].kill()
	}
}

// TestManyQuestionsDoNotStopRaft: as many as may wait are stuck, one more is refused, and heartbeats pass.
func TestManyQuestionsDoNotStopRaft(t *testing.T) {
	release := make(chan struct{})
	var under atomic.Int64
	sites := town(t, 2, func(o *Options) {
		o.Answerer = answering(func(context.Context, uint64, Question, []byte) ([]byte, error) {
			under.Add(1)
			<-release
			return nil, nil
		})
	})
	sites[0].open()
	sites[1].open()
	meet(t, sites...)
	var all sync.WaitGroup
	for range maxQuestions {
		all.Go(func() {
			if _, err := sites[0].mesh.Ask(inTime(t), 2, 1, nil); err != nil {
				t.Errorf("a question that waited: %v", err)
			}
		})
	}
	eventually(t, "all are under way", func() bool { return under.Load() == maxQuestions })
	if _, err := sites[0].mesh.Ask(inTime(t), 2, 1, nil); !errors.Is(err, ErrBusy) {
		t.Errorf("one question too many: %v", err)
	}
	// The answerer refuses as well, if the one who asks does not count.
	r := sites[0].mesh.remote(2)
	r.mu.Lock()
	waiting := r.asked
	r.asked = map[uint64]chan reply{}
	r.mu.Unlock()
	if _, err := sites[0].mesh.Ask(inTime(t), 2, 1, nil); !errors.Is(err, ErrBusy) {
		t.Errorf("one question too many for the answerer: %v", err)
	}
	r.mu.Lock()
	r.asked = waiting
	r.mu.Unlock()
	sites[0].send(2, replica.Urgent, plain(raftpb.MsgHeartbeat, 1))
	sites[1].receive()
	close(release)
	all.Wait()
}

func BenchmarkAsk(b *testing.B) {
	t := new(testing.T)
	sites := town(t, 2, func(o *Options) {
		o.Answerer = answering(func(_ context.Context, _ uint64, _ Question, body []byte) ([]byte, error) { return body, nil })
	})
	defer sites[0].kill()
	defer sites[1].kill()
	sites[0].open()
	sites[1].open()
	meet(t, sites...)
	for _, askers := range []int{1, 64, 1000} {
		b.Run(fmt.Sprint(askers), func(b *testing.B) {
			b.SetParallelism(askers)
			b.RunParallel(func(p *testing.PB) {
				body := make([]byte, 8)
				for p.Next() {
					if _, err := sites[0].mesh.Ask(context.Background(), 2, 1, body); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
