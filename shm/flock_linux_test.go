package shm

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// pair is two handles with flock locks on a new segment, and its lock file i.
func pair(t *testing.T, dir string) (a, b *Segment, lockFile func(i int) string) {
	t.Helper()
	opt := &Options{Dir: dir, Locks: Flock}
	a, err := Create(t.Context(), "a", testSize, opt, nil)
	require.NoError(t, err)
	b, err = Open(t.Context(), "a", 1, opt)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.Close()); require.NoError(t, b.Close()) })
	var st unix.Stat_t
	require.NoError(t, unix.Stat(a.Path(), &st))
	return a, b, func(i int) string { return filepath.Join(dir, lockName(st.Ino, i)) }
}

func held(t *testing.T, s *Segment, i int) bool {
	t.Helper()
	held, err := s.Held(i)
	require.NoError(t, err)
	return held
}

// hold opens a file and locks it as somebody else would.
func hold(t *testing.T, path string, how int) (release func()) {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, unix.Flock(fd, how|unix.LOCK_NB))
	return func() { require.NoError(t, unix.Close(fd)) }
}

func TestLockNamesAreNoRings(t *testing.T) {
	for _, i := range []int{gate, 0, 254, 1<<31 - 1} {
		name := lockName(1<<64-1, i)
		require.Error(t, ValidateName(name))
		require.False(t, strings.HasSuffix(name, Suffix))
		require.Less(t, len(name), 255)
		ino, ok := lockOwner(name)
		require.True(t, ok)
		require.EqualValues(t, uint64(1<<64-1), ino)
	}
	for _, name := range []string{"a.shmring", ".a.0123456789abcdef.tmp", ".shmring-1.lock", ".shmring-x.0.lock",
		".shmring-1.0", "shmring-1.0.lock"} {
		_, ok := lockOwner(name)
		require.False(t, ok, name)
	}
}

func TestAskingMakesNoFile(t *testing.T) {
	dir := ScratchDir(t)
	a, b, lockFile := pair(t, dir)
	require.False(t, held(t, b, 0))
	require.Equal(t, []string{"a.shmring"}, Names(t, dir))
	require.True(t, take(t, a, 0))
	require.True(t, held(t, b, 0))
	require.FileExists(t, lockFile(0))
	require.NoError(t, a.Unlock(0))
	require.FileExists(t, lockFile(0), "only Remove unlinks it")
	require.False(t, held(t, b, 0))
}

// One who asks holds the lock file shared for a moment. Neither a taker nor another one
// who asks takes that for life.
func TestAskersAreNotInTheWay(t *testing.T) {
	dir := ScratchDir(t)
	a, b, lockFile := pair(t, dir)
	require.True(t, take(t, a, 0))
	require.NoError(t, a.Unlock(0))
	release := hold(t, lockFile(0), unix.LOCK_SH)
	require.False(t, held(t, b, 0))
	tries := 0
	change(t, func(k *kernel) {
		k.flock = func(fd, how int) error {
			if how == unix.LOCK_EX|unix.LOCK_NB {
				if tries++; tries == 3 {
					release()
				}
			}
			return unix.Flock(fd, how)
		}
	})
	require.True(t, take(t, b, 0))
	require.Equal(t, 3, tries)
	require.NoError(t, b.Unlock(0))

	release = hold(t, lockFile(0), unix.LOCK_SH)
	begin := time.Now()
	require.False(t, take(t, b, 0), "one who asks for ever")
	require.Less(t, time.Since(begin), 5*time.Second)
	release()

	require.True(t, take(t, a, 0))
	tries = 3
	require.False(t, take(t, b, 0))
	require.Equal(t, 4, tries, "who is alive is not asked again")
}

