package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
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
	return a, b, lockFilesOf(dir, st.Ino)
}

func lockFilesOf(dir string, ino uint64) func(i int) string {
	return func(i int) string { return fmt.Sprintf("%s/.shmring-%d.locks/%d", dir, ino, i) }
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
	name := (&place{path: "/dev/shm/a.shmring"}).lockDirectory(1<<64 - 1).base
	require.Error(t, ValidateName(name))
	require.False(t, strings.HasSuffix(name, Suffix))
	ino, ok := lockOwner(name)
	require.True(t, ok)
	require.EqualValues(t, uint64(1<<64-1), ino)
	for _, name := range []string{"a.shmring", ".a.0123456789abcdef.tmp", ".shmring-.locks", ".shmring-x.locks",
		".shmring-1", "shmring-1.locks", ".shmring-1.0.lock"} {
		_, ok := lockOwner(name)
		require.False(t, ok, name)
	}
	for name, is := range map[string]bool{"-1": true, "0": true, "256": true, ".0123456789abcdef": true, ".": false,
		"..": false, ".0123": false, "a": false, "audit.log": false} {
		require.Equal(t, is, isLockName(name), name)
	}
}

func TestAskingMakesNoFile(t *testing.T) {
	dir := ScratchDir(t)
	a, b, lockFile := pair(t, dir)
	require.False(t, held(t, b, 0))
	require.Empty(t, Names(t, filepath.Dir(lockFile(0))))
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
	require.True(t, held(t, late, 1))
	require.False(t, take(t, late, 0), "it looked for its locks elsewhere")
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
	others := lockFilesOf(dir, st.Ino)(0)

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

// Whoever may write the segment may lock, whoever made the lock file, and nobody else.
func TestLockFilesFitTheSegment(t *testing.T) {
	for perm, want := range map[fs.FileMode][2]fs.FileMode{
		0o600: {0o700 | fs.ModeDir, 0o600},
		0o644: {0o700 | fs.ModeDir, 0o600}, // not for those who may only read
		0o660: {0o770 | fs.ModeDir | fs.ModeSetgid, 0o660},
	} {
		dir := ScratchDir(t)
		opt := &Options{Dir: dir, Locks: Flock, Perm: perm}
		umask := unix.Umask(0o077)
		s, err := Create(t.Context(), "a", testSize, opt, nil)
		require.NoError(t, err)
		require.True(t, take(t, s, 0))
		unix.Umask(umask)
		var seg unix.Stat_t
		require.NoError(t, unix.Stat(s.Path(), &seg))
		file := lockFilesOf(dir, seg.Ino)(0)
		for i, path := range []string{filepath.Dir(file), file} {
			st, err := os.Stat(path)
			require.NoError(t, err)
			require.Equal(t, want[i], st.Mode(), "%v %s", perm, path)
		}
		require.NoError(t, s.Close())
		require.NoError(t, Remove(t.Context(), "a", opt))
		require.Empty(t, Names(t, dir))
	}
}

// The owner of the segment, root and its group have the same locks.
func TestLockFilesOfSeveralUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("acting as several users needs root")
	}
	const owner, member, group = 65534, 12346, 12345
	dir := ScratchDir(t)
	require.NoError(t, os.Chmod(dir, 0o777|fs.ModeSticky))
	opt := &Options{Dir: dir, Locks: Flock, Perm: 0o660, AnyOwner: true}
	var made, others *Segment
	as(t, owner, group, func() {
		var err error
		made, err = Create(t.Context(), "a", testSize, opt, nil)
		require.NoError(t, err)
		require.True(t, take(t, made, 0))
	})
	root, err := Open(t.Context(), "a", 1, opt)
	require.NoError(t, err)
	require.False(t, take(t, root, 0))
	require.True(t, take(t, root, 1))
	as(t, member, group, func() {
		var err error
		others, err = Open(t.Context(), "a", 1, opt)
		require.NoError(t, err)
		require.False(t, take(t, others, 0))
		require.False(t, take(t, others, 1))
		require.True(t, take(t, others, 2))
		require.NoError(t, others.Unlock(2))
	})
	as(t, owner, group, func() {
		require.False(t, take(t, made, 1))
		require.True(t, take(t, made, 2), "the file of a member of the group")
	})
	as(t, owner+1, owner+1, func() {
		_, err := os.ReadDir(filepath.Dir(made.back.(*file).life.(*flockLocks).lockFile(0).path))
		require.ErrorIs(t, err, fs.ErrPermission, "a stranger looks in")
	})
	for _, s := range []*Segment{made, others, root} {
		require.NoError(t, s.Close())
	}
	require.NoError(t, Remove(t.Context(), "a", opt))
	require.Empty(t, Names(t, dir))
}

