package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGroups(t *testing.T) {
	file := filepath.Join(t.TempDir(), "group")
	require.NoError(t, os.WriteFile(file, []byte("root:x:0:\nlogs:x:4711:a,b\nbroken\n"), 0o600))
	for text, want := range map[string]int{"logs": 4711, "12": 12, "root": 0, "0": 0, "-1": 0,
		"broken": 0, "none": 0, "": 0} {
		n, err := groupID(text, file)
		require.Equal(t, want, n, text)
		require.Equal(t, want == 0, err != nil, text)
	}
}
