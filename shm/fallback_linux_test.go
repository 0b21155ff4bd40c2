package shm

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const testSize = 3*4096 + 5

func create(t *testing.T, dir string) (*Segment, error) {
	t.Helper()
	return Create(t.Context(), "a", testSize, &Options{Dir: dir, Perm: 0o640}, func(mem []byte, _ Locks) error {
		for i := range mem {
			if mem[i] != 0 {
				return errors.New("format did not get zeros")
			}
			mem[i] = 1
		}
		return nil
	})
}

// checkPublished is what a created segment is like, whichever way it took.
func checkPublished(t *testing.T, dir string, s *Segment) {
	t.Helper()
	require.Equal(t, []string{"a.shmring"}, Names(t, dir))
	st, err := os.Stat(s.Path())
	require.NoError(t, err)
	require.EqualValues(t, testSize, st.Size())
	require.Equal(t, fs.FileMode(0o640), st.Mode())
	raw := st.Sys().(*syscall.Stat_t)
	require.GreaterOrEqual(t, raw.Blocks*512, int64(testSize))
	require.EqualValues(t, 1, raw.Nlink)
	require.ErrorIs(t, Remove(t.Context(), "a", &Options{Dir: dir}), ErrBusy)
	r, err := s.Reopen()
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("\x01", testSize), string(r.Bytes()))
	require.NoError(t, r.Close())
	require.NoError(t, s.Close())
	require.NoError(t, Remove(t.Context(), "a", &Options{Dir: dir}))
}

// refuseTmpFile is a file system without O_TMPFILE.
func refuseTmpFile(errno unix.Errno) func(k *kernel) {
	return func(k *kernel) {
		open := k.openat
		k.openat = func(dir int, name string, flags int, perm uint32) (int, error) {
			if flags&unix.O_TMPFILE == unix.O_TMPFILE {
				return -1, errno
			}
			return open(dir, name, flags, perm)
		}
	}
}

func TestHiddenNameWhereThereIsNoTmpFile(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EOPNOTSUPP, unix.EISDIR, unix.EINVAL, unix.ENOSYS} {
		t.Run(errno.Error(), func(t *testing.T) {
			dir := ScratchDir(t)
			change(t, refuseTmpFile(errno))
			umask := unix.Umask(0o777)
			s, err := create(t, dir)
			unix.Umask(umask)
			require.NoError(t, err)
			require.False(t, s.Applied().TmpFile)
			checkPublished(t, dir, s)
		})
	}
}

func TestHiddenNameWhereTheLinkIsRefused(t *testing.T) {
	for _, errno := range []unix.Errno{unix.ENOENT, unix.EACCES, unix.EPERM, unix.EXDEV, unix.EOPNOTSUPP} {
		t.Run(errno.Error(), func(t *testing.T) {
			dir := ScratchDir(t)
			change(t, func(k *kernel) {
				k.linkat = func(int, string, int, string, int) error { return errno }
			})
			s, err := create(t, dir) // formats twice, both times zeros
			require.NoError(t, err)
			require.False(t, s.Applied().TmpFile)
			checkPublished(t, dir, s)
		})
	}
}

func TestLinkWhereRenameCannotRefrainFromReplacing(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EINVAL, unix.ENOSYS, unix.EPERM, unix.EOPNOTSUPP} {
		t.Run(errno.Error(), func(t *testing.T) {
			dir := ScratchDir(t)
			linked := 0
			change(t, refuseTmpFile(unix.EOPNOTSUPP))
			change(t, func(k *kernel) {
				k.renameat2 = func(int, string, int, string, uint) error { return errno }
				link := k.linkat
				k.linkat = func(od int, op string, nd int, np string, flags int) error {
					linked++
					return link(od, op, nd, np, flags)
				}
			})
			s, err := create(t, dir)
			require.NoError(t, err)
			require.Equal(t, 1, linked)
			checkPublished(t, dir, s)
		})
	}
}