// Between opening a lock file and locking it, it was unlinked, and another one is held.
func TestLockOfAFileThatHasLostItsName(t *testing.T) {
	dir := ScratchDir(t)
	a, b, lockFile := pair(t, dir)
	require.True(t, take(t, a, 0))
	require.NoError(t, a.Unlock(0))
	change(t, func(k *kernel) {
		swap := once(func() {
			require.NoError(t, os.Remove(lockFile(0)))
			require.True(t, take(t, a, 0))
		})
		k.flock = func(fd, how int) error { swap(); return unix.Flock(fd, how) }
	})
	require.False(t, take(t, b, 0), "two holders")
	require.True(t, held(t, b, 0))
}

// Where the segment has lost its name, lock files may have gone with it: a new one would
// make the living look dead.
func TestNoNewLockFilesOfAnOrphan(t *testing.T) {
	dir := ScratchDir(t)
	a, b, lockFile := pair(t, dir)
	require.True(t, take(t, a, 0))
	require.True(t, take(t, a, 1))
	require.True(t, take(t, b, 2))
	require.NoError(t, os.Remove(a.Path()))
	require.NoError(t, os.Remove(lockFile(0)))
	_, err := b.TryLock(0)
	require.ErrorIs(t, err, ErrOrphaned)
	require.False(t, take(t, b, 1))
	r, err := b.Reopen()
	require.NoError(t, err)
	require.True(t, held(t, r, 1), "the directory is inherited")
	_, err = r.TryLock(0)
	require.ErrorIs(t, err, ErrOrphaned)
	require.NoError(t, r.Close())
}

// The directory is held open, so that its path may come to mean something else.
func TestLocksOfADirectoryThatMoves(t *testing.T) {
	dir := ScratchDir(t)
	a, b, _ := pair(t, dir)
	late, err := a.Reopen()
	require.NoError(t, err)
	require.True(t, take(t, a, 0))
	require.True(t, take(t, b, 1))
	t.Cleanup(func() { _ = os.RemoveAll(dir + ".moved") })
	require.NoError(t, os.Rename(dir, dir+".moved"))
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.False(t, take(t, b, 0))
	_, err = late.Held(0)
	require.ErrorIs(t, err, ErrOrphaned, "it never had the directory open")
	_, err = late.TryLock(0)
	require.ErrorIs(t, err, ErrOrphaned)
	require.NoError(t, late.Close())
	require.NoError(t, os.Remove(dir))
	require.NoError(t, os.Rename(dir+".moved", dir))
}

func TestLocksOfASegmentThatIsRenamed(t *testing.T) {
	dir := ScratchDir(t)
	a, _, _ := pair(t, dir)
	require.True(t, take(t, a, 0))
	require.NoError(t, os.Rename(a.Path(), dir+"/b.shmring"))
	s, err := Open(t.Context(), "b", 1, &Options{Dir: dir, Locks: Flock})
	require.NoError(t, err)
	require.False(t, take(t, s, 0))
	require.NoError(t, s.Close())
}

// A file that is mounted somewhere by itself has other neighbours there.
func TestLocksOfAFileMountedByItself(t *testing.T) {
	dir, elsewhere := ScratchDir(t), ScratchDir(t)
	a, _, _ := pair(t, dir)
	require.NoError(t, os.WriteFile(elsewhere+"/a.shmring", nil, 0o600))
	if err := unix.Mount(a.Path(), elsewhere+"/a.shmring", "", unix.MS_BIND, ""); err != nil {
		t.Skipf("mounting needs root and a kernel that lets us: %v", err)
	}
	defer func() { require.NoError(t, unix.Unmount(elsewhere+"/a.shmring", 0)) }()
	s, err := Open(t.Context(), "a", 1, &Options{Dir: elsewhere, Locks: Flock})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.True(t, take(t, a, 0))
	_, err = s.TryLock(0)
	require.ErrorIs(t, err, ErrUnsupported)
	require.ErrorContains(t, err, "mount its directory")
	require.Len(t, Names(t, elsewhere), 1)
}

