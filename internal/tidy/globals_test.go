package tidy

import (
	"go/ast"
	"go/token"
	"path"
	"strings"
)

// mutableTypes are packages whose types exist to be changed.
var mutableTypes = map[string]bool{"sync": true, "atomic": true}

// checkGlobals forbids init functions and package variables that change: many servers live in one process,
// and none may see another's state. Errors, tables that nobody writes to and embedded files are fine. The
// nested test module is not asked: its helpers deal out what a machine has once, such as ports.
func checkGlobals(all []*source) []string {
	var findings []string
	globals := map[string]map[string]bool{} // directory -> package variables
	for _, s := range all {
		if s.test() || !s.product() || s.generated() {
			continue
		}
		dir := path.Dir(s.path)
		if globals[dir] == nil {
			globals[dir] = map[string]bool{}
		}
		for _, d := range s.tree.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && d.Name.Name == "init" {
					findings = append(findings, s.at(d.Pos(), "init runs before anybody asked: build it in a constructor"))
				}
			case *ast.GenDecl:
				if d.Tok == token.VAR {
					findings = append(findings, declareGlobals(s, d, globals[dir])...)
				}
			}
		}
	}
	for _, s := range all {
		if !s.test() && s.product() {
			findings = append(findings, writes(s, globals[path.Dir(s.path)])...)
		}
	}
	return findings
}

// declareGlobals notes the variables of one declaration and finds those made to be changed.
func declareGlobals(s *source, d *ast.GenDecl, names map[string]bool) []string {
	var findings []string
	for _, spec := range d.Specs {
		v := spec.(*ast.ValueSpec)
		for _, name := range v.Names {
			if name.Name != "_" {
				names[name.Name] = true
			}
		}
		for _, e := range append([]ast.Expr{v.Type}, v.Values...) {
			if lit, ok := e.(*ast.CompositeLit); ok {
				e = lit.Type
			}
			if sel, ok := e.(*ast.SelectorExpr); ok {
				if pkg, ok := sel.X.(*ast.Ident); ok && mutableTypes[pkg.Name] && !strings.HasPrefix(sel.Sel.Name, "Once") {
					findings = append(findings, s.at(v.Pos(), "%s is a package variable made to be changed: put it into "+
						"the struct that owns it", v.Names[0].Name))
				}
			}
		}
	}
	return findings
}

// writes finds assignments to the package's variables.
func writes(s *source, names map[string]bool) []string {
	var findings []string
	note := func(e ast.Expr) {
		if id := target(e); id != nil && names[id.Name] {
			findings = append(findings, s.at(id.Pos(), "the package variable %s (or a local that hides it) is changed: "+
				"put it into the struct that owns it", id.Name))
		}
	}
	ast.Inspect(s.tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, e := range n.Lhs {
					note(e)
				}
			}
		case *ast.IncDecStmt:
			note(n.X)
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && (f.Name == "delete" || f.Name == "clear") && len(n.Args) > 0 {
				note(n.Args[0])
			}
		}
		return true
	})
	return findings
}

// target returns the variable that an assignment to e changes.
func target(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.IndexExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		case *ast.Ident:
			return x
		default:
			return nil
		}
	}
}
