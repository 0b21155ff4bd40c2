package shm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/shm"
)

const sealedSize = 64 << 10

// sealed makes a sealed segment of the letter a.
func sealed(t *testing.T, opt *shm.Options) *shm.Segment {
	t.Helper()
	t.Setenv(shm.EnvLocks, "") // there is one kind
	s, err := shm.CreateSealed(t.Context(), "orders", sealedSize, opt, func(mem []byte, locks shm.Locks) error {
		if locks != shm.OFD {
			return fmt.Errorf("locks by %v", locks)
		}
		copy(mem, bytes.Repeat([]byte{'a'}, len(mem)))
		return nil
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// again opens a sealed segment as another process would.
func again(t *testing.T, s *shm.Segment, opt *shm.Options) *shm.Segment {
	t.Helper()
	fd, err := s.Share()
	require.NoError(t, err)
	defer unix.Close(fd)
	other, err := shm.OpenSealed(t.Context(), fd, 1, opt)
	require.NoError(t, err)
	t.Cleanup(func() { _ = other.Close() })
	return other
}

func TestSealedIsSharedAndKeepsItsSize(t *testing.T) {
	s := sealed(t, nil)
	require.Equal(t, "memfd:orders", s.Name())
	require.Equal(t, "memfd:orders", s.Path())
	other := again(t, s, nil)
	require.Equal(t, "memfd:orders", other.Path())
	s.Bytes()[7] = 'x'
	require.Equal(t, byte('x'), other.Bytes()[7])
	require.Len(t, other.Bytes(), sealedSize)
	fd, err := s.Share()
	require.NoError(t, err)
	defer unix.Close(fd)
	for _, size := range []int64{0, sealedSize - 1, sealedSize + 1} {
		require.ErrorIs(t, unix.Ftruncate(fd, size), unix.EPERM, "to %d", size)
	}
	require.ErrorIs(t, unix.Fallocate(fd, 0, sealedSize, 4096), unix.EPERM)
	_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE)
	require.ErrorIs(t, err, unix.EPERM)
	require.NoError(t, s.Check())
	require.NoError(t, other.Check())
	require.NoError(t, s.Close())
	require.Equal(t, byte('a'), other.Bytes()[0], "the memory is there as long as anybody has it")
}

// An onlooker of a sealed segment has a mapping of its own, and is told of nothing but holes.
func TestSealedIsLookedAt(t *testing.T) {
	s := sealed(t, nil)
	o, err := s.Look()
	require.NoError(t, err)
	defer o.Close()
	require.Equal(t, "memfd:orders", o.Path())
	require.EqualValues(t, sealedSize, o.Stat().Size)
	s.Bytes()[7] = 'x'
	require.Equal(t, byte('x'), o.Bytes()[7])
	holder := again(t, s, nil)
	ok, err := holder.TryLock(3)
	require.NoError(t, err)
	require.True(t, ok)
	held, sure, err := o.Held(shm.OFD, 3, nil)
	require.NoError(t, err)
	require.True(t, held && sure)
	_, err = holder.Look()
	require.ErrorIs(t, err, shm.ErrHeld)
	require.NoError(t, o.Check())
	fd, err := s.Share()
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, s.Close())
	_, err = s.Look()
	require.ErrorIs(t, err, fs.ErrClosed)
	require.NoError(t, unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, sealedSize-4096, 4096))
	require.ErrorIs(t, o.Check(), shm.ErrTruncated)
	require.Equal(t, byte('x'), o.Bytes()[7])
}

