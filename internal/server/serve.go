package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"

	"github.com/keelson-db/keelson/internal/chores"
	"github.com/keelson-db/keelson/internal/config"
	"github.com/keelson-db/keelson/internal/replica"
)

// lostSuffix is put behind the names of a state and a log that are set aside because the cluster knows more of this
// member than they do. They are kept until the next ones are.
const lostSuffix = ".lost"

// StartError is why a server did not start. It is for whoever started it, and no news for a log.
type StartError struct{ Err error }

// Error is the line to show.
func (e *StartError) Error() string { return e.Err.Error() }

// Unwrap returns the error alone.
func (e *StartError) Unwrap() error { return e.Err }

// Serve opens a server and runs it until ctx ends or something fails. Where a copy of the state was fetched, it opens it
// again with that; where the cluster says that this member has lost what it knew, and it may rejoin by itself, it
// sets its data aside and begins anew.
func Serve(ctx context.Context, c *config.Config, env Env) error {
	for {
		s, err := Open(ctx, c, env)
		if err != nil {
			return &StartError{err}
		}
		err = s.Run(ctx)
		switch {
		case ctx.Err() != nil:
			return err
		case errors.Is(err, ErrCopied):
			env.copied = s.copied
		case c.AutoRejoin && (errors.Is(err, replica.ErrForgotten) || errors.Is(err, chores.ErrDiverged)):
			env.Log.Error("this member's data is not what it should be: it is set aside, and the member joins again as a learner", "error", err.Error())
			if err := setAside(c, env); err != nil {
				return fmt.Errorf("join again: %w", err)
			}
		case errors.Is(err, replica.ErrForgotten):
			return fmt.Errorf("%w; it must not take part as who it was: start it with --auto-rejoin, which sets its data aside and joins again as a learner, "+
				"or remove the member and start it as a new one with an empty data directory", err)
		case errors.Is(err, replica.ErrRemoved):
			return fmt.Errorf("%w; to bring this machine back, start it with an empty data directory as a new member (--join)", err)
		default:
			return err
		}
		env.Seed, env.again = rand.Uint64(), true
	}
}

// setAside renames state and log, so that the next start finds none. A crash in between leaves one of them, which the
// start refuses with a hint.
func setAside(c *config.Config, env Env) error {
	d := &data{config: c, env: env}
	for _, dir := range []string{d.stateDir(), d.logOptions().Dir} {
		lost := dir + lostSuffix
		if err := env.FS.RemoveAll(lost); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s: %w%s", lost, err, hint(err))
		}
		if err := env.FS.Rename(dir, lost); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("set %s aside: %w%s", dir, err, hint(err))
		}
		if err := syncDirectory(env.FS, env.FS.PathDir(dir)); err != nil {
			return fmt.Errorf("set %s aside: %w%s", dir, err, hint(err))
		}
	}
	return nil
}
