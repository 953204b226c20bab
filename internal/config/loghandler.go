package config

import (
	"context"
	"log/slog"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
)

// maxPooledLine is the largest line buffer in bytes that is kept for reuse, so
// that one huge line does not hold its memory for ever.
const maxPooledLine = 64 << 10

// handler is the slog.Handler: it encodes a record and hands the line on.
// Attributes of groups appear under dotted names in both formats, so that a
// line stays flat for grep and for log stores.
type handler struct {
	shared *handlerShared
	// before holds the attributes of WithAttrs, encoded once.
	before []byte
	// group is the dotted prefix of names, ending in a dot, or empty.
	group string
}

// handlerShared is what a logger has in common with all loggers made from it.
type handlerShared struct {
	writer  *LogWriter
	level   slog.Level
	buffers sync.Pool // *[]byte
	// callers remembers "dir/file.go:line" by program counter: there are no
	// more of them than log statements in the program.
	callers sync.Map
}

func newHandler(writer *LogWriter, level slog.Level) *handler {
	shared := &handlerShared{writer: writer, level: level}
	shared.buffers.New = func() any { return new([]byte) }
	return &handler{shared: shared}
}

// Enabled reports whether lines of the level are written.
func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.shared.level
}

// Handle writes one line. It never fails: LogWriter counts what goes wrong.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	buffer := h.shared.buffers.Get().(*[]byte)
	line := h.shared.writer.encode((*buffer)[:0], r, h.shared.caller(r.PC), h.group, h.before)
	h.shared.writer.write(line)
	if cap(line) <= maxPooledLine {
		*buffer = line
		h.shared.buffers.Put(buffer)
	}
	return nil
}

// WithAttrs returns a handler whose lines all carry the attributes.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	with := *h
	with.before = append([]byte(nil), h.before...)
	json := h.shared.writer.encodesJSON()
	for _, a := range attrs {
		with.before = appendAttr(with.before, json, h.group, a)
	}
	return &with
}

// WithGroup returns a handler whose further attributes are named below the group.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	with := *h
	with.group = h.group + name + "."
	return &with
}

// caller names the log statement as etcd does: last directory, file and line.
func (s *handlerShared) caller(pc uintptr) string {
	if pc == 0 {
		return ""
	}
	if known, ok := s.callers.Load(pc); ok {
		return known.(string)
	}
	frame, _ := runtime.CallersFrames([]uintptr{pc}).Next()
	dir, file := filepath.Split(frame.File)
	caller := filepath.Base(dir) + "/" + file + ":" + strconv.Itoa(frame.Line)
	s.callers.Store(pc, caller)
	return caller
}
