package replica

import (
	"context"
	"fmt"
	"log/slog"
)

// raftLogger gives raft's own messages to our log: what it calls information is detail here.
type raftLogger struct{ *slog.Logger }

func (l raftLogger) at(level slog.Level, v ...any) {
	if l.Enabled(context.Background(), level) {
		l.Log(context.Background(), level, fmt.Sprint(v...), "from", "raft")
	}
}

func (l raftLogger) atf(level slog.Level, format string, v ...any) {
	if l.Enabled(context.Background(), level) {
		l.Log(context.Background(), level, fmt.Sprintf(format, v...), "from", "raft")
	}
}

// Debug and its kin implement raft.Logger.
func (l raftLogger) Debug(v ...any)                   { l.at(slog.LevelDebug, v...) }
func (l raftLogger) Debugf(format string, v ...any)   { l.atf(slog.LevelDebug, format, v...) }
func (l raftLogger) Info(v ...any)                    { l.at(slog.LevelDebug, v...) }
func (l raftLogger) Infof(format string, v ...any)    { l.atf(slog.LevelDebug, format, v...) }
func (l raftLogger) Warning(v ...any)                 { l.at(slog.LevelWarn, v...) }
func (l raftLogger) Warningf(format string, v ...any) { l.atf(slog.LevelWarn, format, v...) }
func (l raftLogger) Error(v ...any)                   { l.at(slog.LevelError, v...) }
func (l raftLogger) Errorf(format string, v ...any)   { l.atf(slog.LevelError, format, v...) }

// Fatal and Panic are raft's broken invariants: a member that goes on could spread a wrong state.
func (l raftLogger) Fatal(v ...any)                 { l.Panic(v...) }
func (l raftLogger) Fatalf(format string, v ...any) { l.Panicf(format, v...) }
func (l raftLogger) Panic(v ...any)                 { l.at(slog.LevelError, v...); panic(fmt.Sprint(v...)) }
func (l raftLogger) Panicf(format string, v ...any) {
	l.atf(slog.LevelError, format, v...)
	panic(fmt.Sprintf(format, v...))
}
