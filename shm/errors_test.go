package shm_test

import (
	"errors"
	"io/fs"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/shm"
)

func TestErrorTexts(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{
			&shm.Error{Op: "open", Path: "/dev/shm/a.shmring", Err: fs.ErrNotExist},
			"shm: open /dev/shm/a.shmring: file does not exist",
		}, {
			&shm.Error{Op: "open", Path: "/p", Err: shm.ErrRefused, Hint: "it is a FIFO, not a regular file"},
			"shm: open /p: refused (it is a FIFO, not a regular file)",
		}, {
			&shm.SpaceError{Dir: "/dev/shm", Need: 512 << 20, Free: 64 << 20, Err: syscall.ENOSPC},
			"shm: need 512 MiB in /dev/shm, 64 MiB free: raise --shm-size (docker) or the sizeLimit of the emptyDir " +
				"(kubernetes), or set Options.Dir or SHMRING_DIR to another directory",
		}, {
			&shm.SpaceError{Dir: "/srv", Need: 1<<40 + 1, Free: 0, Err: syscall.ENOSPC},
			"shm: need 1099511627777 bytes in /srv, 0 bytes free: free some, or set Options.Dir or SHMRING_DIR to another " +
				"directory",
		}, {
			&shm.LimitError{Path: "/p", Resource: "RLIMIT_FSIZE", Need: 1 << 40, Limit: 3 << 10, Remedy: "ask for less",
				Err: fs.ErrInvalid},
			"shm: /p: need 1 TiB, RLIMIT_FSIZE allows 3 KiB: invalid argument: ask for less",
		}, {
			&shm.LimitError{Path: "/p", Resource: "R", Need: 2 << 30, Remedy: "ask for less", Err: fs.ErrInvalid},
			"shm: /p: need 2 GiB, R: invalid argument: ask for less",
		}, {
			&shm.BusyError{Path: "/p"},
			"shm: remove /p: busy: a process is attached; close its producers and consumers first (fuser /p lists them)",
		}, {
			&shm.NameError{Name: "a/b", Reason: "no"},
			`shm: name "a/b": no`,
		},
	} {
		require.EqualError(t, c.err, c.want)
	}
}

func TestErrorIdentities(t *testing.T) {
	require.ErrorIs(t, shm.ErrUnsupported, errors.ErrUnsupported)
	require.ErrorIs(t, &shm.BusyError{}, shm.ErrBusy)
	require.ErrorIs(t, &shm.SpaceError{Err: syscall.ENOSPC}, syscall.ENOSPC)

	quota := errors.New("quota")
	require.ErrorIs(t, &shm.SpaceError{Err: quota}, syscall.ENOSPC)
	require.ErrorIs(t, &shm.SpaceError{Err: quota}, quota)
	require.ErrorContains(t, &shm.SpaceError{Err: quota}, "quota")
	require.ErrorIs(t, &shm.LimitError{Err: fs.ErrInvalid}, fs.ErrInvalid)
	require.ErrorIs(t, &shm.Error{Err: fs.ErrClosed}, fs.ErrClosed)
}

func TestOutcomeString(t *testing.T) {
	for _, c := range []struct {
		outcome shm.Outcome
		applied bool
		text    string
	}{
		{shm.Outcome{}, false, "not asked"},
		{shm.Outcome{Asked: true, How: "mlock"}, true, "applied (mlock)"},
		{shm.Outcome{Asked: true, How: "mlock", Err: errors.New("no")}, false, "failed (mlock): no"},
	} {
		require.Equal(t, c.text, c.outcome.String())
		require.Equal(t, c.applied, c.outcome.Applied())
	}
}