// as runs f with another effective user and group, which only this thread has.
func as(t *testing.T, uid, gid int, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	set := func(call uintptr, id int) {
		_, _, errno := unix.RawSyscall(call, ^uintptr(0), uintptr(id), ^uintptr(0))
		require.Zero(t, errno)
	}
	set(unix.SYS_SETRESGID, gid)
	set(unix.SYS_SETRESUID, uid)
	defer func() { set(unix.SYS_SETRESUID, 0); set(unix.SYS_SETRESGID, 0) }()
	f()
}

// What is no lock file is neither locked nor changed nor removed, whatever its name.
func TestTrapsInPlaceOfLockFiles(t *testing.T) {
	for name, trap := range map[string]func(path string) error{
		"symlink": func(p string) error {
			if err := os.WriteFile(p+".target", nil, 0o600); err != nil {
				return err
			}
			return os.Symlink(p+".target", p)
		},
		"fifo":      func(p string) error { return unix.Mkfifo(p, 0o600) },
		"directory": func(p string) error { return os.Mkdir(p, 0o700) },
		"a secret":  func(p string) error { return os.WriteFile(p, []byte("secret"), 0o604) },
		"a file with other names": func(p string) error {
			if err := os.WriteFile(p+".other", nil, 0o604); err != nil {
				return err
			}
			return os.Link(p+".other", p)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := ScratchDir(t)
			a, b, lockFile := pair(t, dir)
			require.NoError(t, trap(lockFile(0)))
			before, err := os.Lstat(lockFile(0))
			require.NoError(t, err)
			_, err = b.TryLock(0)
			require.ErrorIs(t, err, ErrRefused)
			require.ErrorContains(t, err, lockFile(0))
			_, err = b.Held(0)
			require.ErrorIs(t, err, ErrRefused)
			require.NoError(t, a.Close())
			require.NoError(t, b.Close())
			require.NoError(t, Remove(t.Context(), "a", &Options{Dir: dir}))
			after, err := os.Lstat(lockFile(0))
			require.NoError(t, err)
			require.Equal(t, before, after)
		})
	}
}

// In a directory like /dev/shm anybody can make something where the lock files are to be, for
// a segment that is to come or whose header a peer has changed. It is not used.
func TestTrapsInPlaceOfTheLockDirectory(t *testing.T) {
	for name, trap := range map[string]func(path string) error{
		"nothing": func(string) error { return nil },
		"symlink": func(p string) error {
			if err := os.Mkdir(p+".target", 0o700); err != nil {
				return err
			}
			return os.Symlink(p+".target", p)
		},
		"file":          func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"for everybody": func(p string) error { return errors.Join(os.Mkdir(p, 0o700), os.Chmod(p, 0o777)) },
		"for a group":   func(p string) error { return errors.Join(os.Mkdir(p, 0o700), os.Chmod(p, 0o770)) },
		"foreign":       func(p string) error { return errors.Join(os.Mkdir(p, 0o700), os.Chown(p, 65533, 65533)) },
	} {
		t.Run(name, func(t *testing.T) {
			if name == "foreign" && os.Geteuid() != 0 {
				t.Skip("giving files away needs root")
			}
			dir := ScratchDir(t)
			opt := &Options{Dir: dir, Locks: OFD}
			a, err := Create(t.Context(), "a", testSize, opt, nil)
			require.NoError(t, err)
			defer func() { require.NoError(t, a.Close()) }()
			var seg unix.Stat_t
			require.NoError(t, unix.Stat(a.Path(), &seg))
			at := filepath.Dir(lockFilesOf(dir, seg.Ino)(0))
			require.NoError(t, trap(at))
			s, err := Open(t.Context(), "a", 1, &Options{Dir: dir, Locks: Flock})
			require.NoError(t, err)
			_, err = s.TryLock(0)
			require.ErrorIs(t, err, ErrRefused)
			require.ErrorContains(t, err, at)
			_, err = s.Held(0)
			require.ErrorIs(t, err, ErrRefused)
			require.NoError(t, s.Close())
			again, err := Open(t.Context(), "a", 1, opt)
			require.NoError(t, err)
			require.NoError(t, again.UseLocks(OFD), "what is not ours keeps nobody out")
			require.NoError(t, again.Close())
		})
	}
}

