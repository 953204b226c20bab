package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// class says what Keelson does about a flag.
type class int

const (
	// used: the flag does what its help sentence says.
	used class = iota
	// accepted: the value is checked and then changes nothing, because
	// Keelson needs no such knob or because one member has nothing to do
	// there. A value other than the default gives a warning.
	accepted
	// ours: used, and a flag that etcd does not have.
	ours
	// unbuilt: ignoring the value would be unsafe (no encryption, no
	// retention, ...), so a value that switches it on stops the start.
	unbuilt
)

// kind is the grammar of a flag's value.
type kind int

const (
	text         kind = iota
	yesNo             // bool
	count             // uint
	count32           // uint32
	number            // int64
	period            // Go duration; whole nanoseconds in a file
	urls              // comma-separated URLs with ports, at least one
	urlsOrNone        // the same, or nothing
	list              // comma-separated words; in a file also a YAML list
	origins           // "*" or comma-separated origins such as http://a:80
	gates             // A=true,B=false
	clusterState      // new or existing
	fallback          // exit or proxy
	v2Stage           // stages of etcd's removal of its v2 store
)

// option is one row of the table of flags.
type option struct {
	class class
	kind  kind
	name  string
	// def is the default as text; what depends on other flags is filled in later.
	def string
	// file is the path of the value in a config file, levels joined by dots:
	// "" means the flag's own name and "-" that a file cannot set it.
	file string
	// help is one sentence for the usage text.
	help string
	// why tells, for an accepted flag, why its value changes nothing, and for
	// an unbuilt one what is missing and what to do instead.
	why string
}

// section is a headed part of the table, in the order of the usage text.
type section struct {
	title   string
	options []option
}

// filePath is where a config file holds the option, or "" if it cannot.
func (o *option) filePath() string {
	switch o.file {
	case "":
		return o.name
	case "-":
		return ""
	}
	return o.file
}

// check reports whether text is a value of the kind. Only the shape is judged
// here; what values mean together is judged once all sources have spoken.
func (k kind) check(value string) error {
	switch k {
	case yesNo:
		_, err := strconv.ParseBool(value)
		return plainNumError(err)
	case count:
		_, err := strconv.ParseUint(value, 0, strconv.IntSize)
		return plainNumError(err)
	case count32:
		_, err := strconv.ParseUint(value, 0, 32)
		return plainNumError(err)
	case number:
		_, err := strconv.ParseInt(value, 0, 64)
		return plainNumError(err)
	case period:
		if _, err := time.ParseDuration(value); err != nil {
			return errors.New("parse error")
		}
	case urls:
		_, err := parseURLs(value)
		return err
	case urlsOrNone:
		if value == "" {
			return nil
		}
		_, err := parseURLs(value)
		return err
	case origins:
		return checkOrigins(value)
	case gates:
		_, err := parseGates(value)
		return err
	case clusterState:
		return oneOf(value, stateNew, stateExisting)
	case fallback:
		return oneOf(value, "exit", "proxy")
	case v2Stage:
		return oneOf(value, "write-only", "write-only-drop-data", "gone")
	}
	return nil
}

// plainNumError reduces strconv's errors to the two words that the standard
// flag package, and so etcd, shows for them.
func plainNumError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, strconv.ErrRange):
		return errors.New("value out of range")
	}
	return errors.New("parse error")
}

func oneOf(value string, allowed ...string) error {
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	return errors.New("invalid value")
}

// setting is one option's value on its way to a Config. It is the flag.Value
// that the standard flag package fills.
type setting struct {
	option *option
	value  string
	given  bool
}

// String returns the value as text.
func (s *setting) String() string {
	if s == nil {
		return ""
	}
	return s.value
}

// Set takes a value from any source after checking its shape.
func (s *setting) Set(value string) error {
	if err := s.option.kind.check(value); err != nil {
		return err
	}
	s.value, s.given = value, true
	return nil
}

// IsBoolFlag lets "--flag" alone mean "--flag=true".
func (s *setting) IsBoolFlag() bool { return s.option.kind == yesNo }

// changed reports whether the value differs in meaning from the default.
func (s *setting) changed() bool {
	if s.value == s.option.def {
		return false
	}
	switch s.option.kind {
	case yesNo:
		return parseBool(s.value) != parseBool(s.option.def)
	case count, count32:
		return parseCount(s.value) != parseCount(s.option.def)
	case number:
		return parseNumber(s.value) != parseNumber(s.option.def)
	case period:
		return parsePeriod(s.value) != parsePeriod(s.option.def)
	}
	return strings.TrimSpace(s.value) != s.option.def
}

// settings holds every option's setting by flag name.
type settings map[string]*setting

func newSettings() settings {
	all := settings{}
	for _, section := range table() {
		for i := range section.options {
			o := &section.options[i]
			all[o.name] = &setting{option: o, value: o.def}
		}
	}
	for _, o := range fileOnly() {
		all[o.name] = &setting{option: &o, value: o.def}
	}
	return all
}

// The readers below cannot fail: Set has checked every text, and a test checks
// every default. They take the table's names, so an unknown name is a broken
// table and shows in the first test that calls Parse.

func (all settings) text(name string) string { return all[name].value }
func (all settings) given(name string) bool  { return all[name].given }
func (all settings) bool(name string) bool   { return parseBool(all[name].value) }
func (all settings) count(name string) uint  { return uint(parseCount(all[name].value)) }
func (all settings) number(name string) int64 {
	return parseNumber(all[name].value)
}
func (all settings) period(name string) time.Duration { return parsePeriod(all[name].value) }

func parseBool(value string) bool {
	v, _ := strconv.ParseBool(value)
	return v
}

func parseCount(value string) uint64 {
	v, _ := strconv.ParseUint(value, 0, 64)
	return v
}

func parseNumber(value string) int64 {
	v, _ := strconv.ParseInt(value, 0, 64)
	return v
}

func parsePeriod(value string) time.Duration {
	v, _ := time.ParseDuration(value)
	return v
}

// words splits a comma-separated value, dropping blanks and repetitions.
func words(value string) []string {
	var out []string
	seen := map[string]bool{}
	for _, word := range strings.Split(value, ",") {
		word = strings.TrimSpace(word)
		if word == "" || seen[word] {
			continue
		}
		seen[word] = true
		out = append(out, word)
	}
	return out
}

// badValue is the text that the standard flag package gives for a bad flag,
// for sources that do not pass through it.
func badValue(value, where string, err error) error {
	return fmt.Errorf("invalid value %q for %s: %w", value, where, err)
}
