package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// logTime is the form of time stamps in JSON lines.
const logTime = "2006-01-02T15:04:05.000000Z0700"

// consoleTime is the form of time stamps for people, who know the day.
const consoleTime = "15:04:05.000"

// consoleMessageWidth is the column width in bytes that messages are padded to
// in console lines, so that the attributes of neighbouring lines align.
const consoleMessageWidth = 44

// encoder appends one line, with its newline, to a buffer. before holds
// attributes that are encoded already; group prefixes the names of the record's own.
type encoder func(b []byte, r slog.Record, caller, group string, before []byte) []byte

func encoderFor(format string) encoder {
	if format == formatConsole {
		return appendConsoleLine
	}
	return appendJSONLine
}

// appendJSONLine writes etcd's keys in etcd's order: level, ts, caller, msg,
// then the attributes.
func appendJSONLine(b []byte, r slog.Record, caller, group string, before []byte) []byte {
	b = append(b, `{"level":"`...)
	b = append(b, levelName(r.Level)...)
	b = append(b, '"')
	if !r.Time.IsZero() {
		b = append(b, `,"ts":"`...)
		b = r.Time.AppendFormat(b, logTime)
		b = append(b, '"')
	}
	if caller != "" {
		b = append(b, `,"caller":`...)
		b = appendJSONString(b, caller)
	}
	b = append(b, `,"msg":`...)
	b = appendJSONString(b, r.Message)
	b = append(b, before...)
	r.Attrs(func(a slog.Attr) bool {
		b = appendAttr(b, true, group, a)
		return true
	})
	return append(b, '}', '\n')
}

// appendConsoleLine writes a line for a person: time, level, message, and the
// attributes in one column. The caller is left out as noise.
func appendConsoleLine(b []byte, r slog.Record, _, group string, before []byte) []byte {
	if !r.Time.IsZero() {
		b = r.Time.AppendFormat(b, consoleTime)
		b = append(b, ' ')
	}
	level := strings.ToUpper(levelName(r.Level))
	b = append(b, level...)
	b = appendSpaces(b, len("ERROR ")-len(level))
	start := len(b)
	b = appendPlain(b, r.Message)
	if len(before) > 0 || r.NumAttrs() > 0 {
		b = appendSpaces(b, consoleMessageWidth-(len(b)-start))
	}
	b = append(b, before...)
	r.Attrs(func(a slog.Attr) bool {
		b = appendAttr(b, false, group, a)
		return true
	})
	return append(b, '\n')
}

// appendPlain keeps a message on its line: control characters are escaped, so
// that a key from a client cannot forge lines or move the cursor.
func appendPlain(b []byte, s string) []byte {
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			quoted := strconv.QuoteRune(r)
			b = append(b, quoted[1:len(quoted)-1]...)
			continue
		}
		b = utf8.AppendRune(b, r)
	}
	return b
}

func appendSpaces(b []byte, n int) []byte {
	for range n {
		b = append(b, ' ')
	}
	return b
}

func levelName(level slog.Level) string {
	switch {
	case level < slog.LevelInfo:
		return "debug"
	case level < slog.LevelWarn:
		return "info"
	case level < slog.LevelError:
		return "warn"
	}
	return "error"
}

// appendAttr writes one attribute, or those of a group under dotted names.
func appendAttr(b []byte, asJSON bool, group string, a slog.Attr) []byte {
	value := a.Value.Resolve()
	if value.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, inner := range value.Group() {
			b = appendAttr(b, asJSON, group, inner)
		}
		return b
	}
	if a.Key == "" && value.Equal(slog.Value{}) {
		return b // slog's rule: an empty attribute is no attribute.
	}
	if asJSON {
		b = append(b, ',')
		b = appendJSONKey(b, group, a.Key)
		b = append(b, ':')
		return appendJSONValue(b, value)
	}
	b = append(b, ' ')
	b = appendPlain(b, group)
	b = appendPlain(b, a.Key)
	b = append(b, '=')
	return appendConsoleValue(b, value)
}

func appendJSONKey(b []byte, group, key string) []byte {
	if group == "" {
		return appendJSONString(b, key)
	}
	b = appendJSONString(b, group)
	b = b[:len(b)-1] // Without the closing quote, which the key brings.
	start := len(b)
	b = appendJSONString(b, key)
	return append(b[:start], b[start+1:]...)
}

func appendJSONValue(b []byte, v slog.Value) []byte {
	switch v.Kind() {
	case slog.KindString:
		return appendJSONString(b, v.String())
	case slog.KindInt64:
		return strconv.AppendInt(b, v.Int64(), 10)
	case slog.KindUint64:
		return strconv.AppendUint(b, v.Uint64(), 10)
	case slog.KindBool:
		return strconv.AppendBool(b, v.Bool())
	case slog.KindFloat64:
		return appendJSONFloat(b, v.Float64())
	case slog.KindDuration:
		return appendJSONString(b, v.Duration().String())
	case slog.KindTime:
		b = append(b, '"')
		b = v.Time().AppendFormat(b, logTime)
		return append(b, '"')
	}
	if list, ok := v.Any().([]string); ok {
		return appendJSONStrings(b, list)
	}
	word, encoded := describe(v.Any())
	if encoded != nil {
		return append(b, encoded...)
	}
	return appendJSONString(b, word)
}

func appendJSONStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSONString(b, s)
	}
	return append(b, ']')
}

// appendJSONFloat writes what JSON has no number for as a string.
func appendJSONFloat(b []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return appendJSONString(b, strconv.FormatFloat(f, 'g', -1, 64))
	}
	return strconv.AppendFloat(b, f, 'g', -1, 64)
}

func appendConsoleValue(b []byte, v slog.Value) []byte {
	word := ""
	switch v.Kind() {
	case slog.KindTime:
		return v.Time().AppendFormat(b, time.RFC3339Nano)
	case slog.KindAny:
		described, encoded := describe(v.Any())
		if word = described; encoded != nil {
			word = string(encoded)
		}
	default:
		word = v.String()
	}
	if word == "" || strings.ContainsAny(word, " =\"") || strings.ContainsFunc(word, isUnprintable) {
		return strconv.AppendQuote(b, word)
	}
	return append(b, word...)
}

func isUnprintable(r rune) bool { return !strconv.IsPrint(r) }

// describe turns any value into a word, or into JSON where it has no word of
// its own. A value whose methods panic must not take the server down with a
// log line, so the panic becomes the word.
func describe(value any) (word string, encoded []byte) {
	defer func() {
		if p := recover(); p != nil {
			word, encoded = fmt.Sprintf("!PANIC: %v", p), nil
		}
	}()
	switch v := value.(type) {
	case nil:
		return "", []byte("null")
	case error:
		return v.Error(), nil
	case fmt.Stringer:
		return v.String(), nil
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprintf("%+v", value), nil
	}
	return "", encoded
}

// appendJSONString quotes and escapes. Bytes that are not UTF-8, as in binary
// keys, become the replacement character.
func appendJSONString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				b = append(b, s[start:i]...)
				b = append(b, `\ufffd`...)
				start = i + 1
			}
			i += size
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		default:
			b = append(b, `\u00`...)
			b = append(b, hex[c>>4], hex[c&15])
		}
		i++
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}
