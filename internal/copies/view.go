package copies

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/keelson-db/keelson/internal/state"
)

const (
	// keptMarks is how many places to go on from are kept of a copy, in frames: what may be on its way when a
	// connection breaks, in the buffers of two systems, and what packs well is more than it looks.
	keptMarks = 1024
	// keptMarkBytes bounds the keys that they hold, in bytes; the newest one may be longer.
	keptMarkBytes = 1 << 20
	// walkBytes is how much is read before the walk over the state is begun anew where it was, in bytes: while it
	// goes on it holds files of the storage that nobody else needs any more.
	walkBytes = 16 << 20
	// yieldBytes is how much is read before others get their turn on the processor, in bytes.
	yieldBytes = 16 << 10
)

// mark is a place between two frames: what was sent before it, and the last key of that.
type mark struct {
	totals
	key []byte
}

// view is the state at one moment while it is sent, and where the sending is.
type view struct {
	id string
	// turn holds one token; who takes it has all but the last group of fields.
	turn     chan struct{}
	original *state.Original // nil until there is one, and after the view was closed
	at       mark            // behind the last frame
	marks    []mark          // places before that, oldest first
	markSize int             // of their keys
	rows     *state.Rows     // the walk, or nil
	walked   int             // bytes
	raw      []byte
	packer   packer
	ended    func(arrived bool) // told when original goes

	// Server.mu guards these.
	stop  func()    // ends whoever sends now; nil if nobody does
	idle  time.Time // since when nobody does
	index uint64    // of the last log entry in it; 0 until that is known
}

func newView(id string) *view {
	v := &view{id: id, turn: make(chan struct{}, 1)}
	v.turn <- struct{}{}
	return v
}

// goTo moves to the place behind so many frames, if that is known.
func (v *view) goTo(frames uint64) bool {
	if frames == v.at.frames {
		return true
	}
	if frames == 0 {
		v.at, v.marks, v.markSize = mark{}, nil, 0
		return true
	}
	for i, m := range v.marks {
		if m.frames == frames {
			for _, later := range v.marks[i:] {
				v.markSize -= len(later.key)
			}
			v.at, v.marks = m, v.marks[:i]
			return true
		}
	}
	return false
}

// next returns the next frame, and whether it is the last one. It is valid until the next call.
func (v *view) next(piece int) (frame []byte, last bool, err error) {
	if v.rows == nil {
		if v.rows, err = v.original.Rows(v.at.key); err != nil {
			return nil, false, err
		}
		v.walked = 0
	}
	v.raw = v.raw[:0]
	rows := uint64(0)
	next := mark{totals: v.at.totals}
	for given := 0; len(v.raw) < piece && v.rows.Next(); {
		if len(v.raw)-given >= yieldBytes {
			given = len(v.raw)
			runtime.Gosched()
		}
		v.raw = appendRow(v.raw, v.rows.Key(), v.rows.Value())
		next.key = append(next.key[:0], v.rows.Key()...)
		rows++
	}
	if v.walked += len(v.raw); len(v.raw) < piece || v.walked >= walkBytes {
		if err := v.rest(); err != nil {
			return nil, false, err
		}
	}
	if rows == 0 {
		return v.packer.last(v.at.totals), true, nil
	}
	next.add(rows, v.raw)
	v.remember(next)
	runtime.Gosched()
	return v.packer.pack(v.raw), false, nil
}

// remember makes next the present place.
func (v *view) remember(next mark) {
	if v.at.frames > 0 {
		v.marks = append(v.marks, v.at)
		v.markSize += len(v.at.key)
	}
	drop := 0
	for len(v.marks)-drop > keptMarks || v.markSize > keptMarkBytes && drop < len(v.marks) {
		v.markSize -= len(v.marks[drop].key)
		v.marks[drop].key = nil
		drop++
	}
	v.marks = v.marks[drop:]
	v.at = next
}

// rest ends the walk; the next frame begins another one.
func (v *view) rest() error {
	if v.rows == nil {
		return nil
	}
	err := v.rows.Close()
	v.rows = nil
	return err
}

// close lets go of the moment, whether the copy has arrived or not. The caller has the turn.
func (v *view) close(arrived bool) error {
	err := v.rest()
	if v.original != nil {
		v.ended(arrived)
		err = errors.Join(err, v.original.Close())
		v.original = nil
	}
	if err != nil {
		return fmt.Errorf("close a copy of the state: %w", err)
	}
	return nil
}
