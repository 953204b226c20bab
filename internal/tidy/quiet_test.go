package tidy

import (
	"go/ast"
	"slices"
	"strconv"
	"strings"
)

// quietRooms hold the replicated truth. What they do depends on commands alone, so that every member comes
// to the same state and recovery is "apply again".
var quietRooms = []string{"command", "mvcc", "lease", "auth", "member", "state"}

// loud are the ways to clock, dice, network and operating system, subpackages included.
var loud = []string{"time", "math/rand", "crypto/rand", "os", "net"}

func checkQuiet(all []*source) []string {
	var findings []string
	for _, s := range all {
		if !s.product() || s.test() || !slices.Contains(quietRooms, s.room()) {
			continue
		}
		for _, imp := range s.tree.Imports {
			target, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				continue
			}
			if slices.ContainsFunc(loud, func(l string) bool { return target == l || strings.HasPrefix(target, l+"/") }) {
				findings = append(findings, s.at(imp.Pos(), "%s is on the quiet floor and imports %s: let the "+
					"proposer put the value into the command", s.room(), target))
			}
		}
		ast.Inspect(s.tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				findings = append(findings, s.at(n.Pos(), "%s is on the quiet floor and starts a goroutine: start it "+
					"in the engine, in a Run that server starts", s.room()))
			case *ast.SendStmt:
				findings = append(findings, s.at(n.Pos(), "%s is on the quiet floor and sends on a channel: close a "+
					"signal, or let the reader ask what changed", s.room()))
			}
			return true
		})
	}
	return findings
}
