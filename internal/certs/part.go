package certs

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"
)

const (
	// maxFileBytes is the largest file that is read, in bytes. Lists of revoked certificates may be long.
	maxFileBytes = 32 << 20

	// settleTime is how old a file's last change must be before its stamp is trusted: a file system keeps
	// time in steps, so two writes in quick succession may leave the same stamp.
	settleTime = 2 * time.Second

	// failuresBeforeComplaint is how many looks in a row must fail before it is said: a certificate and its
	// key are two files, and between the two writes they do not match.
	failuresBeforeComplaint = 2
)

// stamp tells one state of a file from another without reading it. The information comes from following
// links, so that exchanging a link, as Kubernetes does for mounted secrets, shows as another file.
type stamp struct{ info os.FileInfo }

func (s stamp) same(other stamp) bool {
	return s.info != nil && other.info != nil && os.SameFile(s.info, other.info) &&
		s.info.Size() == other.info.Size() && s.info.ModTime().Equal(other.info.ModTime())
}

func (s stamp) settled(now time.Time) bool {
	return s.info != nil && now.Sub(s.info.ModTime()) >= settleTime
}

// part is something that is read from files and read again when they change. A new state that cannot be
// read leaves the last good one in place. Only one goroutine may use a part.
type part[T any] struct {
	name  string // for the log: "certificate", "authorities"
	paths []string
	hint  string // what to do about a broken file
	parse func(contents [][]byte) (T, error)

	value    T
	stamps   []stamp
	contents [][]byte
	settled  bool // the stamps say all there is to say
	failures int  // looks in a row that failed
}

// open reads the part for the first time. The error is the last line of a start that fails, so it names the files.
func (p *part[T]) open() error {
	if _, err := p.read(time.Now()); err != nil {
		return fmt.Errorf("read the %s from %s: %w; %s", p.name, strings.Join(p.paths, " and "), err, p.hint)
	}
	return nil
}

// look reads the part again if its files changed, and reports whether its value is another one now.
func (p *part[T]) look(log *slog.Logger) bool {
	now := time.Now()
	if p.failures == 0 && p.settled && p.unchanged() {
		return false
	}
	changed, err := p.read(now)
	if err != nil {
		if p.failures++; p.failures == failuresBeforeComplaint {
			log.Error("could not read the new "+p.name+", the old one stays in use", "files", p.paths, "error", err.Error(), "hint", p.hint)
		}
		return false
	}
	if changed || p.failures >= failuresBeforeComplaint {
		log.Info("read the "+p.name+" again", "files", p.paths, "changed", changed)
	}
	p.failures = 0
	return changed
}

func (p *part[T]) unchanged() bool {
	for i, path := range p.paths {
		info, err := os.Stat(path)
		if err != nil || !p.stamps[i].same(stamp{info}) {
			return false
		}
	}
	return true
}

// read takes the stamps before the contents: a write that comes between leaves a stamp that is too old, and
// so the next look reads again.
func (p *part[T]) read(now time.Time) (changed bool, err error) {
	stamps, contents, settled := make([]stamp, len(p.paths)), make([][]byte, len(p.paths)), true
	same := p.contents != nil
	for i, path := range p.paths {
		if stamps[i], contents[i], err = readFile(path); err != nil {
			return false, err
		}
		settled = settled && stamps[i].settled(now)
		same = same && bytes.Equal(contents[i], p.contents[i])
	}
	if !same {
		value, err := p.parse(contents)
		if err != nil {
			return false, err
		}
		p.value = value
	}
	p.stamps, p.contents, p.settled = stamps, contents, settled
	return !same, nil
}

func readFile(path string) (stamp, []byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}, nil, err
	}
	if !info.Mode().IsRegular() {
		return stamp{}, nil, fmt.Errorf("%s is not a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return stamp{}, nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return stamp{}, nil, err
	}
	if len(data) > maxFileBytes {
		return stamp{}, nil, fmt.Errorf("%s is larger than %d bytes", path, maxFileBytes)
	}
	if cutShort(data) {
		return stamp{}, nil, fmt.Errorf("%s ends in the middle of a PEM block", path)
	}
	return stamp{info}, data, nil
}

// cutShort reports whether a PEM file ends inside a block, as it does while somebody writes it. What comes before
// would be read without complaint, and a bundle or a list that says less than the whole is a wrong one.
func cutShort(data []byte) bool {
	begin := bytes.LastIndex(data, []byte("-----BEGIN "))
	if begin < 0 {
		return false
	}
	_, end, found := bytes.Cut(data[begin:], []byte("\n-----END "))
	return !found || !bytes.Contains(end, []byte("-----"))
}
