package config

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/slogtest"
	"testing/synctest"
	"time"
)

func writeTestFile(t *testing.T, path, data string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

// memory is a log output that can be told to fail.
type memory struct {
	mu     sync.Mutex
	bytes  bytes.Buffer
	err    error
	closed bool
}

func (m *memory) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return 0, m.err
	}
	return m.bytes.Write(p)
}

func (m *memory) Close() error {
	m.closed = true
	return nil
}

func (m *memory) text() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bytes.String()
}

// blocked is a log output that nobody reads until it is opened.
type blocked struct {
	memory
	open chan struct{}
}

func (b *blocked) Write(p []byte) (int, error) {
	<-b.open
	return b.memory.Write(p)
}

func logTo(format string, outputs ...io.WriteCloser) (*slog.Logger, *LogWriter) {
	w := &LogWriter{format: format, encode: encoderFor(format)}
	for _, o := range outputs {
		w.outlets = append(w.outlets, newOutlet("test", o))
	}
	return slog.New(newHandler(w, slog.LevelDebug)), w
}

type panicking struct{}

func (panicking) String() string { panic("no words") }

func TestJSONLinesHaveEtcdsKeysInEtcdsOrder(t *testing.T) {
	out := &memory{}
	log, _ := logTo(formatJSON, out)
	log.Warn("slow \"request\"\n", "took", 250*time.Millisecond, "error", errors.New("boom"), "n", -3, "ok", true, "key", "\x00\xff",
		"list", []string{"a", "b"}, "any", map[string]int{"x": 1}, "f", 1.5, "bad", panicking{}, "nothing", nil,
		slog.Group("g", "a", 1, slog.Group("h", "b", 2)))
	want := regexp.MustCompile(`^\{"level":"warn","ts":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d{4})","caller":"config/log_test.go:\d+",` +
		`"msg":"slow \\"request\\"\\n","took":"250ms","error":"boom","n":-3,"ok":true,"key":"\\u0000\\ufffd",` +
		`"list":\["a","b"\],"any":\{"x":1\},"f":1.5,"bad":"!PANIC: no words","nothing":null,"g.a":1,"g.h.b":2\}` + "\n$")
	if got := out.text(); !want.MatchString(got) || !json.Valid([]byte(got)) {
		t.Errorf("line is %s", got)
	}
}

