package tidy

import "go/ast"

// checkSleep forbids time.Sleep in tests: it is too short on a slow machine and too long on all others.
// In a synctest bubble it is no waiting but a step of the bubble's clock.
func checkSleep(all []*source) []string {
	var findings []string
	for _, s := range all {
		if !s.test() || imports(s, "testing/synctest") {
			continue
		}
		ast.Inspect(s.tree, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "Sleep" {
				return true
			}
			if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "time" {
				findings = append(findings, s.at(sel.Pos(), "the test sleeps: wait for the condition with a deadline, or "+
					"use a testing/synctest bubble"))
			}
			return true
		})
	}
	return findings
}

func imports(s *source, path string) bool {
	for _, imp := range s.tree.Imports {
		if imp.Path.Value == `"`+path+`"` {
			return true
		}
	}
	return false
}
