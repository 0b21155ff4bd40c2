package shmring_test

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

func TestNoSpace(t *testing.T) {
	dir := ringDir(t)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("mounting a small tmpfs needs privileges: ", err)
	}
	defer syscall.Unmount(dir, 0)
	_, err := shmring.OpenProducer(soon(t), "r", &shmring.Options{Dir: dir})
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorContains(t, err, dir)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

// Opening and closing leaves nothing behind.
func TestNoLeaks(t *testing.T) {
	dir := ringDir(t)
	count := func(path string) int {
		entries, err := os.ReadDir(path)
		require.NoError(t, err)
		return len(entries)
	}
	cycle := func() {
		p, err := shmring.OpenProducer(soon(t), "r", &shmring.Options{Dir: dir, Kind: shmring.KindMPSC})
		require.NoError(t, err)
		c, err := shmring.OpenConsumer(soon(t), "r", &shmring.Options{Dir: dir})
		require.NoError(t, err)
		_, err = shmring.OpenConsumer(soon(t), "r", &shmring.Options{Dir: dir})
		require.ErrorIs(t, err, shmring.ErrBusy)
		require.NoError(t, p.Send(soon(t), nil))
		require.NoError(t, p.Close())
		_, err = c.Receive(soon(t), nil)
		require.NoError(t, err)
		_, err = c.Receive(soon(t), nil)
		require.Equal(t, io.EOF, err)
		require.NoError(t, c.Close())
	}
	cycle()
	awaitNoInotify(t)
	fds, files := count("/proc/self/fd"), count(dir)
	for range 50 {
		cycle()
	}
	awaitNoInotify(t)
	require.Equal(t, fds, count("/proc/self/fd"))
	require.Equal(t, files, count(dir))
	maps, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	require.NotContains(t, string(maps), dir, "no mapping of the file is left")
}

// awaitNoInotify waits until the instance of this process has gone, which stays for a second
// behind its last use, in this test or in one before.
func awaitNoInotify(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		fds, _ := filepath.Glob("/proc/self/fd/*")
		return !slices.ContainsFunc(fds, func(fd string) bool {
			what, _ := os.Readlink(fd)
			return what == "anon_inode:inotify"
		})
	}, 20*time.Second, 10*time.Millisecond, "an inotify instance stays")
}
