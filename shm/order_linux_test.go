package shm

import (
	"context"
	"io/fs"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// These tests step into the gap between two system calls of a protocol.

// beforeAttachLock runs interfere just before each attempt to take the attach lock.
func beforeAttachLock(t *testing.T, interfere func()) {
	t.Helper()
	change(t, func(k *kernel) {
		k.flock = func(fd, how int) error {
			if how&unix.LOCK_UN == 0 {
				interfere()
			}
			return unix.Flock(fd, how)
		}
	})
}

// once makes interfere run a single time, without coming in its own way.
func once(interfere func()) func() {
	done := false
	return func() {
		if !done {
			done = true
			interfere()
		}
	}
}

// renew removes the segment and creates another one under its name.
func renew(t *testing.T, dir string) *Segment {
	t.Helper()
	require.NoError(t, Remove(t.Context(), "a", &Options{Dir: dir}))
	s, err := create(t, dir)
	require.NoError(t, err)
	return s
}

// A segment exists and nobody is attached to it.
func abandoned(t *testing.T) (dir string) {
	t.Helper()
	dir = ScratchDir(t)
	s, err := create(t, dir)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	return dir
}

func TestOpenFollowsTheNameToANewFile(t *testing.T) {
	dir := abandoned(t)
	var fresh *Segment
	beforeAttachLock(t, once(func() { fresh = renew(t, dir) }))
	s, err := Open(t.Context(), "a", 1, &Options{Dir: dir})
	require.NoError(t, err)
	require.NoError(t, s.Check(), "attached to a file without a name")
	fresh.Bytes()[0] = 77
	require.Equal(t, byte(77), s.Bytes()[0], "split brain")
	require.NoError(t, s.Close())
	require.NoError(t, fresh.Close())
}

func TestOpenNoticesThatTheNameIsGone(t *testing.T) {
	dir := abandoned(t)
	beforeAttachLock(t, once(func() { require.NoError(t, Remove(t.Context(), "a", &Options{Dir: dir})) }))
	_, err := Open(t.Context(), "a", 1, &Options{Dir: dir})
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestRemoveSparesANewFile(t *testing.T) {
	dir := abandoned(t)
	var fresh *Segment
	beforeAttachLock(t, once(func() { fresh = renew(t, dir) }))
	require.ErrorIs(t, Remove(t.Context(), "a", &Options{Dir: dir}), ErrBusy)
	require.NoError(t, fresh.Check(), "removed under the feet of its creator")
	require.NoError(t, fresh.Close())
}

func TestRemoveThatComesSecond(t *testing.T) {
	dir := abandoned(t)
	beforeAttachLock(t, once(func() { require.NoError(t, Remove(t.Context(), "a", &Options{Dir: dir})) }))
	require.ErrorIs(t, Remove(t.Context(), "a", &Options{Dir: dir}), fs.ErrNotExist)
}

// While Remove is between its check and the unlink, nobody can attach.
func TestNobodyAttachesDuringRemoval(t *testing.T) {
	dir := abandoned(t)
	free := func() bool {
		fd, err := unix.Open(dir+"/a.shmring", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err == unix.ENOENT {
			return false
		}
		require.NoError(t, err)
		defer func() { require.NoError(t, unix.Close(fd)) }()
		return unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB) == nil
	}
	require.True(t, free())
	change(t, func(k *kernel) {
		k.unlinkat = func(at int, name string, flags int) error {
			require.False(t, free())
			return unix.Unlinkat(at, name, flags)
		}
	})
	require.NoError(t, Remove(t.Context(), "a", &Options{Dir: dir}))
}

// Somebody replaces the name each time we look.
func TestReplacedForEver(t *testing.T) {
	dir := abandoned(t)
	path := dir + "/a.shmring"
	replaced := 0
	beforeAttachLock(t, func() {
		replaced++
		require.NoError(t, os.WriteFile(dir+"/next", make([]byte, 1), 0o600))
		require.NoError(t, os.Rename(dir+"/next", path))
	})
	_, err := Open(t.Context(), "a", 1, &Options{Dir: dir})
	require.ErrorIs(t, err, ErrOrphaned)
	require.ErrorContains(t, err, "replaced 100 times")
	require.Equal(t, maxReplaced, replaced)
	require.ErrorIs(t, Remove(t.Context(), "a", &Options{Dir: dir}), ErrOrphaned)
	require.Equal(t, 2*maxReplaced, replaced)
	require.Equal(t, []string{"a.shmring"}, Rings(t, dir))
}

// In the instant in which a new name appears it is already in use.
func TestCreatorIsAttachedWhenTheNameAppears(t *testing.T) {
	check := func(t *testing.T, dir string) {
		t.Helper()
		require.ErrorIs(t, Remove(t.Context(), "a", &Options{Dir: dir}), ErrBusy)
		st, err := os.Stat(dir + "/a.shmring")
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o640), st.Mode(), "the mode is set before the name appears")
	}
	t.Run("link", func(t *testing.T) {
		dir := ScratchDir(t)
		change(t, func(k *kernel) {
			k.linkat = func(od int, op string, nd int, np string, flags int) error {
				err := unix.Linkat(od, op, nd, np, flags)
				check(t, dir)
				return err
			}
		})
		s, err := create(t, dir)
		require.NoError(t, err)
		checkPublished(t, dir, s)
	})
	t.Run("rename", func(t *testing.T) {
		dir := ScratchDir(t)
		change(t, refuseTmpFile(unix.EOPNOTSUPP))
		change(t, func(k *kernel) {
			k.renameat2 = func(od int, op string, nd int, np string, flags uint) error {
				err := unix.Renameat2(od, op, nd, np, flags)
				check(t, dir)
				return err
			}
		})
		s, err := create(t, dir)
		require.NoError(t, err)
		checkPublished(t, dir, s)
	})
}

