package server

import (
	"context"
	"errors"
	"math/rand/v2"

	"github.com/keelson-db/keelson/internal/config"
)

// Serve opens a server and runs it until ctx ends or something fails; where a copy of the state was fetched, it opens
// it again with that.
func Serve(ctx context.Context, c *config.Config, env Env) error {
	for {
		s, err := Open(ctx, c, env)
		if err != nil {
			return err
		}
		err = s.Run(ctx)
		if !errors.Is(err, ErrCopied) || ctx.Err() != nil {
			return err
		}
		env.Seed = rand.Uint64()
	}
}
