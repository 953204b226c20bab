package tidy

import (
	"path"
	"strconv"
	"strings"
)

// floors are the lines of the house, from the ground up. A room calls only rooms of lower lines: never its
// own line, never a higher one. So facts are pulled up by those who want them, and there is no cycle to break.
var floors = [][]string{
	{"invariant", "metrics"},
	{"storage", "raftlog", "etcdfile", "certs", "lock/lockpb", "lock/electionpb"},
	{"command", "mvcc", "lease", "auth", "member"},
	{"state"},
	{"replica", "watch", "expiry", "chores", "token", "lock", "snapshot"},
	{"wire", "frames", "transport"},
	{"rpc", "peer", "copies", "web", "config"},
	{"bootstrap", "rebuild", "dump"},
	{"server", "cli"},
	{"cmd/keelson", "tidy"},
}

// floorOf returns the line of a room, counted from the ground; -1 if it stands on none.
func floorOf(room string) int {
	for i, line := range floors {
		for _, r := range line {
			if r == room {
				return i
			}
		}
	}
	return -1
}

// checkFloors holds for test files too: a test that needs a higher room belongs into that room. An external
// test package imports its own room, which is no call up.
func checkFloors(all []*source) []string {
	var findings []string
	homeless := map[string]bool{}
	for _, s := range all {
		if !s.product() {
			continue
		}
		own := floorOf(s.room())
		if own < 0 {
			if dir := path.Dir(s.path); !homeless[dir] {
				homeless[dir] = true
				findings = append(findings, s.about("the room %s stands on no floor: give it a place in `floors` "+
					"(internal/tidy/floors_test.go) and in docs/architecture.md", s.room()))
			}
			continue
		}
		for _, imp := range s.tree.Imports {
			target, err := strconv.Unquote(imp.Path.Value)
			inside, ok := strings.CutPrefix(target, module+"/")
			if err != nil || !ok {
				continue
			}
			room := strings.TrimPrefix(inside, "internal/")
			switch other := floorOf(room); {
			case s.test() && room == s.room():
			case other == own:
				findings = append(findings, s.at(imp.Pos(), "%s imports %s, the room beside it: declare the small "+
					"interface that you need, or move what both need down", s.room(), room))
			case other > own:
				findings = append(findings, s.at(imp.Pos(), "%s imports %s, a floor above it: calls go down; let the "+
					"upper room ask for what it wants to know", s.room(), room))
			}
		}
	}
	return findings
}