// Whoever has the descriptor that was given away cannot touch a lock: the handle that has locks
// is on an open file of its own.
func TestSealedLocksBelongToTheirHandle(t *testing.T) {
	s := sealed(t, nil)
	a, b := again(t, s, nil), again(t, s, nil)
	ok, err := a.TryLock(3)
	require.NoError(t, err)
	require.True(t, ok)
	for _, other := range []*shm.Segment{b, s} {
		held, err := other.Held(3)
		require.NoError(t, err)
		require.True(t, held)
	}
	ok, err = b.TryLock(3)
	require.NoError(t, err)
	require.False(t, ok)
	_, err = a.Share()
	require.ErrorIs(t, err, shm.ErrHeld)

	fd, err := s.Share()
	require.NoError(t, err)
	defer unix.Close(fd)
	c, err := shm.OpenSealed(t.Context(), fd, 1, nil)
	require.NoError(t, err)
	defer c.Close()
	ok, err = c.TryLock(4)
	require.NoError(t, err)
	require.True(t, ok)
	lk := unix.Flock_t{Type: unix.F_UNLCK}
	require.NoError(t, unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &lk))
	require.NoError(t, unix.Flock(fd, unix.LOCK_UN))
	for _, i := range []int{3, 4} {
		held, err := b.Held(i)
		require.NoError(t, err)
		require.True(t, held, "lock %d was dropped through the descriptor that was given away", i)
	}
	require.NoError(t, a.Close())
	held, err := b.Held(3)
	require.NoError(t, err)
	require.False(t, held)
	re, err := b.Reopen()
	require.NoError(t, err)
	require.NoError(t, re.Close())
	_, err = s.Alone()
	require.ErrorIs(t, err, shm.ErrUnsupported)
	require.ErrorIs(t, s.Replace(t.Context(), 4096, nil), shm.ErrUnsupported)
}

// What is not a segment of a fixed size is refused, and nothing of it is kept or closed.
func TestOpenSealedRefuses(t *testing.T) {
	t.Setenv(shm.EnvLocks, "")
	dir := t.TempDir()
	memfd := func(flags, seals int, size int64) func(*testing.T) int {
		return func(t *testing.T) int {
			fd, err := unix.MemfdCreate("orders", unix.MFD_CLOEXEC|flags)
			require.NoError(t, err)
			if size > 0 {
				require.NoError(t, unix.Fallocate(fd, 0, 0, size))
			}
			if seals != 0 {
				_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
				require.NoError(t, err)
			}
			return fd
		}
	}
	open := func(path string, flags int) func(*testing.T) int {
		return func(t *testing.T) int {
			fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o600)
			require.NoError(t, err)
			return fd
		}
	}
	fifo, plain := filepath.Join(dir, "fifo"), filepath.Join(dir, "plain")
	shared := filepath.Join(shm.ScratchDir(t), "file")
	require.NoError(t, os.WriteFile(shared, make([]byte, sealedSize), 0o600))
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	require.NoError(t, os.WriteFile(plain, make([]byte, sealedSize), 0o600))
	const all = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	for name, c := range map[string]struct {
		make func(*testing.T) int
		err  error
		text string
	}{
		"FIFO":         {open(fifo, unix.O_RDWR), shm.ErrRefused, "it is a FIFO"},
		"device":       {open("/dev/null", unix.O_RDWR), shm.ErrRefused, "it is a device"},
		"directory":    {open(dir, unix.O_RDONLY), shm.ErrRefused, "it is a directory"},
		"regular file": {open(plain, unix.O_RDWR), shm.ErrRefused, "not a sealed memfd"},
		"tmpfs file":   {open(shared, unix.O_RDWR), shm.ErrRefused, "its seals are seal, want seal, shrink, grow"},
		"not sealed":   {memfd(unix.MFD_ALLOW_SEALING, 0, sealedSize), shm.ErrRefused, "its seals are none"},
		"may shrink":   {memfd(unix.MFD_ALLOW_SEALING, all&^unix.F_SEAL_SHRINK, sealedSize), shm.ErrRefused, "seal, grow"},
		"may grow":     {memfd(unix.MFD_ALLOW_SEALING, all&^unix.F_SEAL_GROW, sealedSize), shm.ErrRefused, "seal, shrink"},
		"not for good": {memfd(unix.MFD_ALLOW_SEALING, all&^unix.F_SEAL_SEAL, sealedSize), shm.ErrRefused, "shrink"},
		"read-only":    {memfd(unix.MFD_ALLOW_SEALING, all|unix.F_SEAL_WRITE, sealedSize), shm.ErrRefused, "nobody can"},
		"future write": {memfd(unix.MFD_ALLOW_SEALING, all|unix.F_SEAL_FUTURE_WRITE, sealedSize), shm.ErrRefused,
			"nobody can write"},
		"empty":     {memfd(unix.MFD_ALLOW_SEALING, all, 0), shm.ErrTruncated, "0 bytes"},
		"too short": {memfd(unix.MFD_ALLOW_SEALING, all, 4096), shm.ErrTruncated, "at least 8192"},
		"with holes": {func(t *testing.T) int {
			fd := memfd(unix.MFD_ALLOW_SEALING, all, sealedSize)(t)
			require.NoError(t, unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 8192, 4096))
			return fd
		}, shm.ErrTruncated, "holes"},
		"closed": {func(*testing.T) int { return 1 << 20 }, unix.EBADF, "stat"},
	} {
		t.Run(name, func(t *testing.T) {
			fd := c.make(t)
			defer unix.Close(fd)
			before := descriptors(t)
			_, err := shm.OpenSealed(t.Context(), fd, 8192, nil)
			require.ErrorIs(t, err, c.err)
			require.ErrorContains(t, err, c.text)
			_, typed := errors.AsType[*shm.Error](err)
			_, holes := errors.AsType[*shm.TruncatedError](err)
			require.True(t, typed || holes, "%T", err)
			require.Equal(t, before, descriptors(t))
		})
	}
}

