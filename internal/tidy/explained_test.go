package tidy

import (
	"go/ast"
	"go/token"
	"path"
)

// checkExplained wants a comment on every package and on everything that other packages can see.
func checkExplained(all []*source) []string {
	var findings []string
	documented, first := map[string]bool{}, map[string]*source{}
	for _, s := range all {
		dir := path.Dir(s.path)
		if first[dir] == nil {
			first[dir] = s
		}
		if s.tree.Doc != nil {
			documented[dir] = true
		}
		if s.test() || s.generated() {
			continue
		}
		for _, d := range s.tree.Decls {
			findings = append(findings, unexplained(s, d)...)
		}
	}
	for dir, s := range first {
		if !documented[dir] {
			findings = append(findings, s.about("the package has no comment: say in doc.go what it is, its goroutines, its "+
				"invariants and its limits"))
		}
	}
	return findings
}

// unexplained returns a finding for every exported name of a declaration that has no comment.
func unexplained(s *source, d ast.Decl) []string {
	var findings []string
	miss := func(name *ast.Ident) {
		if name.IsExported() {
			findings = append(findings, s.at(name.Pos(), "%s is exported and has no comment: say what it is for, or do not export it", name.Name))
		}
	}
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Doc == nil && (d.Recv == nil || ast.IsExported(receiver(d))) {
			miss(d.Name)
		}
	case *ast.GenDecl:
		if d.Tok == token.IMPORT {
			return nil
		}
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if spec.Doc == nil && (d.Doc == nil || d.Lparen.IsValid()) {
					miss(spec.Name)
				}
			case *ast.ValueSpec:
				if spec.Doc == nil && spec.Comment == nil && d.Doc == nil {
					for _, name := range spec.Names {
						miss(name)
					}
				}
			}
		}
	}
	return findings
}

// receiver returns the name of a method's type.
func receiver(f *ast.FuncDecl) string {
	t := f.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}
