package style

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

const (
	maxLine     = 120 // characters; a tab counts as one
	maxFunction = 70  // lines, from func to the closing brace
)

// longLines returns where a line has more than maxLine characters.
func longLines(f file) (found []string) {
	n := 0
	for line := range strings.Lines(f.text) {
		n++
		if c := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); c > maxLine {
			found = append(found, fmt.Sprintf("%s:%d: %d characters, at most %d", f.path, n, c, maxLine))
		}
	}
	return found
}

// longFunctions returns the functions of more than maxFunction lines.
func longFunctions(f file) (found []string) {
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, f.path, f.text, parser.SkipObjectResolution)
	if err != nil {
		return []string{err.Error()}
	}
	for _, d := range parsed.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		first, last := set.Position(fn.Pos()).Line, set.Position(fn.End()).Line
		if n := last - first + 1; n > maxFunction {
			found = append(found, fmt.Sprintf("%s:%d: %s has %d lines, at most %d", f.path, first, fn.Name, n, maxFunction))
		}
	}
	return found
}

// unsafeName is what a file is called that may import unsafe.
var unsafeName = regexp.MustCompile(`_unsafe(_[a-z0-9]+)*\.go$`)

// strayUnsafe returns whether a file imports unsafe under a name that does not say so.
func strayUnsafe(f file) (found []string) {
	if unsafeName.MatchString(path.Base(f.path)) {
		return nil
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), f.path, f.text, parser.ImportsOnly)
	if err != nil {
		return []string{err.Error()}
	}
	for _, imported := range parsed.Imports {
		if imported.Path.Value == `"unsafe"` {
			found = append(found, f.path+": imports unsafe, and its name does not end in _unsafe")
		}
	}
	return found
}

func TestShape(t *testing.T) {
	var found []string
	for _, f := range tree(t) {
		if !f.isGo() {
			continue
		}
		found = append(found, longFunctions(f)...)
		found = append(found, strayUnsafe(f)...)
		if !f.isGenerated() {
			found = append(found, longLines(f)...)
		}
	}
	require.Empty(t, found, strings.Join(found, "\n"))
}

// The checks find what they are for.
func TestShapeIsSeen(t *testing.T) {
	long := file{path: "a.go", text: "package a\n\nfunc f() {\n" + strings.Repeat("\tg()\n", maxFunction) + "}\n"}
	require.Len(t, longFunctions(long), 1)
	require.Empty(t, longFunctions(file{path: "a.go", text: strings.Replace(long.text, "\tg()\n\tg()\n", "", 1)}))
	require.Len(t, longLines(file{path: "a.go", text: "// " + strings.Repeat("ä", maxLine-2) + "\n"}), 1)
	require.Empty(t, longLines(file{path: "a.go", text: "// " + strings.Repeat("ä", maxLine-3) + "\n"}))
	stray := file{path: "b/view.go", text: "package b\n\nimport _ \"unsafe\"\n"}
	require.Len(t, strayUnsafe(stray), 1)
	for _, name := range []string{"b/view_unsafe.go", "b/view_unsafe_linux.go", "b/view_unsafe_test.go"} {
		stray.path = name
		require.Empty(t, strayUnsafe(stray))
	}
}
