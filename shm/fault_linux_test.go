package shm

import (
	"errors"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestAllocationErrors(t *testing.T) {
	dir := ScratchDir(t)
	withFallocate := func(errno unix.Errno) error {
		change(t, func(k *kernel) { k.fallocate = func(int, uint32, int64, int64) error { return errno } })
		_, err := create(t, dir)
		require.ErrorIs(t, err, errno)
		require.Empty(t, Names(t, dir))
		return err
	}
	for _, errno := range []unix.Errno{unix.ENOSPC, unix.EDQUOT} {
		space, ok := errors.AsType[*SpaceError](withFallocate(errno))
		require.True(t, ok)
		require.EqualValues(t, testSize, space.Need)
		require.ErrorIs(t, space, unix.ENOSPC)
		require.NotZero(t, space.Free)
	}
	limit, ok := errors.AsType[*LimitError](withFallocate(unix.EFBIG))
	require.True(t, ok)
	require.Equal(t, "largest file of the file system", limit.Resource)
	require.Zero(t, limit.Limit)
	require.ErrorContains(t, withFallocate(unix.ENOMEM), "memory limit of the control group")
	withFallocate(unix.EIO)
}

// The preflight saw room that is gone when the bytes are taken: fallocate and pwrite
// have to say so themselves, with what was free before, and give all of it back.
func TestSpaceThatVanishesAfterThePreflight(t *testing.T) {
	for name, fallocate := range map[string]func(int, uint32, int64, int64) error{
		"fallocate": unix.Fallocate,
		"pwrite":    func(int, uint32, int64, int64) error { return unix.EOPNOTSUPP },
	} {
		t.Run(name, func(t *testing.T) {
			dir := SmallTmpfs(t, "size=5m")
			change(t, func(k *kernel) {
				k.fallocate = fallocate
				first := true
				k.fstatfs = func(fd int, st *unix.Statfs_t) error {
					err := unix.Fstatfs(fd, st)
					if first {
						st.Bfree, st.Bavail = math.MaxInt32, math.MaxInt32
					}
					first = false
					return err
				}
			})
			_, err := Create(t.Context(), "a", 12<<20, &Options{Dir: dir}, nil)
			space, ok := errors.AsType[*SpaceError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, SpaceError{Dir: dir, Need: 12 << 20, Free: 5 << 20, Err: unix.ENOSPC}, *space)

			s, err := Create(t.Context(), "a", 5<<20, &Options{Dir: dir}, nil)
			require.NoError(t, err, "the room was given back")
			require.NoError(t, s.Close())
		})
	}
}

// Finding out by filling the file system would hurt everybody else on it.
func TestPreflightTakesNothing(t *testing.T) {
	dir := SmallTmpfs(t, "size=64k")
	change(t, func(k *kernel) {
		k.fallocate = func(int, uint32, int64, int64) error { t.Error("fallocate called"); return unix.ENOSPC }
	})
	_, err := Create(t.Context(), "a", 64<<10+1, &Options{Dir: dir}, nil)
	require.ErrorIs(t, err, unix.ENOSPC)
}

func TestFileSystemThatDoesNotTellItsSpace(t *testing.T) {
	dir := ScratchDir(t)
	change(t, func(k *kernel) { k.fstatfs = func(int, *unix.Statfs_t) error { return unix.ENOSYS } })
	s, err := create(t, dir)
	require.NoError(t, err)
	checkPublished(t, dir, s)
}

func TestMapErrors(t *testing.T) {
	dir := ScratchDir(t)
	s, err := create(t, dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	for errno, hint := range map[unix.Errno]string{
		unix.EACCES: "SELinux",
		unix.EPERM:  "a seal",
		unix.ENOMEM: "16 KiB of address space: RLIMIT_AS",
		unix.ENODEV: "no such device",
	} {
		change(t, func(k *kernel) { k.mmap = func(int, int) (mapping, error) { return mapping{}, errno } })
		_, err := Create(t.Context(), "b", 16<<10, &Options{Dir: dir}, nil)
		require.ErrorIs(t, err, errno)
		require.ErrorContains(t, err, hint)
		_, err = Open(t.Context(), "a", 1, &Options{Dir: dir})
		require.ErrorIs(t, err, errno)
		_, err = s.Reopen()
		require.ErrorIs(t, err, errno)
	}
	require.Len(t, OpenUnder(dir), 1)
	require.Equal(t, []string{"a.shmring"}, Names(t, dir))
}

// What int allows on a 32-bit machine.
func TestLargerThanTheAddressSpace(t *testing.T) {
	dir := ScratchDir(t)
	before := maxInt
	t.Cleanup(func() { maxInt = before })
	maxInt = math.MaxInt32

	_, err := Create(t.Context(), "a", 4<<30, &Options{Dir: dir}, nil)
	limit, ok := errors.AsType[*LimitError](err)
	require.True(t, ok, "%v", err)
	require.ErrorIs(t, err, unix.ENOMEM)
	require.EqualValues(t, math.MaxInt32, limit.Limit)

	require.NoError(t, os.WriteFile(dir+"/a.shmring", nil, 0o600))
	require.NoError(t, os.Truncate(dir+"/a.shmring", 4<<30))
	_, err = Open(t.Context(), "a", 1, &Options{Dir: dir})
	require.ErrorAs(t, err, &limit)
}

func TestPrefaultFallsBackToTouching(t *testing.T) {
	dir := ScratchDir(t)
	for _, errno := range []unix.Errno{unix.EINVAL, unix.ENOSYS, unix.EPERM} {
		change(t, func(k *kernel) { k.madvise = func([]byte, int) error { return errno } })
		s, err := Create(t.Context(), "a", testSize, &Options{Dir: dir, Prefault: true}, nil)
		require.NoError(t, err)
		require.Equal(t, "applied (touch)", s.Applied().Prefault.String())
		require.NoError(t, s.Close())
		require.NoError(t, Remove(t.Context(), "a", &Options{Dir: dir}))
	}
	change(t, func(k *kernel) { k.madvise = func([]byte, int) error { return unix.EHWPOISON } })
	s, err := Create(t.Context(), "a", testSize, &Options{Dir: dir, Prefault: true}, nil)
	require.NoError(t, err)
	require.False(t, s.Applied().Prefault.Applied())
	require.ErrorIs(t, s.Applied().Prefault.Err, unix.EHWPOISON)
	require.NoError(t, s.Close())
}

// A sparse file on a full file system, which is not of our making and which does not tell that
// it is sparse: prefaulting tells, and does not kill.
func TestPrefaultOfMissingPages(t *testing.T) {
	dir := SmallTmpfs(t, "size=64k")
	change(t, func(k *kernel) { k.fstatfs = func(int, *unix.Statfs_t) error { return unix.ENOSYS } })
	require.NoError(t, os.WriteFile(dir+"/a.shmring", nil, 0o600))
	require.NoError(t, os.Truncate(dir+"/a.shmring", 1<<20))
	opt := &Options{Dir: dir, Prefault: true}

	s, err := Open(t.Context(), "a", 1, opt)
	require.NoError(t, err)
	require.ErrorIs(t, s.Applied().Prefault.Err, unix.EFAULT)
	require.NoError(t, s.Close())

	change(t, func(k *kernel) { k.madvise = func([]byte, int) error { return unix.EINVAL } })
	s, err = Open(t.Context(), "a", 1, opt)
	require.NoError(t, err)
	require.ErrorIs(t, s.Applied().Prefault.Err, ErrTruncated)
	require.ErrorContains(t, s.Applied().Prefault.Err, "no page at offset 65536")
	require.NoError(t, s.Close())
}

func TestLockedPagesRefused(t *testing.T) {
	dir := ScratchDir(t)
	var before unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_MEMLOCK, &before))
	t.Cleanup(func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &before)) })
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: 8 << 10, Max: before.Max}))

	for _, errno := range []unix.Errno{unix.ENOMEM, unix.EPERM, unix.EAGAIN} {
		change(t, func(k *kernel) { k.mlock = func([]byte) error { return errno } })
		s, err := Create(t.Context(), "a", 1<<20, &Options{Dir: dir, Mlock: true}, nil)
		require.NoError(t, err, "a refusal is no error")
		limit, ok := errors.AsType[*LimitError](s.Applied().Mlock.Err)
		require.True(t, ok)
		require.EqualValues(t, 8<<10, limit.Limit)
		require.ErrorContains(t, limit, "need 1 MiB, RLIMIT_MEMLOCK allows 8 KiB")
		require.ErrorContains(t, limit, "ulimit -l")
		require.NoError(t, s.Close())
		require.NoError(t, Remove(t.Context(), "a", &Options{Dir: dir}))
	}
}