func TestConsoleLinesAlignTheirAttributes(t *testing.T) {
	out := &memory{}
	log, _ := logTo(formatConsole, out)
	log = log.With("member", "m1").WithGroup("raft")
	log.Info("ready", "term", 3, "why", "two words")
	log.Error("the disk is full\r", "empty", "")
	lines := regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d{3} `).ReplaceAllString(out.text(), "")
	want := "INFO  ready" + strings.Repeat(" ", 39) + ` member=m1 raft.term=3 raft.why="two words"` + "\n" +
		`ERROR the disk is full\r` + strings.Repeat(" ", 26) + ` member=m1 raft.empty=""` + "\n"
	if lines != want {
		t.Errorf("got\n%s\nwant\n%s", lines, want)
	}
}

func TestHandlerKeepsSlogsRules(t *testing.T) {
	out := &memory{}
	_, w := logTo(formatJSON, out)
	err := slogtest.TestHandler(newHandler(w, slog.LevelDebug), func() []map[string]any {
		var results []map[string]any
		for line := range strings.Lines(out.text()) {
			var flat map[string]any
			if err := json.Unmarshal([]byte(line), &flat); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			results = append(results, nest(flat))
		}
		return results
	})
	if err != nil {
		t.Error(err)
	}
}

// nest turns dotted names into maps and etcd's names into slog's.
func nest(flat map[string]any) map[string]any {
	root := map[string]any{}
	for name, value := range flat {
		level := root
		parts := strings.Split(name, ".")
		for _, part := range parts[:len(parts)-1] {
			if level[part] == nil {
				level[part] = map[string]any{}
			}
			level = level[part].(map[string]any)
		}
		level[parts[len(parts)-1]] = value
	}
	if ts, ok := root["ts"]; ok {
		root[slog.TimeKey] = ts
	}
	return root
}

func TestLevelsAndFilesAreAsConfigured(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "1.log"), filepath.Join(dir, "2.log")
	writeTestFile(t, first, "before\n")
	for level, want := range map[string]string{"debug": "debug info warn error", "warn": "warn error", "fatal": "error", "panic": "error"} {
		_ = os.Remove(second)
		log, w, err := NewLogger(&Config{LogLevel: level, LogOutputs: []string{first, second}}, os.Stderr)
		if err != nil {
			t.Fatal(err)
		}
		log.Debug("x")
		log.Info("x")
		log.Warn("x")
		log.Error("x")
		if err := errors.Join(w.Close(), w.Close()); err != nil {
			t.Fatal(err)
		}
		data, _ := os.ReadFile(second)
		var levels []string
		for line := range strings.Lines(string(data)) {
			var fields struct{ Level string }
			if err := json.Unmarshal([]byte(line), &fields); err != nil {
				t.Fatal(err)
			}
			levels = append(levels, fields.Level)
		}
		if got := strings.Join(levels, " "); got != want {
			t.Errorf("%s lets through %s", level, got)
		}
	}
	data, _ := os.ReadFile(first)
	info, _ := os.Stat(second)
	if !strings.HasPrefix(string(data), "before\n{") || info.Mode().Perm() != 0o600 {
		t.Errorf("file was not appended to, or has mode %v", info.Mode())
	}
	if _, _, err := NewLogger(&Config{LogLevel: "info", LogOutputs: []string{dir}}, os.Stderr); err == nil {
		t.Error("a directory was opened as log file")
	}
}

func TestStderrIsWrittenThroughASecondDescriptor(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	log, w, err := NewLogger(&Config{LogLevel: "info", LogOutputs: []string{"default"}}, writer)
	if err != nil {
		t.Fatal(err)
	}
	log.Info("hello")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := writer.WriteString("still open\n"); err != nil {
		t.Errorf("closing the log closed stderr: %v", err)
	}
	_ = writer.Close()
	data, _ := io.ReadAll(reader)
	if got := string(data); !strings.HasPrefix(got, `{"level":"info"`) || !strings.HasSuffix(got, "}\nstill open\n") {
		t.Errorf("stderr got %s", got)
	}
}

func TestABlockedOutputStopsNeitherCallersNorOtherOutputs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck, file := &blocked{open: make(chan struct{})}, &memory{}
		log, w := logTo(formatJSON, stuck, file)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		synctest.Wait()
		line := strings.Repeat("x", 1<<20)
		const lines = 10
		for range lines {
			log.Info(line)
			synctest.Wait()
		}
		if got := strings.Count(file.text(), "\n"); got != lines {
			t.Errorf("the healthy output got %d of %d lines", got, lines)
		}
		// One line is inside the blocked write and three fit into the queue.
		if got := w.Dropped(); got != lines-4 {
			t.Errorf("%d lines were dropped", got)
		}
		begin := time.Now()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		log.Info("after Run")
		if err := w.Close(); !errors.Is(err, ErrLogStuck) {
			t.Errorf("Close says %v", err)
		}
		if took := time.Since(begin); took > 2*logFlushBound {
			t.Errorf("stopping took %v", took)
		}
		close(stuck.open)
		synctest.Wait()
		if got := stuck.text(); !strings.Contains(got, `"dropped":6`) || !strings.Contains(got, "after Run") {
			t.Errorf("the output that moved again does not tell of the loss: ...%s", got[max(0, len(got)-300):])
		}
	})
}

func TestQueuedLinesAreWrittenInOrderAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &memory{}
		log, w := logTo(formatJSON, out)
		log.Info("before")
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		synctest.Wait()
		log.Info("during")
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		log.Info("after")
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		log.Info("too late")
		var seen []string
		for line := range strings.Lines(out.text()) {
			var fields struct{ Msg string }
			if err := json.Unmarshal([]byte(line), &fields); err != nil {
				t.Fatal(err)
			}
			seen = append(seen, fields.Msg)
		}
		if got := strings.Join(seen, " "); got != "before during after" || w.Dropped() != 1 || !out.closed {
			t.Errorf("written: %s; dropped %d; closed %v", got, w.Dropped(), out.closed)
		}
	})
}

func TestAFailingOutputIsCountedAndForgiven(t *testing.T) {
	out := &memory{err: errors.New("no space left on device")}
	log, w := logTo(formatJSON, out)
	log.Error("lost")
	out.err = nil
	log.Error("found")
	if w.Failed() != 1 || !strings.Contains(out.text(), "found") {
		t.Errorf("failed %d, output %s", w.Failed(), out.text())
	}
}

func BenchmarkLogLine(b *testing.B) {
	log, _ := logTo(formatJSON, discard{})
	b.ReportAllocs()
	for b.Loop() {
		log.Info("applied entry", "index", 123456, "took", 3*time.Millisecond, "key", "/registry/pods/default/a")
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }

func FuzzJSONString(f *testing.F) {
	f.Add("plain")
	f.Add("\x00\"\\\u2028\xff\xfe\x7f")
	f.Fuzz(func(t *testing.T, s string) {
		var got string
		if err := json.Unmarshal(appendJSONString(nil, s), &got); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		encoded, _ := json.Marshal(s)
		var want string
		_ = json.Unmarshal(encoded, &want)
		if got != want {
			t.Fatalf("%q became %q, want %q", s, got, want)
		}
	})
}