// When Close lets go of the locks, its stores have long gone elsewhere.
func TestClosePutsPagesBeforeLocks(t *testing.T) {
	dir := ScratchDir(t)
	s, err := create(t, dir)
	require.NoError(t, err)
	other, err := s.Reopen()
	require.NoError(t, err)
	ok, err := s.TryLock(0)
	require.NoError(t, err)
	require.True(t, ok)

	steps := ""
	change(t, func(k *kernel) {
		k.blank = func(m mapping) error {
			held, err := other.Held(0)
			require.NoError(t, err)
			require.True(t, held, "the lock is dropped while the pages are still there")
			steps = "blank "
			return m.blank()
		}
		k.close = func(fd int) error {
			if steps == "" {
				return unix.Close(fd) // of who asked above
			}
			s.mem[0] = 0xEE
			require.Equal(t, byte(1), other.mem[0], "a store reached the file when the locks went")
			steps += "close "
			return unix.Close(fd)
		}
	})
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	require.Equal(t, map[Locks]string{
		OFD:   "blank close close ",             // directory, segment
		Flock: "blank close close close close ", // lock file, its directory, that of the segment, segment
	}[s.Applied().Locks], steps)
	ok, err = other.TryLock(0)
	require.NoError(t, err)
	require.True(t, ok)
	sys.blank, sys.close = mapping.blank, unix.Close
	require.NoError(t, other.Close())
}

// The last word of CloseWith comes between: out of reach of Bytes, and under the lock.
func TestLastWordComesBetweenPagesAndLocks(t *testing.T) {
	dir := ScratchDir(t)
	s, err := create(t, dir)
	require.NoError(t, err)
	other, err := s.Reopen()
	require.NoError(t, err)
	ok, err := s.TryLock(0)
	require.NoError(t, err)
	require.True(t, ok)

	require.NoError(t, s.CloseWith(func(mem []byte, _ func()) {
		require.Len(t, mem, testSize)
		s.mem[0] = 0xEE
		require.Equal(t, byte(1), mem[0])
		mem[0] = 2
		held, err := other.Held(0)
		require.NoError(t, err)
		require.True(t, held)
	}))
	require.Equal(t, byte(2), other.mem[0])
	require.NoError(t, s.CloseWith(func([]byte, func()) { t.Error("called again") }))
	held, err := other.Held(0)
	require.NoError(t, err)
	require.False(t, held)
	require.NoError(t, other.Close())
}

func TestNoLastWordWithoutBytes(t *testing.T) {
	dir := ScratchDir(t)
	never := func([]byte, func()) { t.Error("called") }

	s, err := create(t, dir)
	require.NoError(t, err)
	change(t, func(k *kernel) { k.mmap = func(int, int) (mapping, error) { return mapping{}, unix.ENOMEM } })
	require.ErrorIs(t, s.CloseWith(never), unix.ENOMEM)
	sys.mmap = mapFile
	require.ErrorIs(t, s.Check(), fs.ErrClosed)

	s, err = Open(t.Context(), "a", 1, &Options{Dir: dir})
	require.NoError(t, err)
	require.NoError(t, os.Truncate(s.Path(), 0))
	require.ErrorIs(t, s.CloseWith(never), ErrTruncated)
	require.ErrorIs(t, s.Check(), fs.ErrClosed)
}

