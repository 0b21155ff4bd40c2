package style

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// file is one file of the tree as it is checked out.
type file struct {
	path string // from the root, with slashes
	text string
}

// tree lists the files that belong to the project: those that git tracks or would. In a
// copy without git, as a module cache is, there is nothing to hold to the rules.
func tree(t *testing.T) []file {
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	if _, err := os.Stat(filepath.Join(root, ".git")); err != nil {
		t.Skip("not a checkout")
	}
	list := exec.CommandContext(t.Context(), "git", "ls-files", "--cached", "--others", "--exclude-standard")
	list.Dir = root
	out, err := list.Output()
	require.NoError(t, err)
	var files []file
	for path := range strings.Lines(string(out)) {
		path = strings.TrimSuffix(path, "\n")
		text, err := os.ReadFile(filepath.Join(root, path))
		if os.IsNotExist(err) {
			continue // deleted and not committed yet
		}
		require.NoError(t, err)
		files = append(files, file{path, string(text)})
	}
	require.Greater(t, len(files), 100, "this is not the whole tree")
	return files
}

func (f file) isGo() bool { return strings.HasSuffix(f.path, ".go") }

func (f file) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

// isGenerated: the first lines say who made it.
func (f file) isGenerated() bool {
	head, _, _ := strings.Cut(f.text, "\npackage ")
	return strings.Contains(head, "DO NOT EDIT")
}