// A name that whoever made the memory chose is shown only if it could be a segment's.
func TestSealedNameOfAStranger(t *testing.T) {
	for given, want := range map[string]string{
		"orders": "memfd:orders", "a\nb": "memfd:?", "": "memfd:?", "x (deleted)": "memfd:?", "../x": "memfd:?",
	} {
		fd, err := unix.MemfdCreate(given, unix.MFD_CLOEXEC)
		require.NoError(t, err)
		require.Equal(t, want, shm.SealedName(fd), "%q", given)
		require.NoError(t, unix.Close(fd))
	}
	require.Equal(t, "memfd:?", shm.SealedName(0))
	require.Equal(t, "memfd:?", shm.SealedName(1<<20))
}

func TestOpenSealedAsksTheJudge(t *testing.T) {
	s := sealed(t, nil)
	fd, err := s.Share()
	require.NoError(t, err)
	defer unix.Close(fd)
	no := errors.New("no")
	before := descriptors(t)
	_, err = shm.OpenSealed(t.Context(), fd, 1, &shm.Options{Fixed: 4, Judge: func(b []byte, length int64) error {
		if string(b) != "aaaa" || length != sealedSize {
			return fmt.Errorf("shown %q of %d", b, length)
		}
		return no
	}})
	require.Equal(t, no, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = shm.OpenSealed(ctx, fd, 1, nil)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, before, descriptors(t))
}

// Without /proc nobody can have locks of his own on a file that he was given.
func TestOpenSealedWithoutProc(t *testing.T) {
	s := sealed(t, nil)
	fd, err := s.Share()
	require.NoError(t, err)
	defer unix.Close(fd)
	shm.RefuseReopen(t, unix.ENOENT)
	before := descriptors(t)
	_, err = shm.OpenSealed(t.Context(), fd, 1, nil)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.ErrorContains(t, err, "mount /proc")
	require.Equal(t, before, descriptors(t))
}

func TestSealedWantsOFDLocks(t *testing.T) {
	s := sealed(t, nil)
	require.ErrorIs(t, s.UseLocks(shm.Flock), shm.ErrUnsupported)
	_, err := shm.CreateSealed(t.Context(), "orders", 4096, &shm.Options{Locks: shm.Flock}, nil)
	require.ErrorIs(t, err, shm.ErrUnsupported)
	t.Setenv(shm.EnvLocks, "flock")
	_, err = shm.CreateSealed(t.Context(), "orders", 4096, nil, nil)
	require.ErrorIs(t, err, shm.ErrUnsupported)
	require.ErrorContains(t, err, shm.EnvLocks)
}

