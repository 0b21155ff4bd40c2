package shm_test

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/shm"
)

func TestLocksBetweenHandles(t *testing.T) {
	dir := shm.ScratchDir(t)
	a := mustCreate(t, dir, patternSize)
	b, err := a.Reopen()
	require.NoError(t, err)
	checkLocks(t, a, b)
}

// A POSIX lock would be lost here.
func TestLockSurvivesCloseOfAnotherDescriptor(t *testing.T) {
	dir := shm.ScratchDir(t)
	a, b := mustCreate(t, dir, patternSize), mustOpen(t, dir)
	ok, err := a.TryLock(0)
	require.NoError(t, err)
	require.True(t, ok)
	for range 3 {
		s := mustOpen(t, dir)
		require.NoError(t, s.Close())
		_, err := os.ReadFile(a.Path())
		require.NoError(t, err)
	}
	require.True(t, isLocked(t, b, 0))
}

func TestLargestIndex(t *testing.T) {
	dir := shm.ScratchDir(t)
	a, b := mustCreate(t, dir, patternSize), mustOpen(t, dir)
	const largest = 1<<31 - 1
	ok, err := a.TryLock(largest)
	require.NoError(t, err)
	require.True(t, ok)
	require.True(t, isLocked(t, b, largest))
}

func TestLocksDieWithTheirProcess(t *testing.T) {
	dir := shm.ScratchDir(t)
	mine := mustCreate(t, dir, patternSize)
	require.False(t, isLocked(t, mine, 7))

	p := start(t, "hold", dir)
	require.Equal(t, "locked true", p.line())
	require.True(t, isLocked(t, mine, 7))
	ok, err := mine.TryLock(7)
	require.NoError(t, err)
	require.False(t, ok)

	second := start(t, "hold", dir)
	require.Equal(t, "locked false", second.line())

	p.kill() // not waited for: a zombie's locks are gone too
	eventually(t, "the lock of the dead is free", func() bool {
		ok, err := mine.TryLock(7)
		require.NoError(t, err)
		return ok
	})
}

func TestKilledProcessIsNotAttached(t *testing.T) {
	dir := shm.ScratchDir(t)
	opt := &shm.Options{Dir: dir}
	require.NoError(t, mustCreate(t, dir, patternSize).Close())
	p := start(t, "hold", dir)
	require.Equal(t, "locked true", p.line())
	require.ErrorIs(t, shm.Remove("a", opt), shm.ErrBusy)
	p.kill()
	eventually(t, "the name can be removed", func() bool {
		err := shm.Remove("a", opt)
		if err != nil {
			require.ErrorIs(t, err, shm.ErrBusy)
		}
		return err == nil
	})
}

func TestDescriptorsDoNotReachChildren(t *testing.T) {
	dir := shm.ScratchDir(t)
	a := mustCreate(t, dir, patternSize)
	b := mustOpen(t, dir)
	c, err := b.Reopen()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })

	for _, s := range []*shm.Segment{a, b, c} {
		info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", s.Descriptor()))
		require.NoError(t, err)
		flags := int64(0)
		for line := range strings.Lines(string(info)) {
			if octal, ok := strings.CutPrefix(line, "flags:"); ok {
				flags, err = strconv.ParseInt(strings.TrimSpace(octal), 8, 64)
				require.NoError(t, err)
			}
		}
		require.NotZero(t, flags&unix.O_CLOEXEC)
	}
	require.Equal(t, "0", start(t, "descriptors", dir).line())
}

// The lock is released by Close although a child started meanwhile is still running.
func TestChildDoesNotKeepLocks(t *testing.T) {
	dir := shm.ScratchDir(t)
	a, b := mustCreate(t, dir, patternSize), mustOpen(t, dir)
	ok, err := a.TryLock(1)
	require.NoError(t, err)
	require.True(t, ok)

	child := exec.Command("sleep", "60")
	require.NoError(t, child.Start())
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	require.NoError(t, a.Close())
	require.False(t, isLocked(t, b, 1))
}
