package rpc

import (
	"context"
	"log/slog"
	"time"

	"github.com/keelson-db/keelson/internal/state"
)

// step is a part of a request's way through the house.
type step uint8

// The steps, in the order in which they are taken. A read has quorum and read, a command the first three.
const (
	stepQueue  step = iota // waiting to become part of a log entry
	stepSync               // until the entry was durable on a quorum
	stepApply              // until its effects could be seen
	stepQuorum             // until it was sure that a read would see everything acknowledged
	stepRead               // looking
	stepSend               // until the transport had taken all of a large reply
	steps
)

// String is the step as the log names it.
func (s step) String() string {
	return [steps]string{"queue", "sync", "apply", "quorum", "read", "send"}[s]
}

// journey is a request's context that also notes where its time went. It is what a method gets from the gate;
// a context made of it notes nothing, and nobody minds.
type journey struct {
	context.Context
	took [steps]time.Duration
}

// spent notes the time that a step took.
func spent(ctx context.Context, s step, took time.Duration) {
	if j, ok := ctx.(*journey); ok {
		j.took[s] += took
	}
}

// spentOnCommand notes the steps of a command.
func spentOnCommand(ctx context.Context, t state.Took) {
	if j, ok := ctx.(*journey); ok {
		j.took[stepQueue] += time.Duration(t.Queue)
		j.took[stepSync] += time.Duration(t.Sync)
		j.took[stepApply] += time.Duration(t.Apply)
	}
}

// spentOnRead notes the time of a whole read: what was not looking was waiting for the quorum.
func spentOnRead(ctx context.Context, whole time.Duration) {
	if j, ok := ctx.(*journey); ok {
		j.took[stepQuorum] += whole - j.took[stepRead]
	}
}

// attrs are the steps that took any time, and the one that took most of it.
func (j *journey) attrs() []slog.Attr {
	var attrs []slog.Attr
	worst := step(0)
	for s := range steps {
		if j.took[s] > 0 {
			attrs = append(attrs, slog.Duration(s.String(), j.took[s]))
		}
		if j.took[s] > j.took[worst] {
			worst = s
		}
	}
	if len(attrs) > 0 {
		attrs = append(attrs, slog.String("mostly", worst.String()))
	}
	return attrs
}