func TestLastWordOfAnOrphan(t *testing.T) {
	dir := ScratchDir(t)
	s, err := create(t, dir)
	require.NoError(t, err)
	require.NoError(t, os.Remove(s.Path()))
	called := false
	require.NoError(t, s.CloseWith(func([]byte, func()) { called = true }))
	require.True(t, called)
}

func TestCloseThatCannotReplaceThePages(t *testing.T) {
	dir := ScratchDir(t)
	s, err := create(t, dir)
	require.NoError(t, err)
	other, err := s.Reopen()
	require.NoError(t, err)
	ok, err := s.TryLock(0)
	require.NoError(t, err)
	require.True(t, ok)

	change(t, func(k *kernel) { k.blank = func(mapping) error { return unix.ENOMEM } })
	require.ErrorIs(t, s.Close(), unix.ENOMEM)
	held, err := other.Held(0)
	require.NoError(t, err)
	require.True(t, held, "still open, still locked")
	require.NoError(t, s.Check())

	sys.blank = mapping.blank
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Check(), fs.ErrClosed)
	require.NoError(t, other.Close())
}

func TestCloseErrors(t *testing.T) {
	dir := ScratchDir(t)
	for errno, want := range map[unix.Errno]error{unix.EINTR: nil, unix.EIO: unix.EIO} {
		s, err := create(t, dir)
		require.NoError(t, err)
		change(t, func(k *kernel) {
			k.close = func(fd int) error {
				require.NoError(t, unix.Close(fd)) // Linux closes it in any case
				return errno
			}
		})
		require.ErrorIs(t, s.Close(), want)
		require.NoError(t, s.Close(), "closed is closed")
		sys.close = unix.Close
		require.NoError(t, Remove(t.Context(), "a", &Options{Dir: dir}))
	}
}

// The locks of a process outlive it by a moment: Remove waits for them.
func TestRemoveWaitsForLocksThatGo(t *testing.T) {
	dir := ScratchDir(t)
	s, err := Create(t.Context(), "a", testSize, &Options{Dir: dir}, nil)
	require.NoError(t, err)
	attempts := 0
	beforeAttachLock(t, func() {
		if attempts++; attempts == 3 {
			require.NoError(t, s.Close())
		}
	})
	require.NoError(t, Remove(t.Context(), "a", &Options{Dir: dir}))
	require.Equal(t, 3, attempts)
}

// A child between fork and exec shares the open files of its parent. What the parent
// closes meanwhile is unlocked at once all the same.
func TestCloseUnlocksWhatAChildShares(t *testing.T) {
	for _, kind := range []Locks{OFD, Flock} {
		t.Run(kind.String(), func(t *testing.T) {
			opt := &Options{Dir: ScratchDir(t), Locks: kind}
			s, err := Create(t.Context(), "a", testSize, opt, nil)
			require.NoError(t, err)
			other, err := Open(t.Context(), "a", testSize, opt)
			require.NoError(t, err)
			const index = 3
			locked, err := s.TryLock(index)
			require.NoError(t, err)
			require.True(t, locked)
			f := s.back.(*file)
			shared := []int{f.fd}
			if l, is := f.life.(*flockLocks); is {
				shared = append(shared, l.mine[index])
			}
			for _, fd := range shared {
				child, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
				require.NoError(t, err)
				defer unix.Close(child)
			}
			require.NoError(t, s.Close())
			locked, err = other.TryLock(index)
			require.NoError(t, err)
			require.True(t, locked, "the life lock is held still")
			require.NoError(t, other.Close())
			done, cancel := context.WithCancel(t.Context())
			cancel()
			require.NoError(t, Remove(done, "a", opt), "the attach lock is held still")
		})
	}
}

// A context that is done means that nobody wants to wait.
func TestRemoveTriesOnce(t *testing.T) {
	dir := ScratchDir(t)
	s, err := Create(t.Context(), "a", testSize, &Options{Dir: dir}, nil)
	require.NoError(t, err)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	attempts := 0
	beforeAttachLock(t, func() { attempts++ })
	err = Remove(done, "a", &Options{Dir: dir})
	require.ErrorIs(t, err, ErrBusy)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, attempts)
	require.NoError(t, s.Close())
	require.NoError(t, Remove(done, "a", &Options{Dir: dir}))
}