func TestHiddenNameIsHiddenPrivateAndTemporary(t *testing.T) {
	dir := ScratchDir(t)
	opt := &Options{Dir: dir, Perm: 0o660}
	change(t, refuseTmpFile(unix.EOPNOTSUPP))
	look := func([]byte, Locks) error {
		names := Names(t, dir)
		require.Len(t, names, 1)
		require.Regexp(t, `^\.a\.[0-9a-f]{16}\.tmp$`, names[0])
		require.Error(t, ValidateName(names[0]))
		st, err := os.Stat(dir + "/" + names[0])
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), st.Mode())
		_, err = Open(t.Context(), "a", 1, opt)
		require.ErrorIs(t, err, fs.ErrNotExist)
		return errors.New("changed my mind")
	}
	_, err := Create(t.Context(), "a", 1, opt, look)
	require.ErrorContains(t, err, "changed my mind")
	require.Empty(t, Names(t, dir))

	require.Panics(t, func() { _, _ = Create(t.Context(), "a", 1, opt, func([]byte, Locks) error { panic("oops") }) })
	require.Empty(t, Names(t, dir))
}

func TestHiddenNameLosesTheRace(t *testing.T) {
	for name, rename := range map[string]func(int, string, int, string, uint) error{
		"rename": unix.Renameat2,
		"link":   func(int, string, int, string, uint) error { return unix.EINVAL },
	} {
		t.Run(name, func(t *testing.T) {
			dir := ScratchDir(t)
			change(t, refuseTmpFile(unix.EOPNOTSUPP))
			change(t, func(k *kernel) { k.renameat2 = rename })
			winner := []byte("somebody else's")
			_, err := Create(t.Context(), "a", 4096, &Options{Dir: dir}, func([]byte, Locks) error {
				return os.WriteFile(dir+"/a.shmring", winner, 0o600)
			})
			require.ErrorIs(t, err, fs.ErrExist)
			require.Equal(t, []string{"a.shmring"}, Names(t, dir))
			kept, err := os.ReadFile(dir + "/a.shmring")
			require.NoError(t, err)
			require.Equal(t, winner, kept)
		})
	}
}

func TestHiddenNameIsTriedAgain(t *testing.T) {
	dir := ScratchDir(t)
	taken := 3
	change(t, refuseTmpFile(unix.EOPNOTSUPP))
	change(t, func(k *kernel) {
		open := k.openat
		k.openat = func(dir int, name string, flags int, perm uint32) (int, error) {
			if flags&unix.O_EXCL != 0 && taken > 0 {
				taken--
				return -1, unix.EEXIST
			}
			return open(dir, name, flags, perm)
		}
	})
	s, err := create(t, dir)
	require.NoError(t, err)
	checkPublished(t, dir, s)

	taken = 1000
	_, err = create(t, dir)
	require.ErrorIs(t, err, unix.EEXIST)
	require.Greater(t, taken, 900, "the tries are bounded")
}

func TestCreateExplainsOpenErrors(t *testing.T) {
	dir := ScratchDir(t)
	for errno, hint := range map[unix.Errno]string{
		unix.EMFILE: "RLIMIT_NOFILE",
		unix.ENOSPC: "one more file",
		unix.EDQUOT: "one more file",
		unix.EPERM:  "fs.protected_regular", // we own the directory
		unix.EIO:    "input/output error",
	} {
		change(t, refuseTmpFile(errno))
		_, err := create(t, dir)
		require.ErrorIs(t, err, errno)
		require.ErrorContains(t, err, hint)
	}
}

func TestHiddenNameCannotBeMade(t *testing.T) {
	dir := ScratchDir(t)
	change(t, refuseTmpFile(unix.EOPNOTSUPP))
	_, err := Create(t.Context(), "a", 1, &Options{Dir: dir + "/gone"}, nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, dir+"/gone must be an existing directory")
}

// Somebody found the hidden file and sits on its attach lock: ctx ends the wait.
func TestHiddenFileLockedByAStranger(t *testing.T) {
	dir := ScratchDir(t)
	change(t, refuseTmpFile(unix.EOPNOTSUPP))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := Create(ctx, "a", 1, &Options{Dir: dir}, func([]byte, Locks) error {
		fd, err := unix.Open(dir+"/"+Names(t, dir)[0], unix.O_RDWR|unix.O_CLOEXEC, 0)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, unix.Close(fd)) })
		return unix.Flock(fd, unix.LOCK_EX)
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, ErrBusy)
	require.Empty(t, Names(t, dir))
}