// Somebody has guessed the inode number.
func TestLockDirectoryIsTaken(t *testing.T) {
	dir := ScratchDir(t)
	opt := &Options{Dir: dir, Locks: Flock}
	stale := true
	guess := func(mem []byte, _ Locks) error {
		for _, fd := range OpenUnder(dir) {
			var st unix.Stat_t
			require.NoError(t, unix.Stat(strings.Fields(fd)[0], &st))
			at := lockFilesOf(dir, st.Ino)
			require.NoError(t, os.Mkdir(filepath.Dir(at(0)), 0o700))
			require.NoError(t, os.WriteFile(at(0), nil, 0o600))
			if !stale {
				require.NoError(t, os.WriteFile(at(0)+".precious", nil, 0o600))
			}
		}
		return nil
	}
	s, err := Create(t.Context(), "a", testSize, opt, guess)
	require.NoError(t, err, "left by one that had the number before")
	require.Equal(t, []string{"a.shmring"}, Names(t, dir))
	require.NoError(t, s.Close())
	stale = false
	_, err = Create(t.Context(), "b", testSize, opt, guess)
	require.ErrorIs(t, err, ErrRefused)
	require.ErrorContains(t, err, "use a directory of your own")
	require.Equal(t, []string{"a.shmring"}, Rings(t, dir))
	require.Len(t, Names(t, dir), 2, "what is not ours stays")
}

// Remove of another segment sweeps just when the directory has been made and its segment has no
// name yet.
func TestSweepSparesWhatIsBeingCreated(t *testing.T) {
	for _, when := range []string{"made", "locked"} {
		t.Run(when, func(t *testing.T) {
			dir := ScratchDir(t)
			opt := &Options{Dir: dir, Locks: Flock}
			sweep := once(func() { require.ErrorIs(t, Remove(t.Context(), "other", opt), fs.ErrNotExist) })
			change(t, func(k *kernel) {
				k.mkdirat = func(at int, name string, mode uint32) error {
					err := unix.Mkdirat(at, name, mode)
					if when == "made" {
						sweep()
					}
					return err
				}
				k.fchmod = func(fd int, mode uint32) error {
					if err := unix.Fchmod(fd, mode); mode != 0o2770 {
						return err
					}
					if when == "locked" {
						sweep()
					}
					return unix.Fchmod(fd, mode)
				}
			})
			opt.Perm = 0o660
			s, err := Create(t.Context(), "a", testSize, opt, nil)
			require.NoError(t, err)
			require.True(t, take(t, s, 0))
			require.NoError(t, s.Close())
		})
	}
}

// The kind of the locks stands in the segment. A peer that changes it does not get two
// participants of one index.
func TestOtherKindOfLockIsHeld(t *testing.T) {
	for kind, other := range map[Locks]Locks{OFD: Flock, Flock: OFD} {
		t.Run(kind.String(), func(t *testing.T) {
			dir := ScratchDir(t)
			a, err := Create(t.Context(), "a", testSize, &Options{Dir: dir, Locks: kind}, nil)
			require.NoError(t, err)
			require.True(t, take(t, a, 7))
			s, err := Open(t.Context(), "a", 1, &Options{Dir: dir, Locks: other})
			require.NoError(t, err)
			err = s.UseLocks(other)
			require.ErrorIs(t, err, ErrRefused)
			require.ErrorContains(t, err, "by "+kind.String())
			require.NoError(t, a.Unlock(7))
			require.NoError(t, s.UseLocks(other), "nobody lives")
			require.NoError(t, s.Close())
			require.NoError(t, a.Close())
		})
	}
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

// What is there by now says nothing of what was in the way when it was opened.
func TestNoRegularFileForAMoment(t *testing.T) {
	dir := ScratchDir(t)
	path := filepath.Join(dir, "r.shmring")
	for _, there := range []bool{false, true} {
		if there {
			require.NoError(t, os.WriteFile(path, nil, 0o600))
		}
		for _, e := range []error{unix.ELOOP, unix.EISDIR, unix.ENXIO} {
			err := openError("open", path, e)
			require.ErrorIs(t, err, ErrRefused)
			require.ErrorContains(t, err, e.Error())
		}
	}
	loop := filepath.Join(dir, "loop")
	require.NoError(t, os.Symlink(loop, loop))
	require.ErrorIs(t, openError("open", filepath.Join(loop, "r.shmring"), unix.ELOOP), unix.ELOOP)
}
