package api

import (
	"bytes"
	"flag"
	"go/ast"
	"go/build"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write down what is exported now")

// packages are those that anybody may import, by where they are.
var packages = []string{
	".", "contrib/prometheus", "doorbell", "fanout", "futex", "layout", "relay", "ring", "shm", "shmnet", "shmrpc",
	"status",
}

// exported returns what a package exports on Linux, each declaration in one line, in the order of
// the alphabet.
func exported(t *testing.T, dir string) (lines []string) {
	t.Helper()
	context := build.Default
	context.GOOS, context.GOARCH, context.BuildTags = "linux", "amd64", nil
	found, err := context.ImportDir(dir, 0)
	require.NoError(t, err)
	for _, name := range found.GoFiles {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		lines = append(lines, declarations(t, file)...)
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

// declarations are those of one file that others can see.
func declarations(t *testing.T, file *ast.File) (lines []string) {
	t.Helper()
	ast.FileExports(file)
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv != nil && !ast.IsExported(receiver(d.Recv.List[0].Type)) {
				continue
			}
			d.Body, d.Doc = nil, nil
			lines = append(lines, oneLine(t, d))
		case *ast.GenDecl:
			for _, s := range d.Specs {
				lines = append(lines, specification(t, d.Tok, s)...)
			}
		}
	}
	return lines
}

// specification is one constant, variable or type; of a struct or an interface each member is a line
// of its own, because one more breaks nobody.
func specification(t *testing.T, tok token.Token, s ast.Spec) (lines []string) {
	t.Helper()
	switch s := s.(type) {
	case *ast.ValueSpec:
		for _, name := range s.Names {
			line := tok.String() + " " + name.Name
			if s.Type != nil {
				line += " " + oneLine(t, s.Type)
			}
			lines = append(lines, line)
		}
	case *ast.TypeSpec:
		head := "type " + s.Name.Name
		if s.TypeParams != nil {
			head += " with parameters"
		}
		fields, kind := (*ast.FieldList)(nil), ""
		switch u := s.Type.(type) {
		case *ast.StructType:
			fields, kind = u.Fields, " struct"
		case *ast.InterfaceType:
			fields, kind = u.Methods, " interface"
		default:
			kind = " " + oneLine(t, s.Type)
			if s.Assign.IsValid() {
				kind = " =" + kind
			}
		}
		lines = append(lines, head+kind)
		if fields == nil {
			return lines
		}
		for _, f := range fields.List {
			what := oneLine(t, f.Type)
			if len(f.Names) == 0 {
				lines = append(lines, head+", embedded "+what)
			}
			for _, name := range f.Names {
				lines = append(lines, head+", "+name.Name+" "+what)
			}
		}
	}
	return lines
}

// receiver is the name of a method's type.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// oneLine prints a part of a program without line breaks.
func oneLine(t *testing.T, node any) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, printer.Fprint(&b, token.NewFileSet(), node))
	return strings.Join(strings.Fields(b.String()), " ")
}

// What is exported is what was written down: go test ./internal/api -update does that, and
// CHANGELOG.md says to users what it means for them.
func TestExportedAPI(t *testing.T) {
	for _, dir := range packages {
		now := exported(t, filepath.Join("..", "..", filepath.FromSlash(dir)))
		require.NotEmpty(t, now, dir)
		name := strings.ReplaceAll(strings.ReplaceAll(dir, ".", "shmring"), "/", "-")
		file := filepath.Join("testdata", name+".txt")
		if *update {
			require.NoError(t, os.WriteFile(file, []byte(strings.Join(now, "\n")+"\n"), 0o644))
		}
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		was := strings.Split(strings.TrimSpace(string(text)), "\n")
		gone, added := without(was, now), without(now, was)
		require.Empty(t, gone, "%s: this has vanished, or changed, and breaks who uses it: say so in CHANGELOG.md", dir)
		require.Empty(t, added, "%s: this is new, and has to be kept: go test ./internal/api -update", dir)
	}
}

// without are the lines of a that are not in b.
func without(a, b []string) (lines []string) {
	for _, l := range a {
		if !slices.Contains(b, l) {
			lines = append(lines, l)
		}
	}
	return lines
}

// What breaks users is seen, and what does not is not taken for it.
func TestChangesAreSeen(t *testing.T) {
	of := func(text string) []string {
		file, err := parser.ParseFile(token.NewFileSet(), "a.go", "package a\n"+text, parser.SkipObjectResolution)
		require.NoError(t, err)
		return declarations(t, file)
	}
	was := of("type T struct{ A, b int }\nfunc (t *T) F(x int) error { return nil }\nfunc g() {}\nconst C T = 1\n")
	require.Equal(t, []string{"type T struct", "type T, A int", "func (t *T) F(x int) error", "const C T"}, was)
	for _, broken := range []string{
		"type T struct{ A int8 }\nfunc (t *T) F(x int) error { return nil }\nconst C T = 1\n",
		"type T struct{ A int }\nfunc (t T) F(x int) error { return nil }\nconst C T = 1\n",
		"type T struct{ A int }\nfunc (t *T) F(x int, y ...int) error { return nil }\nconst C T = 1\n",
		"type T struct{ A int }\nfunc (t *T) F(x int) error { return nil }\nconst C int = 1\n",
		"type T struct{ a int }\nfunc (t *T) F(x int) error { return nil }\nconst C T = 1\n",
	} {
		require.Len(t, without(was, of(broken)), 1, broken)
	}
	more := "type T struct{ A, B int }\nfunc (t *T) F(x int) error { panic(1) }\nconst C, D T = 1, 2\n"
	require.Empty(t, without(was, of(more)))
}
