package shm_test

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/shm"
)

func TestFullFileSystem(t *testing.T) {
	dir := shm.SmallTmpfs(t, "size=64k")
	opt := &shm.Options{Dir: dir}
	_, err := shm.Create(t.Context(), "a", 1<<20, opt, nil)
	space, ok := errors.AsType[*shm.SpaceError](err)
	require.True(t, ok, "%v", err)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Equal(t, shm.SpaceError{Dir: dir, Need: 1 << 20, Free: 64 << 10, Err: syscall.ENOSPC}, *space)
	require.Empty(t, shm.Names(t, dir))

	s, err := shm.Create(t.Context(), "a", 64<<10, opt, func(mem []byte, _ shm.Locks) error {
		for i := range mem {
			mem[i] = 1
		}
		return nil
	})
	require.NoError(t, err, "exactly full is not too full")
	_, err = shm.Create(t.Context(), "b", 1, opt, nil)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, s.Close())
}

func TestUnlimitedFileSystem(t *testing.T) {
	dir := shm.SmallTmpfs(t, "size=0")
	s, err := shm.Create(t.Context(), "a", 1<<20, &shm.Options{Dir: dir}, nil)
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func TestNoInodeLeft(t *testing.T) {
	dir := shm.SmallTmpfs(t, "size=1m,nr_inodes=2")
	require.NoError(t, os.WriteFile(dir+"/last", nil, 0o600))
	_, err := shm.Create(t.Context(), "a", 1, &shm.Options{Dir: dir}, nil)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorContains(t, err, "no room for one more file")
}

func TestFileSizeLimit(t *testing.T) {
	dir := shm.ScratchDir(t)
	p := start(t, "fsize", dir)
	require.Equal(t, "RLIMIT_FSIZE 1048576 65536 true", p.line())
	text := p.line()
	require.Contains(t, text, "need 1 MiB, RLIMIT_FSIZE allows 64 KiB")
	require.Contains(t, text, "ulimit -f")
	require.NoError(t, p.cmd.Wait())
	require.Empty(t, shm.Names(t, dir))
}

func TestPrefaultAndLock(t *testing.T) {
	dir := shm.ScratchDir(t)
	opt := &shm.Options{Dir: dir, Prefault: true, Mlock: true}
	s, err := shm.Create(t.Context(), "a", 1<<20, opt, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	opened, err := shm.Open(t.Context(), "a", 1, opt)
	require.NoError(t, err)
	defer func() { require.NoError(t, opened.Close()) }()
	reopened, err := opened.Reopen()
	require.NoError(t, err)
	defer func() { require.NoError(t, reopened.Close()) }()

	for _, s := range []*shm.Segment{s, opened, reopened} {
		how := s.Applied()
		require.True(t, how.Prefault.Applied(), how.Prefault.String())
		require.True(t, how.Mlock.Asked)
		if how.Mlock.Err != nil { // a small RLIMIT_MEMLOCK
			var limit *shm.LimitError
			require.ErrorAs(t, how.Mlock.Err, &limit)
			continue
		}
		require.Contains(t, flags(t, shm.RangeOf(s)), "lo", "locked")
	}
}

// flags returns the VmFlags of the mapping that starts where r does.
func flags(t *testing.T, r shm.AddressRange) []string {
	t.Helper()
	all, err := os.ReadFile("/proc/self/smaps")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(all), r.Start()+"-")
	require.True(t, found)
	_, rest, found = strings.Cut(rest, "VmFlags:")
	require.True(t, found)
	line, _, _ := strings.Cut(rest, "\n")
	return strings.Fields(line)
}
