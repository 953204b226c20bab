package raftlog

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Open reads the log and makes it ready for appends. It cuts what a crash left
// unfinished at the end and refuses a log that is damaged anywhere else; docs/crash.md
// says how it tells the two apart. A log that is refused is not changed. From then on
// until Close nobody else can open it; if somebody has it open, Open returns ErrLocked.
func Open(o Options) (*Log, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	exists, err := Exists(o.FS, o.Dir)
	if err == nil && !exists {
		// Said before the lock is taken, which would leave a file where no log is.
		err = ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("open raft log in %s: %w", o.Dir, err)
	}
	l, err := hold(o, func() (*Log, error) { return open(o) })
	if err != nil {
		return nil, fmt.Errorf("open raft log in %s: %w", o.Dir, err)
	}
	return l, nil
}

// open does what Open does, with the directory locked.

func open(o Options) (_ *Log, err error) {
	found, err := list(o.FS, o.Dir)
	if err != nil {
		return nil, err
	}
	if len(found.segments) == 0 {
		return nil, ErrNotFound
	}
	r := &recovery{opts: o}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if err := r.load(found.segments); err != nil {
		return nil, err
	}
	if err := r.run(); err != nil {
		return nil, err
	}
	if err := r.secure(); err != nil {
		return nil, err
	}
	d := &directory{opts: o, logID: r.logID}
	if err := d.collect(found); err != nil {
		return nil, fmt.Errorf("collect spare segments: %w", err)
	}
	return r.log(d), nil
}

// listing is a directory's files by what they are.
type listing struct {
	segments []uint64 // numbers, ascending
	spares   []uint64 // ids
	temps    []string // names
}

func list(fs vfs.FS, dir string) (listing, error) {
	var found listing
	names, err := fs.List(dir)
	if err != nil {
		return found, err
	}
	slices.Sort(names)
	for _, name := range names {
		if n, ok := parseNumber(name, "", segmentSuffix); ok {
			found.segments = append(found.segments, n)
		} else if id, ok := parseNumber(name, sparePrefix, ""); ok {
			found.spares = append(found.spares, id)
		} else if strings.HasPrefix(name, sparePrefix) && strings.HasSuffix(name, tempSuffix) {
			found.temps = append(found.temps, name)
		}
	}
	return found, nil
}

// collect fills the pool with the spares that fit and removes the rest.
func (d *directory) collect(found listing) error {
	remove := found.temps
	for _, id := range found.spares {
		d.lastID = max(d.lastID, id)
		name := spareName(id)
		info, err := d.opts.FS.Stat(d.path(name))
		if err != nil {
			return err
		}
		if len(d.spares) >= MaxSpares || info.Size() > d.opts.SegmentSize || info.Size() < headerBlock {
			remove = append(remove, name)
			continue
		}
		d.spares = append(d.spares, spare{name: name, size: info.Size()})
	}
	for _, name := range remove {
		if err := d.opts.FS.Remove(d.path(name)); err != nil {
			return err
		}
	}
	// A crash may have kept a recycled segment's old name from changing durably; the
	// recovery's sync of the directory has settled that.
	return nil
}

// loaded is a segment that recovery looks at.
type loaded struct {
	*segment
	begin    beginning
	headless string // why there is no readable begin record, if so
}

func (s *loaded) reader() *recordReader { return newRecordReader(s.file, s.size, s.base) }

// load opens the segments whose numbers follow each other without a gap up to the
// last. Older ones were forgotten: if the log needs them, run will notice.
func (r *recovery) load(numbers []uint64) error {
	first := len(numbers) - 1
	for first > 0 && numbers[first-1]+1 == numbers[first] {
		first--
	}
	for _, n := range numbers[:first] {
		info, err := r.opts.FS.Stat(r.path(segmentName(n)))
		if err != nil {
			return err
		}
		r.older = append(r.older, &segment{number: n, name: segmentName(n), size: info.Size()})
	}
	for _, n := range numbers[first:] {
		if err := r.loadSegment(n); err != nil {
			return err
		}
	}
	return nil
}

func (r *recovery) loadSegment(number uint64) error {
	s := &loaded{segment: &segment{number: number, name: segmentName(number)}}
	var err error
	if s.file, err = r.opts.FS.OpenReadWrite(r.path(s.name), category); err != nil {
		return err
	}
	r.segments = append(r.segments, s)
	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	s.size = info.Size()
	w := window{file: s.file, size: s.size}
	b, err := w.at(0, headerBytes)
	if err != nil {
		return err
	}
	head, why := parseSegmentHeader(b)
	if why == "" && head.version != segmentVersion {
		return fmt.Errorf("segment %s has version %d, known is %d: %w", s.name, head.version, segmentVersion, ErrVersion)
	}
	if why == "" && head.number != number {
		why = fmt.Sprintf("the header says that this is segment %d", head.number)
	}
	if why == "" && len(r.segments) > 1 && head.logID != r.logID {
		why = "the header names another log than the segment before"
	}
	if why != "" {
		return r.damaged(s, 0, why)
	}
	r.logID, s.base = head.logID, head.base
	rec, why, err := s.reader().next()
	switch {
	case err != nil:
		return err
	case why != "":
		s.headless = why
	case rec.kind != KindBegin:
		s.headless = "the first record does not begin a segment"
	default:
		s.begin = parseBeginning(rec.payload)
	}
	return nil
}
