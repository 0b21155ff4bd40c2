package relay

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// wallClock are the methods of time.Time that drop its monotonic reading, or answer without it.
var wallClock = map[string]bool{"Unix": true, "UnixNano": true, "UnixMilli": true, "UnixMicro": true, "Round": true,
	"Truncate": true, "UTC": true, "Local": true, "Format": true, "AppendFormat": true, "Before": true, "After": true,
	"Equal": true, "Date": true, "Clock": true}

// wallClockUses are where one of them is called, but for when a stream was made: that is a name, and only compared.
func wallClockUses(file *ast.File) (uses []token.Pos) {
	ast.Inspect(file, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok || !wallClock[s.Sel.Name] {
			return true
		}
		if of, ok := s.X.(*ast.SelectorExpr); ok && of.Sel.Name == "Created" {
			return true
		}
		uses = append(uses, s.Pos())
		return true
	})
	return uses
}

// A clock that is set does nothing to a relay: it has no decision that depends on the time of day. What time.Now
// gives has a monotonic reading, and time.Since and timers go by that.
func TestNothingDependsOnTheTimeOfDay(t *testing.T) {
	set, files := token.NewFileSet(), 0
	for _, dir := range []string{".", "embed"} {
		entries, err := fs.ReadDir(os.DirFS(dir), ".")
		require.NoError(t, err)
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
				continue
			}
			file, err := parser.ParseFile(set, dir+"/"+e.Name(), nil, 0)
			require.NoError(t, err)
			for _, at := range wallClockUses(file) {
				require.Fail(t, "the time of day", "%v", set.Position(at))
			}
			files++
		}
	}
	require.Greater(t, files, 10)

	// And it would be noticed.
	file, err := parser.ParseFile(set, "x.go", "package x\nvar a = time.Now().UnixNano()\nvar b = t.Before(u)\n"+
		"var c = info.Created.UnixNano()\nvar d = time.Since(t)\n", 0)
	require.NoError(t, err)
	require.Len(t, wallClockUses(file), 2)
}
