package shm

import (
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// refuseOFD is a system that has no open file description locks.
func refuseOFD(errno unix.Errno) func(k *kernel) {
	return func(k *kernel) {
		k.fcntl = func(fd uintptr, cmd int, lk *unix.Flock_t) error {
			if cmd == unix.F_OFD_SETLK || cmd == unix.F_OFD_GETLK {
				return errno
			}
			return unix.FcntlFlock(fd, cmd, lk)
		}
	}
}

var noOFD = []unix.Errno{unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP, unix.ENOLCK}

func take(t *testing.T, s *Segment, i int) bool {
	t.Helper()
	ok, err := s.TryLock(i)
	require.NoError(t, err)
	return ok
}

// Auto takes flock where the system refuses OFD locks, tells format, and keeps the reason.
func TestAutoFallsBackToFlock(t *testing.T) {
	t.Setenv(EnvLocks, "")
	for _, errno := range noOFD {
		t.Run(errno.Error(), func(t *testing.T) {
			dir := ScratchDir(t)
			opt := &Options{Dir: dir}
			change(t, refuseOFD(errno))
			told := AutoLocks
			s, err := Create(t.Context(), "a", 1, opt, func(_ []byte, k Locks) error { told = k; return nil })
			require.NoError(t, err)
			require.Equal(t, Flock, told)
			opened, err := Open(t.Context(), "a", 1, opt)
			require.NoError(t, err)
			reopened, err := opened.Reopen()
			require.NoError(t, err)
			all := []*Segment{s, opened, reopened}
			for i, h := range all {
				require.Equal(t, Flock, h.Applied().Locks)
				require.ErrorIs(t, h.Applied().NoOFD, errno)
				require.ErrorIs(t, h.Applied().NoOFD, ErrUnsupported)
				require.Equal(t, i == 0, take(t, h, 0))
			}
			for _, h := range all {
				require.ErrorIs(t, Remove(t.Context(), "a", opt), ErrBusy)
				require.NoError(t, h.Close())
			}
			require.NoError(t, Remove(t.Context(), "a", opt))
			require.Empty(t, Names(t, dir))
		})
	}
}

func TestAutoTakesOFDWhereItIs(t *testing.T) {
	t.Setenv(EnvLocks, "")
	dir := ScratchDir(t)
	s, err := create(t, dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	if s.Applied().NoOFD != nil {
		t.Skipf("this system has none: %v", s.Applied().NoOFD)
	}
	require.Equal(t, OFD, s.Applied().Locks)
	require.True(t, take(t, s, 0))
	require.Equal(t, []string{"a.shmring"}, Names(t, dir), "no other files")

	change(t, refuseOFD(unix.EIO))
	_, err = Open(t.Context(), "a", 1, &Options{Dir: dir})
	require.ErrorIs(t, err, unix.EIO, "that is no refusal")
	require.Len(t, OpenUnder(dir), 1)
}

func TestInsistingOnOFD(t *testing.T) {
	dir := ScratchDir(t)
	opt := &Options{Dir: dir, Locks: OFD}
	s, err := Create(t.Context(), "a", 1, opt, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.True(t, take(t, s, 0))
	for _, errno := range append(noOFD, unix.EIO) {
		change(t, refuseOFD(errno))
		want := ErrUnsupported
		if errno == unix.EIO {
			want = errno
		}
		_, err := Create(t.Context(), "b", 1, opt, nil)
		require.ErrorIs(t, err, want)
		require.ErrorIs(t, err, errno)
		_, err = Open(t.Context(), "a", 1, opt)
		require.ErrorIs(t, err, want)
		_, err = s.TryLock(1)
		require.ErrorIs(t, err, want)
		require.ErrorContains(t, err, "lock byte 1 of "+s.Path())
		_, err = s.Held(1)
		require.ErrorIs(t, err, want)
		require.ErrorIs(t, s.Unlock(0), want)
		_, err = s.Alone()
		require.ErrorIs(t, err, want)
	}
	require.Equal(t, []string{"a.shmring"}, Names(t, dir))
	require.Len(t, OpenUnder(dir), 1)
}

func TestSystemWithoutFlock(t *testing.T) {
	dir := ScratchDir(t)
	s, err := create(t, dir)
	require.NoError(t, err)
	change(t, func(k *kernel) { k.flock = func(int, int) error { return unix.ENOSYS } })
	_, err = Create(t.Context(), "b", 1, &Options{Dir: dir}, nil)
	require.ErrorIs(t, err, ErrUnsupported)
	require.ErrorIs(t, err, unix.ENOSYS)
	require.NoError(t, s.Close())
	require.ErrorIs(t, Remove(t.Context(), "a", &Options{Dir: dir}), unix.ENOSYS)
	require.Equal(t, []string{"a.shmring"}, Names(t, dir))
}

func TestLocksFromTheEnvironment(t *testing.T) {
	dir := ScratchDir(t)
	for text, want := range map[string]Locks{"ofd": OFD, "flock": Flock} {
		t.Setenv(EnvLocks, text)
		s, err := create(t, dir)
		require.NoError(t, err)
		require.Equal(t, want, s.Applied().Locks)
		other, err := Open(t.Context(), "a", 1, &Options{Dir: dir, Locks: OFD + Flock - want})
		require.NoError(t, err)
		require.NotEqual(t, want, other.Applied().Locks, "the option comes first")
		require.NoError(t, other.Close())
		require.NoError(t, s.Close())
		require.NoError(t, Remove(t.Context(), "a", &Options{Dir: dir}))
	}
	t.Setenv(EnvLocks, "posix")
	_, err := create(t, dir)
	require.ErrorIs(t, err, fs.ErrInvalid)
	require.ErrorContains(t, err, `SHMRING_LOCKS is "posix", want ofd or flock`)
	_, err = Create(t.Context(), "a", 1, &Options{Dir: dir, Locks: 3}, nil)
	require.ErrorIs(t, err, fs.ErrInvalid)
	require.Empty(t, Names(t, dir))
}

func TestUseLocks(t *testing.T) {
	t.Setenv(EnvLocks, "")
	dir := ScratchDir(t)
	others, err := Create(t.Context(), "a", 1, &Options{Dir: dir, Locks: Flock}, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, others.Close()) }()
	require.True(t, take(t, others, 0))
	mismatch := func(s *Segment, k Locks) *LocksError {
		var e *LocksError
		require.ErrorAs(t, s.UseLocks(k), &e)
		require.ErrorIs(t, e, ErrUnsupported)
		return e
	}

	s, err := Open(t.Context(), "a", 1, &Options{Dir: dir})
	require.NoError(t, err)
	require.True(t, take(t, s, 0), "the other kind of lock is no obstacle")
	require.ErrorIs(t, s.UseLocks(Flock), ErrHeld)
	require.ErrorIs(t, s.UseLocks(OFD), ErrRefused, "somebody lives by the other kind")
	require.NoError(t, s.Unlock(0))
	require.NoError(t, s.UseLocks(Flock))
	require.Equal(t, Flock, s.Applied().Locks)
	require.False(t, take(t, s, 0))
	require.True(t, take(t, s, 1))
	require.NoError(t, s.Unlock(1))
	require.NoError(t, others.Unlock(0))
	require.NoError(t, s.UseLocks(OFD))
	require.True(t, take(t, s, 0))
	require.NoError(t, s.Unlock(0))
	require.True(t, take(t, others, 0))
	require.ErrorIs(t, s.UseLocks(AutoLocks), fs.ErrInvalid)
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.UseLocks(OFD), fs.ErrClosed)

	s, err = Open(t.Context(), "a", 1, &Options{Dir: dir, Locks: OFD})
	require.NoError(t, err)
	require.EqualError(t, mismatch(s, Flock),
		"shm: "+s.Path()+": its users lock by flock, and this process was told ofd: leave Options.Locks and "+
			"SHMRING_LOCKS unset")
	require.NoError(t, s.Close())

	change(t, refuseOFD(unix.EINVAL))
	s, err = Open(t.Context(), "a", 1, &Options{Dir: dir})
	require.NoError(t, err)
	e := mismatch(s, OFD)
	require.ErrorIs(t, e, unix.EINVAL)
	require.ErrorContains(t, e, "its users lock by ofd, and this process has only flock (")
	require.ErrorContains(t, e, "remove the segment, and create it from here or with SHMRING_LOCKS=flock")
	require.NoError(t, s.Close())
}
