package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"gopkg.in/natefinch/lumberjack.v2"
)

// rotationPiece is the most that is written at once to a file that rotates, in bytes. It is below the smallest
// size of such a file, 1 MB, because what does not fit into one file is refused as a whole.
const rotationPiece = 256 << 10

const (
	// maxRotationSize is the largest size of a log file that rotates, in megabytes. Past some more, its number of
	// bytes would have no room and every line would be refused.
	maxRotationSize = 1 << 30
	// maxRotationAge is the longest time that old files are kept, in days, about 270 years. Past some more, the time
	// would have no room and every old file would be deleted.
	maxRotationAge = 100_000
)

// ErrLogRotationInvalidLogOutput refuses rotation without exactly one file to rotate.
var ErrLogRotationInvalidLogOutput = errors.New("--log-outputs requires a single file path when --log-rotate-config-json is defined")

// LogRotation says when a log file makes way for a new one, and what becomes of the old ones.
type LogRotation struct {
	// MaxSize is the size in megabytes at which the file makes way; 0 means 100.
	MaxSize int `json:"maxsize"`
	// MaxAge is how many days old files are kept; 0 means for ever.
	MaxAge int `json:"maxage"`
	// MaxBackups is how many old files are kept; 0 means all.
	MaxBackups int `json:"maxbackups"`
	// LocalTime names old files by local time and not by UTC.
	LocalTime bool `json:"localtime"`
	// Compress packs old files with gzip.
	Compress bool `json:"compress"`
}

// readRotation fills LogRotation when rotation is on.
func (c *Config) readRotation(all settings) error {
	if !all.bool("enable-log-rotation") {
		return nil
	}
	files := 0
	for _, output := range c.LogOutputs {
		if !slices.Contains([]string{"default", "stderr", "stdout", "systemd/journal"}, output) {
			files++
		}
	}
	if files != 1 {
		return ErrLogRotationInvalidLogOutput
	}
	r := new(LogRotation)
	if err := json.Unmarshal([]byte(all.text("log-rotation-config-json")), r); err != nil {
		_, malformed := errors.AsType[*json.SyntaxError](err)
		_, mistyped := errors.AsType[*json.UnmarshalTypeError](err)
		switch {
		case malformed:
			return fmt.Errorf("improperly formatted log rotation config: %w", err)
		case mistyped:
			return fmt.Errorf("invalid log rotation config: %w", err)
		}
		return fmt.Errorf("fail to unmarshal log rotation config: %w", err)
	}
	if r.MaxSize < 0 || r.MaxAge < 0 || r.MaxBackups < 0 {
		return errors.New("invalid log rotation config: sizes, ages and counts cannot be negative")
	}
	r.MaxSize, r.MaxAge = min(r.MaxSize, maxRotationSize), min(r.MaxAge, maxRotationAge)
	c.LogRotation = r
	return nil
}

// rotatingFile is a log file that makes way for a new one.
type rotatingFile struct{ *lumberjack.Logger }

// openRotating opens the file once, so that a path that cannot be written to is known at the start.
func openRotating(path string, r LogRotation) (io.WriteCloser, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, logFileMode)
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	return rotatingFile{&lumberjack.Logger{
		Filename: path, MaxSize: r.MaxSize, MaxAge: r.MaxAge, MaxBackups: r.MaxBackups, LocalTime: r.LocalTime, Compress: r.Compress,
	}}, nil
}

// Write implements io.Writer in pieces that end with a line.
func (f rotatingFile) Write(lines []byte) (int, error) {
	written := 0
	for len(lines) > 0 {
		n := min(len(lines), rotationPiece)
		if end := bytes.LastIndexByte(lines[:n], '\n'); n < len(lines) && end >= 0 {
			n = end + 1
		}
		m, err := f.Logger.Write(lines[:n])
		if written += m; err != nil {
			return written, err
		}
		lines = lines[n:]
	}
	return written, nil
}