// Remove takes what nobody holds of files without a name, and nothing of other segments.
func TestRemoveSweeps(t *testing.T) {
	dir := ScratchDir(t)
	opt := &Options{Dir: dir, Locks: Flock}
	orphan, _, orphans := pair(t, dir)
	require.True(t, take(t, orphan, 0))
	require.True(t, take(t, orphan, 1))
	require.NoError(t, orphan.Unlock(1))
	require.NoError(t, os.Remove(orphan.Path()))
	other, err := Create(t.Context(), "other", 1, opt, nil)
	require.NoError(t, err)
	require.True(t, take(t, other, 0))
	require.NoError(t, other.Unlock(0))
	var st unix.Stat_t
	require.NoError(t, unix.Stat(other.Path(), &st))
	others := filepath.Join(dir, lockName(st.Ino, 0))

	require.ErrorIs(t, Remove(t.Context(), "a", opt), fs.ErrNotExist)
	require.FileExists(t, orphans(0), "held")
	require.NoFileExists(t, orphans(1))
	require.FileExists(t, others)
	require.NoError(t, orphan.Close())
	require.NoError(t, other.Close())
	require.NoError(t, Remove(t.Context(), "other", opt))
	require.Empty(t, Names(t, dir))
}

// A process that dies may lose its descriptor of the segment before those of its locks.
func TestRemoveIsBusyWhileALockIsHeld(t *testing.T) {
	dir := ScratchDir(t)
	a, b, lockFile := pair(t, dir)
	require.True(t, take(t, a, 0))
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
	release := hold(t, lockFile(0), unix.LOCK_EX)
	require.ErrorIs(t, Remove(t.Context(), "a", &Options{Dir: dir}), ErrBusy)
	require.FileExists(t, a.Path())
	require.FileExists(t, lockFile(0))
	release()
	require.NoError(t, Remove(t.Context(), "a", &Options{Dir: dir}))
	require.Empty(t, Names(t, dir))
}

// At no step of Close can Remove leave a lock file behind.
func TestCloseLetsGoOfTheAdminLockLast(t *testing.T) {
	dir := ScratchDir(t)
	a, b, _ := pair(t, dir)
	require.True(t, take(t, a, 0))
	require.NoError(t, b.Close())
	admin := a.Descriptor()
	last := -1
	change(t, func(k *kernel) { k.close = func(fd int) error { last = fd; return unix.Close(fd) } })
	require.NoError(t, a.Close())
	require.Equal(t, admin, last)
	require.NoError(t, Remove(t.Context(), "a", &Options{Dir: dir}))
	require.Empty(t, Names(t, dir))
}

// Alone drops the shared lock before it has the exclusive one. If the others leave just
// then, Remove must still find the segment in use.
func TestRemoveWhileAloneConverts(t *testing.T) {
	for _, kind := range []Locks{OFD, Flock} {
		t.Run(kind.String(), func(t *testing.T) {
			dir := ScratchDir(t)
			opt := &Options{Dir: dir, Locks: kind}
			s, err := Create(t.Context(), "a", 1, opt, nil)
			require.NoError(t, err)
			other, err := s.Reopen()
			require.NoError(t, err)
			change(t, func(k *kernel) {
				between := once(func() {
					require.NoError(t, other.Close())
					require.ErrorIs(t, Remove(t.Context(), "a", opt), ErrBusy)
				})
				k.flock = func(fd, how int) error {
					err := unix.Flock(fd, how)
					if fd == s.Descriptor() && err == unix.EWOULDBLOCK {
						between()
					}
					return err
				}
			})
			alone, err := s.Alone()
			require.NoError(t, err)
			require.False(t, alone)
			require.NoError(t, s.Check())
			require.ErrorIs(t, Remove(t.Context(), "a", opt), ErrBusy)
			alone, err = s.Alone()
			require.NoError(t, err)
			require.True(t, alone)
			require.NoError(t, s.Close())
			require.NoError(t, Remove(t.Context(), "a", opt))
			require.Empty(t, Names(t, dir))
		})
	}
}

