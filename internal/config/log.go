package config

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/term"
)

// Formats of log lines.
const (
	formatJSON    = "json"
	formatConsole = "console"
)

// logFileMode lets only the owner read a log file: it holds key names.
const logFileMode = 0o600

// slogLevel is the lowest level that a --log-level lets through. slog has no
// level above error, so panic and fatal let errors through as well.
func slogLevel(name string) (slog.Level, error) {
	switch name {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error", "dpanic", "panic", "fatal":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("unknown log level %q: use debug, info, warn, error, panic or fatal", name)
}

// NewLogger opens the log outputs of the Config and builds the logger. stderr
// is where "default" and "stderr" write to.
//
// Lines are written by their callers until LogWriter.Run runs; from then on a
// caller only copies its line into a bounded queue and never waits for an
// output. Close writes what is queued, within a bound.
func NewLogger(c *Config, stderr *os.File) (*slog.Logger, *LogWriter, error) {
	level, err := slogLevel(c.LogLevel)
	if err != nil {
		return nil, nil, err
	}
	writer := &LogWriter{}
	terminal := len(c.LogOutputs) > 0
	for _, output := range c.LogOutputs {
		o, isTerminal, err := openOutput(output, stderr, c.LogRotation)
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("open log output %s: %w", output, err), writer.Close())
		}
		terminal = terminal && isTerminal
		writer.outlets = append(writer.outlets, o)
	}
	writer.format = c.LogFormat
	if writer.format == "" {
		writer.format = formatJSON
		if terminal {
			writer.format = formatConsole
		}
	}
	writer.encode = encoderFor(writer.format)
	return slog.New(newHandler(writer, level)), writer, nil
}

func openOutput(output string, stderr *os.File, rotation *LogRotation) (o *outlet, isTerminal bool, err error) {
	switch output {
	case "default", "stderr":
		return standardOutlet(output, stderr)
	case "stdout":
		return standardOutlet(output, os.Stdout)
	}
	if rotation != nil {
		file, err := openRotating(output, *rotation)
		if err != nil {
			return nil, false, err
		}
		return newOutlet(output, file), false, nil
	}
	file, err := os.OpenFile(output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, logFileMode)
	if err != nil {
		return nil, false, err
	}
	return newOutlet(output, file), false, nil
}

// standardOutlet writes through a second descriptor: Go ends the process when
// a write to descriptor 1 or 2 finds its reader gone, and a lost log reader
// must not take the server with it.
func standardOutlet(name string, file *os.File) (*outlet, bool, error) {
	second, err := duplicate(file)
	if err != nil {
		return nil, false, err
	}
	return newOutlet(name, second), isTerminal(file), nil
}

// isTerminal asks without Fd, which would make a non-blocking file block.
func isTerminal(file *os.File) bool {
	conn, err := file.SyscallConn()
	if err != nil {
		return false
	}
	terminal := false
	err = conn.Control(func(fd uintptr) { terminal = term.IsTerminal(int(fd)) })
	return err == nil && terminal
}
