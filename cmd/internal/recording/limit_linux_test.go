package recording

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// limitFiles makes files take no more than so many bytes, until the test is over.
func limitFiles(t *testing.T, size int64) {
	var old unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &old))
	limit := old
	limit.Cur = uint64(size)
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &limit))
	t.Cleanup(func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &old)) })
}