func TestOpenErrors(t *testing.T) {
	dir := ScratchDir(t)
	s, err := create(t, dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	for errno, hint := range map[unix.Errno]string{
		unix.EMFILE: "RLIMIT_NOFILE",
		unix.ENFILE: "RLIMIT_NOFILE",
		unix.EACCES: "the mode would allow it, so look at SELinux or AppArmor",
		unix.EPERM:  "fs.protected_regular",
		unix.ELOOP:  "too many levels", // a link was there
		unix.EINTR:  "interrupted",     // for ever
	} {
		calls := 0
		change(t, func(k *kernel) {
			k.open = func(path string, flags int, perm uint32) (int, error) {
				if flags&unix.O_DIRECTORY != 0 {
					return unix.Open(path, flags, perm)
				}
				return -1, errno // of Reopen
			}
			k.openat = func(int, string, int, uint32) (int, error) { calls++; return -1, errno }
		})
		_, err := Open(t.Context(), "a", 1, &Options{Dir: dir})
		require.ErrorIs(t, err, errno)
		require.ErrorContains(t, err, hint)
		require.LessOrEqual(t, calls, maxInterrupts)
		require.ErrorIs(t, Remove(t.Context(), "a", &Options{Dir: dir}), errno)
		_, err = s.Reopen()
		require.ErrorIs(t, err, errno)
	}
}

// The calls that look at a file or its name fail, one after the other.
func TestStatErrors(t *testing.T) {
	dir := ScratchDir(t)
	s, err := create(t, dir)
	require.NoError(t, err)
	failAt := func(nth int) {
		calls := 0
		count := func(err error) error {
			if calls++; calls == nth {
				return unix.EIO
			}
			return err
		}
		change(t, func(k *kernel) {
			k.fstat = func(fd int, st *unix.Stat_t) error { return count(unix.Fstat(fd, st)) }
			k.fstatat = func(dir int, name string, st *unix.Stat_t, flags int) error {
				return count(unix.Fstatat(dir, name, st, flags))
			}
		})
	}
	opt := &Options{Dir: dir}
	for nth := 1; nth <= 5; nth++ { // after open; our file, its name; what it is like; before mmap
		failAt(nth)
		_, err := Open(t.Context(), "a", 1, opt)
		require.ErrorIs(t, err, unix.EIO, "call %d", nth)
	}
	failAt(1)
	require.ErrorIs(t, s.Check(), unix.EIO)
	failAt(1)
	_, err = s.Reopen()
	require.ErrorIs(t, err, unix.EIO)
	require.Len(t, OpenUnder(dir), 1)

	require.NoError(t, s.Close())
	for nth := 1; nth <= 3; nth++ {
		failAt(nth)
		require.ErrorIs(t, Remove(t.Context(), "a", opt), unix.EIO, "call %d", nth)
	}
	require.Equal(t, []string{"a.shmring"}, Names(t, dir))

	change(t, func(k *kernel) { k.fchmod = func(int, uint32) error { return unix.EPERM } })
	_, err = Create(t.Context(), "b", 1, opt, nil)
	require.ErrorIs(t, err, unix.EPERM)
	require.Equal(t, []string{"a.shmring"}, Names(t, dir))
}
