package tool

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/cmd/internal/cli"
)

// The verb is another program, which need not be there.
func TestRelayIsAnotherProgram(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	for _, args := range [][]string{{"relay", "out"}, {"help", "relay"}} {
		var said strings.Builder
		code := Run(context.Background(), args, strings.NewReader(""), io.Discard, &said)
		require.Equal(t, cli.Failed, code)
		require.Contains(t, said.String(), "go install github.com/shmring/shmring/cmd/shmring-relay@latest")
	}
	want := filepath.Join(dir, relayProgram)
	require.NoError(t, os.WriteFile(want, []byte("#!/bin/sh\n"), 0o700))
	got, err := relayPath()
	require.NoError(t, err)
	require.Equal(t, want, got)
}
