package copies

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
)

const (
	// rounds is how often every source is asked before Fetch gives up.
	rounds = 3
	// tries is how often in a row a source is asked without a frame arriving before the next one is asked.
	tries = 4
	// pause is what is waited before a source is asked again.
	pause = time.Second
	// answerLimit is the longest time that a source may take for the head of an answer. One that is paused, or that has
	// lost its own state, accepts connections and says nothing.
	answerLimit = 5 * time.Second
	// DefaultRowBytes is the longest row that is taken where FetchOptions say nothing, in bytes.
	DefaultRowBytes = 64 << 20
	// reportEvery is how often the log is told how far a copy is.
	reportEvery = 5 * time.Second
)

// FetchOptions say which copy is wanted, and where it is to go.
type FetchOptions struct {
	FS  vfs.FS
	Dir string // the state's own directory; the copy is left in storage.ReadyDir of it

	Cluster uint64
	Local   member.ID // whose state the copy becomes
	Log     uint64    // names the log that feeds it
	Least   uint64    // the log entry that must be applied in it

	RowBytes int // of the longest row; 0 means DefaultRowBytes
	Progress *Progress
	Logger   *slog.Logger // nil discards

	pause, answerLimit time.Duration // 0 means the constants
}

// Progress tells anybody how far a Fetch is.
type Progress struct {
	Done  atomic.Int64 // bytes that have arrived, unpacked
	Total atomic.Int64 // about how many there are; 0 before that is known
}

// Fetch fetches a copy of the state from one of the sources, base URLs of members' ports, and leaves it where the next start
// takes it over. It asks them one after the other, and gives up when none of them has brought a copy to its end
// in several rounds, when there is no room, or when all say that they belong to another cluster. The client has no
// time limit of its own. The state in Dir is not touched, and may be in use; no other Fetch for it may run.
func Fetch(ctx context.Context, client *http.Client, sources []string, o FetchOptions) (state.Position, error) {
	if o.RowBytes == 0 {
		o.RowBytes = DefaultRowBytes
	}
	if o.pause == 0 {
		o.pause = pause
	}
	if o.answerLimit == 0 {
		o.answerLimit = answerLimit
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Progress == nil {
		o.Progress = new(Progress)
	}
	failed := errors.New("there is nobody to ask")
	for round := range rounds {
		if round > 0 && !wait(ctx, o.pause) {
			break
		}
		foreign := 0
		for _, source := range sources {
			p, err := fetchFrom(ctx, client, source, o)
			if err == nil {
				return p, nil
			}
			failed = fmt.Errorf("from %s: %w", source, err)
			if errors.Is(err, storage.ErrNoRoom) || ctx.Err() != nil {
				return state.Position{}, fmt.Errorf("fetch a copy of the state %w", failed)
			}
			o.Logger.Warn("could not fetch a copy of the state", "from", source, "err", err)
			if errors.Is(err, errForeign) {
				foreign++
			}
		}
		if foreign == len(sources) {
			break
		}
	}
	return state.Position{}, fmt.Errorf("fetch a copy of the state %w", failed)
}

// wait reports whether the time has passed before ctx was done.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// fetchFrom fetches a copy from one source, over as many connections as it takes.
func fetchFrom(ctx context.Context, client *http.Client, source string, o FetchOptions) (_ state.Position, err error) {
	t := &transfer{client: client, source: source, o: o, reader: reader{limit: o.RowBytes + pieceBytes + 2*maxUvarint}}
	defer func() { err = errors.Join(err, t.end(ctx)) }()
	o.Progress.Done.Store(0)
	o.Progress.Total.Store(0)
	for left := tries; ; {
		before := t.got.frames
		err := t.connect(ctx)
		if err == nil {
			break
		}
		if !errors.Is(err, errBroken) || ctx.Err() != nil {
			return state.Position{}, err
		}
		if left--; t.got.frames > before {
			left = tries - 1
		}
		if left == 0 {
			return state.Position{}, err
		}
		o.Logger.Info("fetching a copy of the state was interrupted and goes on", "from", source, "frames", t.got.frames, "err", err)
		if !wait(ctx, o.pause) {
			return state.Position{}, context.Cause(ctx)
		}
	}
	p, err := t.finish()
	if err != nil {
		return state.Position{}, err
	}
	o.Logger.Info("fetched a copy of the state", "from", source, "rows", t.got.rows, "bytes", t.got.bytes, "index", p.Index)
	return p, nil
}
