package ring

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// listed returns the files in the order in which a package comment lists them: lines that
// begin with a tab and a name that ends in .go.
func listed(comment string) (order []string) {
	for _, m := range regexp.MustCompile(`(?m)^\t(\w+\.go)\b`).FindAllStringSubmatch(comment, -1) {
		order = append(order, m[1])
	}
	return order
}

// upward returns the uses of functions and methods that lead from a file to one that is
// listed above it.
func upward(set *token.FileSet, files []*ast.File, order []string, info *types.Info) (found []string) {
	place := func(p token.Pos) int { return slices.Index(order, filepath.Base(set.Position(p).Filename)) }
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			id, ok := n.(*ast.Ident)
			if !ok {
				return true
			}
			fn, ok := info.Uses[id].(*types.Func)
			if ok && fn.Pkg() != nil && fn.Pkg().Name() == "ring" && place(fn.Pos()) >= 0 && place(fn.Pos()) < place(id.Pos()) {
				found = append(found, fmt.Sprintf("%s: %s is in %s, above it", set.Position(id.Pos()), fn.Name(),
					filepath.Base(set.Position(fn.Pos()).Filename)))
			}
			return true
		})
	}
	return found
}

// check type-checks files as package ring.
func check(t *testing.T, set *token.FileSet, files []*ast.File) *types.Info {
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: importer.ForCompiler(set, "source", nil)}
	_, err := conf.Check("ring", set, files, info)
	require.NoError(t, err)
	return info
}

// The parts of the package call only what is listed below them in doc.go.
func TestCallsRunDown(t *testing.T) {
	pkg, err := build.ImportDir(".", 0)
	require.NoError(t, err)
	set := token.NewFileSet()
	var files []*ast.File
	var order []string
	for _, name := range pkg.GoFiles {
		f, err := parser.ParseFile(set, name, nil, parser.ParseComments)
		require.NoError(t, err)
		files = append(files, f)
		if name == "doc.go" {
			order = listed(f.Doc.Text())
		}
	}
	for _, name := range pkg.GoFiles {
		require.True(t, name == "doc.go" || slices.Contains(order, name), "%s is not listed in doc.go", name)
	}
	for _, name := range order {
		match, _ := build.Default.MatchFile(".", name)
		require.True(t, !match || slices.Contains(pkg.GoFiles, name), "doc.go lists %s, which is not there", name)
	}
	found := upward(set, files, order, check(t, set, files))
	require.Empty(t, found, strings.Join(found, "\n"))
}

// An upward call is found.
func TestUpwardCallsAreSeen(t *testing.T) {
	set := token.NewFileSet()
	var files []*ast.File
	for name, text := range map[string]string{
		"top.go":    "package ring\n\nfunc top() { bottom() }\n",
		"bottom.go": "package ring\n\ntype thing struct{}\n\nfunc bottom() {}\n\nfunc (thing) calls() { top() }\n",
	} {
		f, err := parser.ParseFile(set, name, text, 0)
		require.NoError(t, err)
		files = append(files, f)
	}
	info := check(t, set, files)
	require.Len(t, upward(set, files, []string{"top.go", "bottom.go"}, info), 1)
	require.Len(t, upward(set, files, []string{"bottom.go", "top.go"}, info), 1)
	require.Equal(t, []string{"a.go", "b_c.go"}, listed("Text\n\n\ta.go    one\n\tb_c.go  two\n"))
}

// Cursors out of order are found.
func TestInvariant(t *testing.T) {
	good := func() *cursors {
		var c cursors
		c.start(^uint64(0)-2, ^uint64(0)) // positions wrap
		c.acked, c.implicitAck, c.pos = c.released+1, c.released+3, c.released+6
		c.exposed, c.mark = c.released+4, c.released+8
		c.newest, c.returned, c.outstanding = Position{c.pos, 2}, Position{c.pos, 1}, true
		return &c
	}
	require.NotPanics(t, func() { good().invariant() })
	for name, spoil := range map[string]func(c *cursors){
		"released":    func(c *cursors) { c.released += 2 },
		"acked":       func(c *cursors) { c.acked += 3 },
		"implicitAck": func(c *cursors) { c.implicitAck += 4 },
		"pos":         func(c *cursors) { c.pos -= 4 },
		"exposed":     func(c *cursors) { c.exposed = c.mark + 1; c.mark-- },
		"returned":    func(c *cursors) { c.returned.Index = 3 },
		"outstanding": func(c *cursors) { c.outstanding = false },
	} {
		c := good()
		spoil(c)
		require.Panics(t, func() { c.invariant() }, name)
	}
}
