package shmnet_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/shmnet"
)

// BenchmarkDial makes connections, accepts and closes them, both sides in this process.
func BenchmarkDial(b *testing.B) {
	l, err := shmnet.Listen(filepath.Join(b.TempDir(), "s"), nil)
	require.NoError(b, err)
	defer l.Close()
	for b.Loop() {
		a, err := shmnet.Dial(b.Context(), l.Addr().String(), nil)
		require.NoError(b, err)
		c, err := l.Accept()
		require.NoError(b, err)
		require.NoError(b, a.Close())
		require.NoError(b, c.Close())
	}
}
