package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"google.golang.org/grpc"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/test/harness"
)

// registerCall is one call on one register: a get, a put of a new value, or a swap of an expected for a new value.
type registerCall struct {
	key           string
	kind          string // get, put, swap
	expect, value string
}

// registerAnswer is what the call brought; unknown means that it may or may not have happened.
type registerAnswer struct {
	value   string
	swapped bool
	unknown bool
}

// registers is the sequential specification: independent registers, empty at first.
func registers() porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			byKey := map[string][]porcupine.Operation{}
			for _, op := range history {
				key := op.Input.(registerCall).key
				byKey[key] = append(byKey[key], op)
			}
			var parts [][]porcupine.Operation
			for _, part := range byKey {
				parts = append(parts, part)
			}
			return parts
		},
		Init: func() any { return "" },
		Step: func(state, input, output any) (bool, any) {
			call, answer := input.(registerCall), output.(registerAnswer)
			switch call.kind {
			case "get":
				return answer.unknown || answer.value == state, state
			case "put":
				return true, call.value
			default:
				holds := state == call.expect
				next := state
				if holds {
					next = call.value
				}
				return answer.unknown || answer.swapped == holds, next
			}
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprintf("%v -> %v", input, output) },
	}
}

// TestHistoriesAreLinearizable records what ten clients see while the server is killed and restarted, and looks for
// an order that explains all of it.
func TestHistoriesAreLinearizable(t *testing.T) {
	t.Parallel()
	kills := 4
	if !onKeelson() {
		kills = 2
	}
	n := harness.Start(t, harness.Options{})
	rec := &recorder{began: time.Now()}
	stop := make(chan struct{})
	var group sync.WaitGroup
	for client := range 10 {
		c := &registerClient{id: client, rng: rand.New(rand.NewPCG(11, uint64(client))), kv: pb.NewKVClient(n.Conn(t)), rec: rec}
		group.Go(func() { c.run(stop) })
	}
	for range kills {
		<-time.After(300 * time.Millisecond)
		n.Kill9(t)
		n.Restart(t)
	}
	<-time.After(300 * time.Millisecond)
	close(stop)
	group.Wait()

	known := 0
	for _, op := range rec.history {
		if !op.Output.(registerAnswer).unknown {
			known++
		}
	}
	if known < 100 {
		t.Errorf("only %d calls were answered", known)
	}
	result := porcupine.CheckOperationsTimeout(registers(), rec.history, 30*time.Second)
	t.Logf("%d calls, %d answered: %v", len(rec.history), known, result)
	if result == porcupine.Illegal {
		t.Error("no order explains what the clients saw")
	}
	if result == porcupine.Unknown {
		t.Error("the history is too entangled to be checked")
	}
}

type recorder struct {
	mu      sync.Mutex
	began   time.Time
	history []porcupine.Operation
}

func (r *recorder) add(op porcupine.Operation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history = append(r.history, op)
}

func (r *recorder) now() int64 { return int64(time.Since(r.began)) }

type registerClient struct {
	id   int
	rng  *rand.Rand
	kv   pb.KVClient
	rec  *recorder
	last [3]string // what it saw last in each register, to guess well in swaps
}

func (c *registerClient) run(stop <-chan struct{}) {
	for seq := 0; ; seq++ {
		select {
		case <-stop:
			return
		default:
		}
		reg := c.rng.IntN(len(c.last))
		call := registerCall{key: fmt.Sprint("register/", reg), kind: "get", value: fmt.Sprintf("%d.%d", c.id, seq)}
		switch c.rng.IntN(10) {
		case 0, 1, 2:
			call.kind = "put"
		case 3, 4, 5:
			call.kind, call.expect = "swap", c.last[reg]
		}
		begin := c.rec.now()
		answer := c.call(call)
		end := c.rec.now()
		if answer.unknown {
			if call.kind == "get" {
				continue
			}
			// It may take effect at any time from now on.
			end = 1 << 62
		} else if call.kind == "get" {
			c.last[reg] = answer.value
		}
		c.rec.add(porcupine.Operation{ClientId: c.id, Input: call, Output: answer, Call: begin, Return: end})
		if answer.unknown {
			// A client whose call never returned is a client of the past; it goes on under a new name.
			c.id += 1000
		}
	}
}

func (c *registerClient) call(call registerCall) registerAnswer {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	key := []byte(call.key)
	// While the server restarts, calls wait instead of failing: each failed call doubles the orders to be tried.
	wait := grpc.WaitForReady(true)
	switch call.kind {
	case "get":
		r, err := c.kv.Range(ctx, &pb.RangeRequest{Key: key}, wait)
		if err != nil {
			return registerAnswer{unknown: true}
		}
		if len(r.Kvs) == 0 {
			return registerAnswer{}
		}
		return registerAnswer{value: string(r.Kvs[0].Value)}
	case "put":
		_, err := c.kv.Put(ctx, &pb.PutRequest{Key: key, Value: []byte(call.value)}, wait)
		return registerAnswer{unknown: err != nil}
	default:
		cmp := &pb.Compare{Key: key, Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte(call.expect)}}
		if call.expect == "" {
			cmp = &pb.Compare{Key: key, Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{Version: 0}}
		}
		put := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: []byte(call.value)}}}
		r, err := c.kv.Txn(ctx, &pb.TxnRequest{Compare: []*pb.Compare{cmp}, Success: []*pb.RequestOp{put}}, wait)
		return registerAnswer{unknown: err != nil, swapped: r.GetSucceeded()}
	}
}
