package shm_test

import (
	"fmt"
	"io/fs"
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
	require.ErrorIs(t, shm.Remove(t.Context(), "a", opt), shm.ErrBusy)
	p.kill()
	eventually(t, "the name can be removed", func() bool {
		err := shm.Remove(t.Context(), "a", opt)
		if err != nil {
			require.ErrorIs(t, err, shm.ErrBusy)
		}
		return err == nil
	})
}

func TestOneHolderAtATime(t *testing.T) {
	dir := shm.ScratchDir(t)
	var all []*process
	for range 4 {
		all = append(all, start(t, "contend", dir))
	}
	for _, p := range all {
		require.NoError(t, p.stdin.Close())
	}
	for _, p := range all {
		require.Equal(t, "one at a time", p.line())
		require.NoError(t, p.cmd.Wait())
	}
	if err := shm.Remove(t.Context(), "a", &shm.Options{Dir: dir}); err != nil {
		require.ErrorIs(t, err, fs.ErrNotExist)
	}
	require.Empty(t, shm.Names(t, dir))
}

// Those who still use a file without a name, and those of the new file that has it now,
// have nothing in common.
func TestOrphansHaveLocksOfTheirOwn(t *testing.T) {
	dir := shm.ScratchDir(t)
	opt := &shm.Options{Dir: dir}
	old := mustCreate(t, dir, patternSize)
	p := start(t, "hold", dir)
	require.Equal(t, "locked true", p.line())
	require.True(t, isLocked(t, old, 7))
	require.NoError(t, os.Remove(old.Path()))
	require.True(t, isLocked(t, old, 7))

	young := mustCreate(t, dir, patternSize)
	require.False(t, isLocked(t, young, 7))
	q := start(t, "hold", dir)
	require.Equal(t, "locked true", q.line())
	q.kill()
	_ = q.cmd.Wait()
	require.NoError(t, young.Close())
	require.NoError(t, shm.Remove(t.Context(), "a", opt))
	require.True(t, isLocked(t, old, 7), "removing the new file takes nothing from users of the old one")

	p.kill()
	_ = p.cmd.Wait()
	require.False(t, isLocked(t, old, 7))
	ok, err := old.TryLock(7)
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, old.Close())
	require.ErrorIs(t, shm.Remove(t.Context(), "a", opt), fs.ErrNotExist)
	require.Empty(t, shm.Names(t, dir))
}

// Not even between fork and exec.
func TestUnlockIsNotHeldUpByACopyOfTheDescriptor(t *testing.T) {
	dir := shm.ScratchDir(t)
	a, b := mustCreate(t, dir, patternSize), mustOpen(t, dir)
	ok, err := a.TryLock(1)
	require.NoError(t, err)
	require.True(t, ok)
	for _, fd := range append(a.LockDescriptors(), a.Descriptor()) {
		again, err := unix.Dup(fd)
		require.NoError(t, err)
		defer func() { require.NoError(t, unix.Close(again)) }()
	}
	require.NoError(t, a.Unlock(1))
	require.False(t, isLocked(t, b, 1))
}

func TestDescriptorsDoNotReachChildren(t *testing.T) {
	dir := shm.ScratchDir(t)
	a := mustCreate(t, dir, patternSize)
	b := mustOpen(t, dir)
	c, err := b.Reopen()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })

	var all []int
	for i, s := range []*shm.Segment{a, b, c} {
		ok, err := s.TryLock(i)
		require.NoError(t, err)
		require.True(t, ok)
		all = append(append(all, s.Descriptor()), s.LockDescriptors()...)
	}
	for _, fd := range all {
		info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
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
