package copies

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/keelson-db/keelson/internal/state"
)

// ServeHTTP answers on Path.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(headerCluster, s.cluster)
	err := s.serve(w, r)
	var no *refusal
	switch {
	case err == nil:
	case errors.As(err, &no):
		if no.status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", strconv.Itoa(comeAgain))
		}
		http.Error(w, no.why, no.status)
	case errors.Is(err, errUnsent):
		s.o.Log.Info("a connection over which a copy of the state was sent has ended", "to", r.RemoteAddr, "err", err)
	default:
		// Who waits for the last frame sees that it did not come.
		s.o.Log.Warn("could not read the state to send a copy of it", "to", r.RemoteAddr, "err", err)
	}
}

// errUnsent means that a frame did not go out, for a reason that is not the state's.
var errUnsent = errors.New("a copy of the state was not sent to its end")

// query is what somebody asks for.
type query struct {
	from   uint64 // member ID; 0 if it is not said
	id     string // empty for a new copy
	frames uint64 // that arrived
	least  uint64
}

func parseQuery(values url.Values, from string) (q query, err error) {
	q.id = values.Get("id")
	for name, n := range map[string]*uint64{"frame": &q.frames, "min": &q.least} {
		text := values.Get(name)
		if text == "" {
			continue
		}
		if *n, err = strconv.ParseUint(text, 10, 64); err != nil {
			return q, refuse(http.StatusBadRequest, "%s=%.40s is no number", name, text)
		}
	}
	if from != "" {
		if q.from, err = strconv.ParseUint(from, 16, 64); err != nil {
			return q, refuse(http.StatusBadRequest, "%.40q is no member ID", from)
		}
	}
	if q.id == "" && q.frames > 0 {
		return q, refuse(http.StatusBadRequest, "frame=%d says that there was a copy before, and not which", q.frames)
	}
	return q, nil
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) (err error) {
	if r.Method != http.MethodGet && r.Method != http.MethodDelete {
		w.Header().Set("Allow", "GET, DELETE")
		return refuse(http.StatusMethodNotAllowed, "a copy is fetched with GET")
	}
	if r.Header.Get(headerCluster) != s.cluster {
		return refuse(http.StatusPreconditionFailed, "cluster ID mismatch")
	}
	q, err := parseQuery(r.URL.Query(), r.Header.Get(headerFrom))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	out := http.NewResponseController(w)
	// Called under Server.mu and only while this request has the view, so it hits no later one on the connection.
	stop := func() {
		cancel(errTaken)
		_ = out.SetWriteDeadline(time.Now()) // the connection is given up either way
	}
	if r.Method == http.MethodDelete {
		return s.remove(ctx, q, stop)
	}
	var v *view
	if q.id == "" {
		v, err = s.begin(q.from, q.least, stop)
	} else {
		v, err = s.resume(ctx, q.id, stop)
	}
	var no *refusal
	switch {
	case errors.As(err, &no):
		return err
	case err != nil:
		s.o.Log.Warn("could not begin a copy of the state", "to", r.RemoteAddr, "err", err)
		return refuse(http.StatusInternalServerError, "a copy of the state cannot be made: %v", err)
	}
	defer func() { err = errors.Join(err, s.leave(v)) }()
	return s.send(ctx, w, out, v, q.frames)
}

// errTaken means that the asker goes on over another connection, or that the member stops.
var errTaken = errors.New("the copy is sent over another connection now, or this member is stopping")

// send sends what is behind so many frames.
func (s *Server) send(ctx context.Context, w http.ResponseWriter, out *http.ResponseController, v *view, frames uint64) error {
	if !v.goTo(frames) {
		return refuse(http.StatusGone, "the place behind %d frames of the copy is not kept any more", frames)
	}
	describe(w.Header(), v)
	w.WriteHeader(http.StatusOK)
	pace := sender{pace: &s.pace, began: time.Now()}
	for {
		frame, last, err := v.next(min(s.piece, s.pace.piece()))
		if err != nil {
			return err
		}
		if err := out.SetWriteDeadline(time.Now().Add(stall)); err != nil {
			return fmt.Errorf("%w: %w", errUnsent, err)
		}
		if ctx.Err() != nil { // asked for behind the deadline, which would undo that of stop
			return fmt.Errorf("%w: %w", errUnsent, context.Cause(ctx))
		}
		if _, err := w.Write(frame); err != nil {
			return fmt.Errorf("%w: %w", errUnsent, err)
		}
		if last {
			return errors.Join(out.Flush(), out.SetWriteDeadline(time.Time{}))
		}
		if err := pace.keep(ctx, len(v.raw), len(frame)); err != nil {
			return fmt.Errorf("%w: %w", errUnsent, err)
		}
	}
}

func describe(h http.Header, v *view) {
	h.Set("Content-Type", "application/octet-stream")
	h.Set(headerStream, strconv.Itoa(streamVersion))
	h.Set(headerFormat, strconv.Itoa(state.CopyFormat))
	h.Set(headerID, v.id)
	h.Set(headerIndex, strconv.FormatUint(v.original.Applied.Index, 10))
	h.Set(headerTerm, strconv.FormatUint(v.original.Applied.Term, 10))
	h.Set(headerLevel, strconv.FormatUint(uint64(v.original.Level), 10))
	h.Set(headerBytes, strconv.FormatInt(v.original.Bytes, 10))
	h.Set(headerDisk, strconv.FormatInt(v.original.DiskBytes, 10))
}

// remove lets go of a copy that has arrived.
func (s *Server) remove(ctx context.Context, q query, stop func()) error {
	v, err := s.resume(ctx, q.id, stop)
	if err != nil {
		return err
	}
	err = v.close(true)
	s.forget(v)
	return err
}
