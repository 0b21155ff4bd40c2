package shm_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/shm"
)

// Everything that is not a trustworthy regular file of sufficient size is refused,
// by Open and (where it is about the kind of file) by Remove, and survives both.
func TestAttachRefusals(t *testing.T) {
	foreign := func(path string) error {
		if os.Geteuid() != 0 {
			return errors.New("giving a file away needs root")
		}
		if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
			return err
		}
		return os.Chown(path, nobody, nobody)
	}
	for _, c := range []struct {
		name   string
		make   func(path string) error
		want   error
		text   string
		remove bool // Remove refuses too
	}{
		{"absent", func(string) error { return nil }, fs.ErrNotExist, "", true},
		{"symlink", func(p string) error {
			if err := os.WriteFile(p+".target", make([]byte, 4096), 0o600); err != nil {
				return err
			}
			return os.Symlink(p+".target", p)
		}, shm.ErrRefused, "a symbolic link", true},
		{"fifo", func(p string) error { return unix.Mkfifo(p, 0o600) }, shm.ErrRefused, "a FIFO", true},
		{"directory", func(p string) error { return os.Mkdir(p, 0o700) }, shm.ErrRefused, "a directory", true},
		{"socket", func(p string) error {
			l, err := net.Listen("unix", p)
			if err == nil {
				t.Cleanup(func() { _ = l.Close() })
			}
			return err
		}, shm.ErrRefused, "a socket", true},
		{"device", func(p string) error {
			return unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))
		}, shm.ErrRefused, "a device", true},
		{"world-writable", func(p string) error {
			if err := os.WriteFile(p, make([]byte, 4096), 0o600); err != nil {
				return err
			}
			return os.Chmod(p, 0o602)
		}, shm.ErrRefused, "0602 lets everybody write", false},
		{"foreign", foreign, shm.ErrRefused, "owned by uid 65534, we are euid 0", false},
		{"short", func(p string) error { return os.WriteFile(p, make([]byte, 4095), 0o600) }, shm.ErrTruncated,
			"4095 bytes; a segment has at least 4096", false},
		{"empty", func(p string) error { return os.WriteFile(p, nil, 0o600) }, shm.ErrTruncated, "0 bytes", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := shm.ScratchDir(t)
			opt := &shm.Options{Dir: dir}
			if err := c.make(dir + "/a.shmring"); err != nil {
				t.Skipf("cannot make one: %v", err)
			}
			_, err := shm.Open(t.Context(), "a", 4096, opt)
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, c.text)
			require.ErrorContains(t, err, dir+"/a.shmring")
			require.Empty(t, shm.OpenUnder(dir))
			if c.remove {
				before := shm.Names(t, dir)
				require.ErrorIs(t, shm.Remove(t.Context(), "a", opt), c.want)
				require.Equal(t, before, shm.Names(t, dir))
			}
		})
	}
}

func TestAnyOwnerAcceptsStrangers(t *testing.T) {
	dir := shm.ScratchDir(t)
	path := dir + "/a.shmring"
	require.NoError(t, os.WriteFile(path, make([]byte, 4096), 0o600))
	require.NoError(t, os.Chmod(path, 0o666))
	if err := os.Chown(path, nobody, nobody); err != nil {
		t.Logf("not root, so only the mode is foreign: %v", err)
	}
	s, err := shm.Open(t.Context(), "a", 4096, &shm.Options{Dir: dir, AnyOwner: true})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func TestOpenMapsTheWholeFile(t *testing.T) {
	dir := shm.ScratchDir(t)
	mustCreate(t, dir, patternSize)
	for _, minSize := range []int64{-5, 0, 1, patternSize} {
		s, err := shm.Open(t.Context(), "a", minSize, &shm.Options{Dir: dir})
		require.NoError(t, err)
		require.True(t, intact(s.Bytes()))
		require.NoError(t, s.Close())
	}
	_, err := shm.Open(t.Context(), "a", patternSize+1, &shm.Options{Dir: dir})
	require.ErrorIs(t, err, shm.ErrTruncated)
	_, err = shm.Open(t.Context(), "/a", 1, &shm.Options{Dir: dir})
	require.ErrorIs(t, err, fs.ErrInvalid)
}

func TestOpenOfAnEmptyFile(t *testing.T) {
	dir := shm.ScratchDir(t)
	require.NoError(t, os.WriteFile(dir+"/a.shmring", nil, 0o600))
	_, err := shm.Open(t.Context(), "a", 0, &shm.Options{Dir: dir})
	require.ErrorIs(t, err, shm.ErrTruncated)
}

// Without O_NONBLOCK this would take until the lease is broken, 45 s.
func TestOpenDoesNotWaitForALease(t *testing.T) {
	dir := shm.ScratchDir(t)
	s := mustCreate(t, dir, patternSize)
	require.NoError(t, s.Close())
	fd, err := unix.Open(s.Path(), unix.O_RDWR|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Close(fd)) }()
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Skipf("no leases here: %v", err)
	}
	_, err = shm.Open(t.Context(), "a", 1, &shm.Options{Dir: dir})
	require.ErrorIs(t, err, unix.EAGAIN)
	require.ErrorContains(t, err, "lease")
}

func TestOpenRefusesAFileThatReachesTheLocks(t *testing.T) {
	dir := shm.ScratchDir(t)
	path := dir + "/a.shmring"
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Truncate(path, shm.MaxSize+1))
	_, err := shm.Open(t.Context(), "a", 1, &shm.Options{Dir: dir})
	require.ErrorIs(t, err, fs.ErrInvalid)
}

// exclude takes the attach lock of the file exclusively, as Remove does, and returns
// the end of it.
func exclude(t *testing.T, path string) (release func()) {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, unix.Flock(fd, unix.LOCK_EX))
	return func() { require.NoError(t, unix.Close(fd)) }
}