func TestPublishErrors(t *testing.T) {
	dir := ScratchDir(t)
	change(t, func(k *kernel) {
		k.linkat = func(int, string, int, string, int) error { return unix.EROFS }
	})
	_, err := create(t, dir)
	require.ErrorIs(t, err, unix.EROFS)
	require.Empty(t, Names(t, dir))
}

func TestPwriteWhereFallocateIsRefused(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EOPNOTSUPP, unix.ENOSYS, unix.EPERM} {
		t.Run(errno.Error(), func(t *testing.T) {
			dir := ScratchDir(t)
			interrupted := false
			change(t, func(k *kernel) {
				k.fallocate = func(int, uint32, int64, int64) error { return errno }
				k.pwrite = func(fd int, p []byte, off int64) (int, error) {
					if interrupted = !interrupted; interrupted {
						return 0, unix.EINTR
					}
					return unix.Pwrite(fd, p[:min(len(p), 1000)], off) // short
				}
			})
			s, err := create(t, dir)
			require.NoError(t, err)
			require.Equal(t, "pwrite", s.Applied().Allocated)
			checkPublished(t, dir, s)
		})
	}
}

func TestPwriteThatWritesNothingEnds(t *testing.T) {
	dir := ScratchDir(t)
	change(t, func(k *kernel) {
		k.fallocate = func(int, uint32, int64, int64) error { return unix.ENOSYS }
		k.pwrite = func(int, []byte, int64) (int, error) { return 0, nil }
	})
	_, err := create(t, dir)
	require.ErrorIs(t, err, unix.EIO)
}

// Fallocate is interrupted again and again: smaller chunks, then pwrite.
func TestInterruptedFallocate(t *testing.T) {
	const size = 9 << 20
	for name, c := range map[string]struct {
		interrupt func(call int, n int64) bool
		how       string
	}{
		"now and then":        {func(call int, n int64) bool { return call%2 == 0 }, "fallocate"},
		"in long chunks only": {func(call int, n int64) bool { return n > 1<<20 }, "fallocate"},
		"always":              {func(int, int64) bool { return true }, "pwrite"},
		"from the middle on":  {func(call int, n int64) bool { return call > 0 }, "pwrite"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := ScratchDir(t)
			calls := 0
			change(t, func(k *kernel) {
				k.fallocate = func(fd int, mode uint32, off, n int64) error {
					require.LessOrEqual(t, n, int64(allocChunk))
					defer func() { calls++ }()
					if c.interrupt(calls, n) {
						return unix.EINTR
					}
					return unix.Fallocate(fd, mode, off, n)
				}
			})
			s, err := Create(t.Context(), "a", size, &Options{Dir: dir}, nil)
			require.NoError(t, err)
			require.Equal(t, c.how, s.Applied().Allocated)
			require.Less(t, calls, 10*maxInterrupts)
			st, err := os.Stat(s.Path())
			require.NoError(t, err)
			require.EqualValues(t, size, st.Size())
			require.GreaterOrEqual(t, st.Sys().(*syscall.Stat_t).Blocks*512, int64(size))
			require.NoError(t, s.Close())
		})
	}
}

func TestAllocationCanBeCalledOff(t *testing.T) {
	dir := ScratchDir(t)
	for name, refuse := range map[string]error{"fallocate": nil, "pwrite": unix.ENOSYS} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			change(t, func(k *kernel) {
				k.fallocate = func(fd int, mode uint32, off, n int64) error {
					if off > 0 {
						t.Error("went on after the end of ctx")
					}
					if refuse == nil {
						cancel()
					}
					return refuse
				}
				k.pwrite = func(fd int, p []byte, off int64) (int, error) {
					if off > 0 {
						t.Error("went on after the end of ctx")
					}
					cancel()
					return len(p), nil
				}
			})
			_, err := Create(ctx, "a", 64<<20, &Options{Dir: dir}, nil)
			require.ErrorIs(t, err, context.Canceled)
			require.Empty(t, Names(t, dir))
		})
	}
}
