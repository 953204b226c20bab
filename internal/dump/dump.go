package dump

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// shownBytes is how much of a key or value is shown unless all is asked for, in bytes.
const shownBytes = 60

// ErrNothing is wrapped by the error about a directory that is not there.
var ErrNothing = errors.New("say where the server keeps its data with --data-dir")

// Dump prints files.
type Dump struct {
	FS   vfs.FS
	W    io.Writer
	Full bool // print keys and values whole
}

// exists explains a directory that is not there.
func (d *Dump) exists(dir, what string) error {
	_, err := d.FS.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no %s in %s: %w", what, dir, ErrNothing)
	}
	if err != nil {
		return fmt.Errorf("look for the %s: %w", what, err)
	}
	return nil
}

func (d *Dump) printf(format string, args ...any) error {
	if _, err := fmt.Fprintf(d.W, format, args...); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// text quotes bytes and cuts what is long.
func (d *Dump) text(b []byte) string {
	if d.Full || len(b) <= shownBytes {
		return fmt.Sprintf("%q", b)
	}
	return fmt.Sprintf("%q... (%d bytes)", b[:shownBytes], len(b))
}