func TestSealedErrors(t *testing.T) {
	t.Setenv(shm.EnvLocks, "")
	before := descriptors(t)
	_, err := shm.CreateSealed(t.Context(), "a/b", 4096, nil, nil)
	require.ErrorIs(t, err, fs.ErrInvalid)
	_, err = shm.CreateSealed(t.Context(), "a", 0, nil, nil)
	require.ErrorIs(t, err, fs.ErrInvalid)
	no := errors.New("no")
	_, err = shm.CreateSealed(t.Context(), "a", 4096, nil, func([]byte, shm.Locks) error { return no })
	require.ErrorIs(t, err, no)
	for _, flags := range []error{unix.ENOSYS, unix.EPERM} {
		shm.RefuseMemfd(t, flags)
		_, err = shm.CreateSealed(t.Context(), "a", 4096, nil, nil)
		require.ErrorIs(t, err, shm.ErrUnsupported)
	}
	require.Equal(t, before, descriptors(t))
	named, err := shm.Create(t.Context(), "a", 4096, &shm.Options{Dir: shm.ScratchDir(t)}, nil)
	require.NoError(t, err)
	defer named.Close()
	_, err = named.Share()
	require.ErrorIs(t, err, shm.ErrUnsupported)
}

// An older kernel's file in memory is as good.
func TestSealedOnAnOldKernel(t *testing.T) {
	shm.OldMemfd(t)
	s := sealed(t, nil)
	_, _, mode, err := s.Owner()
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o666), mode)
	again(t, s, nil)
}

// descriptors lists what this process has open, and whether it is closed in children.
func descriptors(t *testing.T) []string {
	t.Helper()
	var list []string
	for fd := range 256 {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			what, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
			list = append(list, fmt.Sprint(fd, " ", what, " ", flags&unix.FD_CLOEXEC))
		}
	}
	return list
}

// What a segment has open is closed in children.
func TestSealedIsClosedInChildren(t *testing.T) {
	s := sealed(t, nil)
	again(t, s, nil)
	fd, err := s.Share()
	require.NoError(t, err)
	defer unix.Close(fd)
	found := 0
	for _, d := range descriptors(t) {
		if strings.Contains(d, "memfd:orders") {
			found++
			require.True(t, strings.HasSuffix(d, " 1"), d)
		}
	}
	require.Equal(t, 3, found)
}

// Huge pages are had where a whole one fits in; where not, that is said.
func TestSealedHugePages(t *testing.T) {
	small := sealed(t, &shm.Options{HugePages: true})
	require.Contains(t, small.Applied().HugePages.String(), "failed (MADV_COLLAPSE): the segment has 65536 bytes")
	t.Setenv(shm.EnvLocks, "")
	const size = 5<<20 + 4096
	s, err := shm.CreateSealed(t.Context(), "orders", size, &shm.Options{HugePages: true}, nil)
	require.NoError(t, err)
	defer s.Close()
	how := s.Applied().HugePages
	require.True(t, how.Asked)
	require.Equal(t, how.Err == nil, how.Applied())
	s.Bytes()[size-1] = 1
	other := again(t, s, &shm.Options{HugePages: true})
	require.Equal(t, byte(1), other.Bytes()[size-1])
	require.NoError(t, s.Check())
	for _, seg := range []*shm.Segment{s, other} {
		require.Zero(t, address(t, seg)%(2<<20), "whole huge pages begin where the mapping does")
	}
	named, err := shm.Create(t.Context(), "a", size, &shm.Options{Dir: shm.ScratchDir(t), HugePages: true}, nil)
	require.NoError(t, err)
	require.NoError(t, named.Check(), "huge pages are no holes")
	require.NoError(t, named.Close())
	if how.Applied() {
		require.GreaterOrEqual(t, hugeMapped(t, s), 4<<10, "kB of huge pages in a mapping that is said to have them")
	} else {
		require.ErrorContains(t, how.Err, "huge")
	}
}

// address is where a segment is mapped.
func address(t *testing.T, s *shm.Segment) (at uint64) {
	t.Helper()
	_, err := fmt.Sscanf(fmt.Sprintf("%p", s.Bytes()), "0x%x", &at)
	require.NoError(t, err)
	return at
}

// hugeMapped is how many kB of a segment are mapped by huge pages.
func hugeMapped(t *testing.T, s *shm.Segment) (kB int) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/smaps")
	require.NoError(t, err)
	_, of, found := strings.Cut(string(b), fmt.Sprintf("\n%x-", address(t, s)))
	require.True(t, found)
	_, of, found = strings.Cut(of, "ShmemPmdMapped:")
	require.True(t, found)
	_, err = fmt.Sscan(of, &kB)
	require.NoError(t, err)
	return kB
}
