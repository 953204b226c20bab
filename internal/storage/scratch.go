package storage

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// scratchPrefix begins the names of scratch files. The library's own files have other names, and it leaves alone
	// what it does not know.
	scratchPrefix = "scratch-"
	// scratchReserve is the room that a scratch file leaves on the disk, in bytes: what the log and the engine need
	// while it is there. A full disk would end the server.
	scratchReserve = 1 << 30
	// scratchSync is how much of a scratch file is written before the disk is asked to take it, in bytes. Nobody
	// needs it on the disk, but a sync of the log must not find a gigabyte waiting in front of it.
	scratchSync = 1 << 20
)

// ErrNoRoom is returned (wrapped) when the disk has no room for a scratch file.
var ErrNoRoom = errors.New("the disk has no room for it")

// Scratch is a file for what does not fit into memory and need not outlive its owner. It has no name from the
// beginning where the system allows it; elsewhere the next start removes what a crash has left. An error of it
// says nothing about the engine. It belongs to one goroutine and must be closed.
type Scratch struct {
	engine *Engine
	f      vfs.File
	path   string // empty if it has no name any more
	need   int64
	size   int64
}

// Scratch creates a file for so many bytes next to the engine's own.
func (s *Snapshot) Scratch(need int64) (*Scratch, error) { return s.e.newScratch(need) }

func (e *Engine) newScratch(need int64) (*Scratch, error) {
	if e.ro {
		return nil, errors.New("create scratch file: the storage is open for reading only")
	}
	if err := Room(e.fs, e.dir, e.scratched.Add(need)); err != nil {
		e.scratched.Add(-need)
		return nil, fmt.Errorf("create scratch file: %w", err)
	}
	path := e.fs.PathJoin(e.dir, fmt.Sprintf("%s%d", scratchPrefix, e.scratches.Add(1)))
	f, err := e.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		e.scratched.Add(-need)
		return nil, fmt.Errorf("create scratch file: %w", err)
	}
	s := &Scratch{engine: e, path: path, need: need}
	if e.fs.Remove(path) == nil {
		s.path = ""
	}
	s.f = vfs.NewSyncingFile(f, vfs.SyncingFileOptions{BytesPerSync: scratchSync, NoSyncOnClose: true})
	return s, nil
}

// Room says whether so many bytes fit on the disk that holds dir and leave it scratchReserve; if not, the error wraps
// ErrNoRoom. Where the system cannot tell, a write that fails tells it.
func Room(disk vfs.FS, dir string, need int64) error {
	usage, err := disk.GetDiskUsage(dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("ask how much room the disk has: %w", err)
	}
	if wanted := uint64(need) + scratchReserve; usage.AvailBytes < wanted {
		return fmt.Errorf("%w: it has %d bytes and should have %d", ErrNoRoom, usage.AvailBytes, wanted)
	}
	return nil
}

// Append writes b behind what is there.
func (s *Scratch) Append(b []byte) error {
	n, err := s.f.Write(b)
	s.size += int64(n)
	if err != nil {
		return fmt.Errorf("write scratch file: %w", err)
	}
	return nil
}

// Size is the number of bytes that were appended.
func (s *Scratch) Size() int64 { return s.size }

// ReadAt fills b with what stands from at on.
func (s *Scratch) ReadAt(b []byte, at int64) error {
	if _, err := s.f.ReadAt(b, at); err != nil {
		return fmt.Errorf("read scratch file: %w", err)
	}
	return nil
}

// Close gives back the room.
func (s *Scratch) Close() error {
	s.engine.scratched.Add(-s.need)
	err := s.f.Close()
	if s.path != "" {
		err = errors.Join(err, s.engine.fs.Remove(s.path))
	}
	if err != nil {
		return fmt.Errorf("close scratch file: %w", err)
	}
	return nil
}

// removeScratches removes what a crash has left of scratch files.
func removeScratches(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return fmt.Errorf("look for scratch files: %w", err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, scratchPrefix) {
			if err := fs.Remove(fs.PathJoin(dir, name)); err != nil {
				return fmt.Errorf("remove scratch file: %w", err)
			}
		}
	}
	return nil
}