// Whoever may write the segment may lock, whoever made the lock file.
func TestLockFilesFitTheSegment(t *testing.T) {
	dir := ScratchDir(t)
	_, b, lockFile := pair(t, dir)
	umask := unix.Umask(0o777)
	require.True(t, take(t, b, 0))
	unix.Umask(umask)
	mode := func(i int) fs.FileMode {
		st, err := os.Stat(lockFile(i))
		require.NoError(t, err)
		return st.Mode()
	}
	require.Equal(t, fs.FileMode(0o600), mode(0))
	require.NoError(t, os.Chmod(b.Path(), 0o664))
	require.True(t, take(t, b, 1))
	require.Equal(t, fs.FileMode(0o660), mode(1), "not for those who may only read")
	require.NoError(t, b.Unlock(0))
	require.False(t, held(t, b, 0))
	require.True(t, take(t, b, 0))
	require.Equal(t, fs.FileMode(0o660), mode(0), "mended by its owner")

	if os.Geteuid() != 0 {
		t.Skip("giving files away needs root")
	}
	const nobody = 65534
	require.NoError(t, os.Chown(b.Path(), nobody, nobody))
	require.True(t, take(t, b, 2))
	var st unix.Stat_t
	require.NoError(t, unix.Stat(lockFile(2), &st))
	require.EqualValues(t, nobody, st.Uid)
	require.EqualValues(t, nobody, st.Gid)
}

// In a directory like /dev/shm anybody can put a file where a lock file is to be.
func TestTrapsInPlaceOfLockFiles(t *testing.T) {
	for name, trap := range map[string]func(path string) error{
		"symlink": func(p string) error {
			if err := os.WriteFile(p+".target", nil, 0o600); err != nil {
				return err
			}
			return os.Symlink(p+".target", p)
		},
		"fifo":           func(p string) error { return unix.Mkfifo(p, 0o600) },
		"directory":      func(p string) error { return os.Mkdir(p, 0o700) },
		"foreign":        func(p string) error { return os.Lchown(p, 65533, 65533) },
		"world-writable": func(p string) error { return os.Chmod(p, 0o606) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := ScratchDir(t)
			_, b, lockFile := pair(t, dir)
			if name == "foreign" || name == "world-writable" {
				require.NoError(t, os.WriteFile(lockFile(0), nil, 0o600))
			}
			if err := trap(lockFile(0)); err != nil {
				t.Skipf("cannot make one: %v", err)
			}
			_, err := b.TryLock(0)
			require.ErrorIs(t, err, ErrRefused)
			require.ErrorContains(t, err, lockFile(0))
			_, err = b.Held(0)
			require.ErrorIs(t, err, ErrRefused)
		})
	}
}

// A stranger's file, held or not, keeps nobody from removing the segment.
func TestStrangersLockFileDoesNotKeepTheSegment(t *testing.T) {
	dir := ScratchDir(t)
	a, b, lockFile := pair(t, dir)
	require.NoError(t, os.WriteFile(lockFile(0), nil, 0o600))
	if err := os.Chown(lockFile(0), 65533, 65533); err != nil {
		t.Skipf("giving files away needs root: %v", err)
	}
	defer hold(t, lockFile(0), unix.LOCK_EX)()
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
	require.NoError(t, Remove(t.Context(), "a", &Options{Dir: dir}))
	require.Empty(t, Rings(t, dir))
}

func TestLockFileErrors(t *testing.T) {
	dir := ScratchDir(t)
	_, b, _ := pair(t, dir)
	for errno, hint := range map[unix.Errno]string{
		unix.EMFILE: "RLIMIT_NOFILE",
		unix.ENOSPC: "no room for one more file",
		unix.EACCES: "is owned by uid",
	} {
		change(t, func(k *kernel) {
			k.openat = func(dir int, name string, flags int, perm uint32) (int, error) {
				if flags&unix.O_CREAT != 0 {
					return -1, errno
				}
				return unix.Openat(dir, name, flags, perm)
			}
		})
		_, err := b.TryLock(0)
		require.ErrorIs(t, err, errno)
		require.ErrorContains(t, err, hint)
	}
	require.Equal(t, []string{"a.shmring"}, Names(t, dir))
}
