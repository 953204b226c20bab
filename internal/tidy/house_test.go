package tidy

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// module is the product's import path.
const module = "github.com/keelson-db/keelson"

// root is the repository, seen from this directory.
const root = "../.."

// source is one parsed Go file.
type source struct {
	path string // from the root, with slashes
	text string
	fset *token.FileSet
	tree *ast.File
}

// product says whether the file belongs to the product's module and not to the nested test module.
func (s *source) product() bool { return !strings.HasPrefix(s.path, "test/") }

func (s *source) test() bool { return strings.HasSuffix(s.path, "_test.go") }

// room is the name that the floors give to the file's directory: "mvcc", "cmd/keelson".
func (s *source) room() string { return strings.TrimPrefix(path.Dir(s.path), "internal/") }

var generatedMark = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

func (s *source) generated() bool { return generatedMark.MatchString(s.text) }

// at begins a finding about a place in the file.
func (s *source) at(pos token.Pos, sentence string, args ...any) string {
	return fmt.Sprintf("%s:%d: %s", s.path, s.fset.Position(pos).Line, fmt.Sprintf(sentence, args...))
}

// about begins a finding about the file as a whole.
func (s *source) about(sentence string, args ...any) string {
	return fmt.Sprintf("%s: %s", s.path, fmt.Sprintf(sentence, args...))
}

func parse(name, text string) (*source, error) {
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	return &source{path: name, text: text, fset: fset, tree: tree}, nil
}

// walk visits every file of the repository that people write: not what is built, ignored or git's own.
func walk(visit func(name, text string) error) error {
	return filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if d.IsDir() {
			hidden := strings.HasPrefix(d.Name(), ".") && name != "." && name != ".ci"
			built := d.Name() == "bin" || strings.HasSuffix(name, ".keelson") || strings.HasSuffix(name, ".etcd")
			if hidden || built {
				return fs.SkipDir
			}
			return nil
		}
		switch path.Ext(name) {
		case ".go", ".md", ".mod", ".yml", ".yaml", ".txt", "":
		default:
			return nil
		}
		if name == "keelson" {
			return nil // the binary that `make build` leaves in the root
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		return visit(name, string(text))
	})
}

// readSources parses every Go file of the repository.
func readSources() ([]*source, error) {
	var all []*source
	err := walk(func(name, text string) error {
		if path.Ext(name) != ".go" || strings.Contains(name, "testdata/") {
			return nil
		}
		s, err := parse(name, text)
		if err == nil {
			all = append(all, s)
		}
		return err
	})
	if err == nil && len(all) < 100 {
		err = fmt.Errorf("found only %d Go files: the walk misses the repository", len(all))
	}
	return all, err
}

// rule is a house rule about Go sources.
type rule struct {
	name  string
	check func([]*source) []string
}

// rules are all rules about Go sources.
func rules() []rule {
	return []rule{
		{"calls go down", checkFloors},
		{"the quiet floor is quiet", checkQuiet},
		{"things stay small", checkSize},
		{"things are explained", checkExplained},
		{"nothing mutable is global", checkGlobals},
		{"tests do not sleep", checkSleep},
	}
}

// TestHouseRules holds the repository to the rules.
func TestHouseRules(t *testing.T) {
	all, err := readSources()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) { report(t, r.check(all)) })
	}
}

// report fails the test with each finding in a line of its own.
func report(t *testing.T, findings []string) {
	t.Helper()
	slices.Sort(findings)
	for _, f := range findings {
		t.Error(f)
	}
}
