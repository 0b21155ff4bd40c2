package counts

import (
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == ChildCommand {
		if err := Child(os.Args[2], os.Stdin, os.Stdout); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

func TestMeasureRepeats(t *testing.T) {
	a, err := Measure(os.Args[0], t.TempDir())
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	require.NoError(t, err)
	b, err := Measure(os.Args[0], t.TempDir())
	require.NoError(t, err)
	require.Equal(t, a, b)
	// These three stand in ring/locked_test.go as well, counted in another way.
	require.Equal(t, 0, a.Counts["spsc Send 32 B"].Locked) // there it has no consumer that fences
	require.Equal(t, 1, a.Counts["mpsc Send 32 B"].Locked)
	require.Equal(t, 0, a.Counts["spsc Receive 32 B"].Locked)
	for name, c := range a.Counts {
		require.Positive(t, c.Instructions, name)
		require.Zero(t, c.Syscalls, name)
		require.Zero(t, c.Allocs, name)
	}
}

func TestCompare(t *testing.T) {
	file := func(c Count) *File { return &File{Go: "go1", Arch: "amd64", Counts: map[string]Count{"op": c}} }
	kept := file(Count{100, 1, 0, 0})
	said, err := Compare(kept, file(Count{104, 1, 0, 0}))
	require.NoError(t, err)
	require.Contains(t, said, "within the slack")
	for _, worse := range []Count{{120, 1, 0, 0}, {100, 2, 0, 0}, {100, 1, 1, 0}, {100, 1, 0, 1}} {
		said, err = Compare(kept, file(worse))
		require.ErrorContains(t, err, "-counts -update")
		require.Contains(t, said, "MORE")
	}
	said, err = Compare(kept, file(Count{50, 1, 0, 0}))
	require.Error(t, err)
	require.Contains(t, said, "less")
	other := file(Count{500, 1, 0, 0})
	other.Go = "go2"
	said, err = Compare(kept, other)
	require.NoError(t, err)
	require.Contains(t, said, "instructions are not compared")
	_, err = Compare(kept, &File{Go: "go1", Arch: "amd64"})
	require.ErrorContains(t, err, "1 operations")
}