func TestOpenWaitsForTheAdminLock(t *testing.T) {
	dir := shm.ScratchDir(t)
	s := mustCreate(t, dir, patternSize)
	require.NoError(t, s.Close())
	release := exclude(t, s.Path())

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := shm.Open(ctx, "a", 1, &shm.Options{Dir: dir})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, shm.ErrBusy)

	done := make(chan error, 1)
	go func() {
		s, err := shm.Open(t.Context(), "a", 1, &shm.Options{Dir: dir})
		if err == nil {
			err = s.Close()
		}
		done <- err
	}()
	eventually(t, "Open has the file open", func() bool { return len(shm.OpenUnder(dir)) == 2 })
	release()
	require.NoError(t, <-done)
}

func TestOpenHeedsAFinishedContext(t *testing.T) {
	dir := shm.ScratchDir(t)
	mustCreate(t, dir, patternSize)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := shm.Open(ctx, "a", 1, &shm.Options{Dir: dir})
	require.ErrorIs(t, err, context.Canceled)
}

const nobody = 65534

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("acting as two users needs root")
	}
}

// asNobody runs f on a thread whose effective user is nobody.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	needRoot(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	setEffectiveUser := func(uid int) {
		_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0))
		require.Zero(t, errno)
	}
	setEffectiveUser(nobody)
	defer setEffectiveUser(0)
	f()
}

func TestDeniedNamesOwnerModeAndUs(t *testing.T) {
	dir := shm.ScratchDir(t)
	mustCreate(t, dir, patternSize)
	opt := &shm.Options{Dir: dir}

	asNobody(t, func() {
		_, err := shm.Open(t.Context(), "a", 1, opt)
		require.ErrorIs(t, err, fs.ErrPermission)
		require.ErrorContains(t, err, "we are euid 65534 and may not search its directory")
	})
	require.NoError(t, os.Chmod(dir, 0o755))
	asNobody(t, func() {
		const facts = "/a.shmring is owned by uid 0 gid 0, mode 0600; we are euid 65534"
		_, err := shm.Open(t.Context(), "a", 1, opt)
		require.ErrorIs(t, err, fs.ErrPermission)
		require.ErrorContains(t, err, facts)
		require.NotContains(t, err.Error(), "SELinux")

		err = shm.Remove(t.Context(), "a", opt)
		require.ErrorIs(t, err, fs.ErrPermission)
		require.ErrorContains(t, err, facts)

		_, err = shm.Create(t.Context(), "b", 1, opt, nil)
		require.ErrorIs(t, err, fs.ErrPermission)
		require.ErrorContains(t, err, dir+" is owned by uid 0 gid 0, mode 0755; we are euid 65534")
	})

	// The owner is denied by the mode as well, and that is no matter for SELinux.
	require.NoError(t, os.WriteFile(dir+"/c.shmring", make([]byte, 1), 0o400))
	require.NoError(t, os.Chown(dir+"/c.shmring", nobody, nobody))
	asNobody(t, func() {
		_, err := shm.Open(t.Context(), "c", 1, opt)
		require.ErrorIs(t, err, fs.ErrPermission)
		require.ErrorContains(t, err, "owned by uid 65534 gid 65534, mode 0400")
		require.NotContains(t, err.Error(), "SELinux")
	})

	// A file of root that nobody's group may write is fine to attach to, and is not
	// nobody's to unlink.
	require.NoError(t, os.Chown(dir+"/a.shmring", 0, os.Getegid()))
	require.NoError(t, os.Chmod(dir+"/a.shmring", 0o660))
	asNobody(t, func() {
		s, err := shm.Open(t.Context(), "a", 1, opt)
		require.NoError(t, err)
		r, err := s.Reopen()
		require.NoError(t, err)
		require.NoError(t, r.Close())
		require.NoError(t, s.Close())
	})
}

func TestRemoveOfAnothersFileInAStickyDirectory(t *testing.T) {
	needRoot(t)
	dir := shm.ScratchDir(t)
	opt := &shm.Options{Dir: dir, Perm: 0o660}
	s, err := shm.Create(t.Context(), "a", 1, opt, nil)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, os.Chown(s.Path(), 0, os.Getegid()))
	require.NoError(t, os.Chmod(dir, fs.ModeSticky|0o777))
	asNobody(t, func() {
		err := shm.Remove(t.Context(), "a", opt)
		require.ErrorIs(t, err, fs.ErrPermission)
		require.ErrorContains(t, err, "owned by uid 0")
	})
	require.NoError(t, shm.Remove(t.Context(), "a", opt))
}

func TestStrangersFileCannotKeepUsWaiting(t *testing.T) {
	dir := shm.ScratchDir(t)
	path := dir + "/a.shmring"
	require.NoError(t, os.WriteFile(path, make([]byte, 4096), 0o600))
	require.NoError(t, os.Chmod(path, 0o602))
	defer exclude(t, path)()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err := shm.Open(ctx, "a", 1, &shm.Options{Dir: dir})
	require.ErrorIs(t, err, shm.ErrRefused)
}

func TestNobodyCanCreate(t *testing.T) {
	dir := shm.ScratchDir(t)
	require.NoError(t, os.Chmod(dir, fs.ModeSticky|0o777))
	asNobody(t, func() {
		s, err := shm.Create(t.Context(), "a", patternSize, &shm.Options{Dir: dir}, pattern)
		require.NoError(t, err)
		require.True(t, s.Applied().TmpFile)
		require.NoError(t, s.Close())
	})
	_, err := shm.Open(t.Context(), "a", 1, &shm.Options{Dir: dir})
	require.ErrorIs(t, err, shm.ErrRefused)
}
