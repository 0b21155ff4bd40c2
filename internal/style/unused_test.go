package style

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// names returns what a Go file declares at its top level, without methods, and whether
// it has something that nobody has to name: main, init, a test, a method, an assertion.
func names(f file) (declared []string, needsNobody bool) {
	parsed, err := parser.ParseFile(token.NewFileSet(), f.path, f.text, parser.SkipObjectResolution)
	if err != nil {
		return nil, true // the compiler says what is wrong
	}
	for _, d := range parsed.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv != nil || d.Name.Name == "main" || d.Name.Name == "init" || f.isTest() {
				needsNobody = true
			} else {
				declared = append(declared, d.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					declared = append(declared, spec.Name.Name)
				case *ast.ValueSpec:
					for _, name := range spec.Names {
						declared = append(declared, name.Name)
						needsNobody = needsNobody || name.Name == "_"
					}
				}
			}
		}
	}
	return declared, needsNobody || len(declared) == 0
}

var identifier = regexp.MustCompile(`[\p{L}_][\p{L}\p{N}_]*`)

// unusedGo returns the Go files of which no other file uses a name.
func unusedGo(files []file) (found []string) {
	users := map[string]map[string]bool{} // by name: the files that have it
	for _, f := range files {
		if !f.isGo() {
			continue
		}
		for _, name := range identifier.FindAllString(f.text, -1) {
			if users[name] == nil {
				users[name] = map[string]bool{}
			}
			users[name][f.path] = true
		}
	}
	for _, f := range files {
		if !f.isGo() {
			continue
		}
		declared, needsNobody := names(f)
		used := needsNobody
		for _, name := range declared {
			used = used || len(users[name]) > 1
		}
		if !used {
			found = append(found, f.path+": no other file uses a name of it")
		}
	}
	return found
}

// unmentioned returns the files that are no source and that no other file names, by
// their own name or by that of the folder they lie in.
func unmentioned(files []file) (found []string) {
	roots := regexp.MustCompile(`^(README|LICENSE|CHANGELOG|go\.(mod|sum|work|work\.sum)|\.gitignore|check)`)
	for _, f := range files {
		if f.isGo() || strings.HasSuffix(f.path, ".s") || roots.MatchString(path.Base(f.path)) || strings.HasPrefix(f.path,
			".") {
			continue
		}
		base, folder := path.Base(f.path), path.Base(path.Dir(f.path))
		seen := false
		for _, g := range files {
			if g.path != f.path && (strings.Contains(g.text, base) || strings.Contains(g.text, "`"+path.Dir(f.path)+"/`")) ||
				g.isGo() && strings.Contains(g.text, folder+"/") ||
				g.isTest() && strings.Contains(g.text, "func "+folder+"(f *testing.F)") || // go test reads its corpus
				g.isGo() && path.Dir(g.path) == path.Dir(f.path) && strings.Contains(g.text, "*"+path.Ext(base)) {
				seen = true
				break
			}
		}
		if !seen {
			found = append(found, f.path+": nothing names it")
		}
	}
	return found
}

func TestNoFileIsUnused(t *testing.T) {
	files := tree(t)
	found := append(unusedGo(files), unmentioned(files)...)
	require.Empty(t, found, strings.Join(found, "\n"))
}

func TestUnusedFilesAreSeen(t *testing.T) {
	files := []file{
		{"a/a.go", "package a\n\nfunc used() {}\n"},
		{"a/b.go", "package a\n\nvar x = used\n\nvar y = x\n"},
		{"a/c.go", "package a\n\nfunc forgotten() { forgotten() }\n"},
		{"a/main.go", "package a\n\nfunc main() { _ = y }\n"},
		{"a/notes.md", "Nobody reads this."},
		{"a/read.md", "See a/main.go."},
		{"README.md", "See read.md."},
	}
	require.Equal(t, []string{"a/c.go: no other file uses a name of it"}, unusedGo(files))
	require.Equal(t, []string{"a/notes.md: nothing names it"}, unmentioned(files))
}
