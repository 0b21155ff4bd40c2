package mutants

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../../.."

// Each patch applies, and the tests that have to notice exist.
func TestPatches(t *testing.T) {
	all, err := Load(root)
	require.NoError(t, err)
	require.NoError(t, Check(root, all))
	for _, m := range all {
		for _, e := range m.Exams {
			if e.Lab != Test {
				require.FileExists(t, filepath.Join(root, "fuzz", e.Lab, "main_linux.go"), m.Name)
				continue
			}
			files, err := filepath.Glob(filepath.Join(root, e.Mode, "*_test.go"))
			require.NoError(t, err)
			found := false
			name, _, _ := strings.Cut(e.Flags, "/") // subtests have names that are made at run time
			for _, file := range files {
				text, err := os.ReadFile(file)
				require.NoError(t, err)
				found = found || strings.Contains(string(text), "\nfunc "+name+"(t *testing.T)")
			}
			require.True(t, found, "%s: %s has no test %s", m.Name, e.Mode, e.Flags)
		}
	}
}

func TestParse(t *testing.T) {
	m, err := parse(
		"Breaks: a promise\nCaught-by: lab mode -short -n 3\nCaught-by: test ./ring TestIt\n\n--- a/f\n+++ b/f\n")
	require.NoError(t, err)
	require.Equal(t, "a promise", m.Breaks)
	require.Equal(t, []Exam{{"lab", "mode", "-short -n 3"}, {Test, "./ring", "TestIt"}}, m.Exams)
	for text, want := range map[string]string{
		"Breaks: a promise\nCaught-by: lab mode\n":     "no empty line ends the head",
		"Breaks: a promise\n\n":                        "does not say",
		"Caught-by: lab mode\n\n":                      "does not say",
		"Breaks: a\nCaught-by: lab\n\n":                "want LAB MODE",
		"Breaks: a\nCaught-by: test ./ring\n\n":        "want LAB MODE",
		"Breaks: a\nCaught-By: lab mode\n\n--- a/f\n":  "is neither Breaks nor Caught-by",
		"diff --git a/f b/f\n--- a/f\n+++ b/f\n\n x\n": "is neither Breaks nor Caught-by",
	} {
		_, err := parse(text)
		require.ErrorContains(t, err, want, text)
	}
}

// tree is a source tree under git with one file and one patch.
func tree(t *testing.T) (dir string, commit func()) {
	dir = t.TempDir()
	write(t, dir, "a/f.go", "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\n")
	run := func(arguments ...string) {
		c := exec.Command("git", append([]string{"-c", "user.name=n", "-c", "user.email=e"}, arguments...)...)
		c.Dir = dir
		out, err := c.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	commit = func() {
		run("add", "-A")
		run("commit", "-q", "--no-gpg-sign", "-m", "m")
	}
	run("init", "-q")
	commit()
	write(t, dir, "a/f.go", "one\ntwo\nthree\nfour\nFIVE\nsix\nseven\neight\n")
	diff, err := git(dir, "diff", "--full-index")
	require.NoError(t, err)
	run("checkout", "-q", ".")
	write(t, dir, Dir+"/five"+suffix, "Breaks: five\nCaught-by: lab mode\n\n"+diff)
	commit()
	return dir, commit
}

func write(t *testing.T, dir, name, text string) {
	path := filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

// What has moved is merged, and what is not there any more is reported.
func TestPort(t *testing.T) {
	dir, commit := tree(t)
	port := func(write bool) (string, error) {
		list, err := Load(dir)
		require.NoError(t, err)
		var said strings.Builder
		err = Port(dir, list, write, &said)
		return said.String(), err
	}
	_, err := port(false)
	require.NoError(t, err)
	write(t, dir, "a/f.go", "one\nand\ntwo\n3\nfour\nfive\nsix\nseven\neight\n")
	commit()
	said, err := port(false)
	require.Error(t, err)
	require.Contains(t, said, "five does not apply: git apply: exit status 1: error: patch failed: a/f.go")
	require.NoError(t, CheckTable(dir, "other", nil, 1))
	require.ErrorContains(t, CheckTable(dir, "lab", []string{"none"}, 1), "five: lab has no mode mode\nmode none has 0")
	said, err = port(true)
	require.NoError(t, err, said)
	_, err = port(false)
	require.NoError(t, err)
	write(t, dir, "a/f.go", "one\ntwo\nthree\nfour\n5\nsix\nseven\neight\n")
	commit()
	said, err = port(true)
	require.Error(t, err)
	require.Contains(t, said, "    +<<<<<<< ours\n")
}
