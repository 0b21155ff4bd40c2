package shm

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// setLock tries to put a lock of type typ (F_RDLCK, F_WRLCK, F_UNLCK) on one byte
// for the open file description of fd. False means that another description is in
// the way.
//
// Only F_OFD_SETLK will do: a POSIX lock (F_SETLK) is dropped when the process
// closes any descriptor of the file, and never conflicts within one process.
func setLock(fd int, typ int16, at int64) (bool, error) {
	lk := unix.Flock_t{Type: typ, Whence: unix.SEEK_SET, Start: at, Len: 1}
	err := uninterrupted(func() error { return sys.fcntl(uintptr(fd), unix.F_OFD_SETLK, &lk) })
	switch err {
	case nil:
		return true, nil
	case unix.EAGAIN, unix.EACCES:
		return false, nil
	default:
		return false, lockError(err)
	}
}

// lockedByOther reports whether another description holds any lock on the byte.
func lockedByOther(fd int, at int64) (bool, error) {
	lk := unix.Flock_t{Type: unix.F_WRLCK, Whence: unix.SEEK_SET, Start: at, Len: 1}
	if err := uninterrupted(func() error { return sys.fcntl(uintptr(fd), unix.F_OFD_GETLK, &lk) }); err != nil {
		return false, lockError(err)
	}
	return lk.Type != unix.F_UNLCK, nil
}

func lockError(err error) error {
	switch err {
	case unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP, unix.ENOLCK:
		return fmt.Errorf("%w: open file description locks: %w", ErrUnsupported, err)
	}
	return err
}

const (
	adminPollFirst = 50 * time.Microsecond
	adminPollMost  = 5 * time.Millisecond
)

// shareAdmin takes the admin lock shared, waiting for an exclusive holder until ctx
// is done. A blocking F_OFD_SETLKW could not be called off.
func shareAdmin(ctx context.Context, fd int, path string) error {
	for pause := adminPollFirst; ; pause = min(2*pause, adminPollMost) {
		ok, err := setLock(fd, unix.F_RDLCK, adminByte)
		if err != nil {
			return fail("attach to", path, err, "")
		}
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fail("attach to", path, fmt.Errorf("%w: %w", ErrBusy, ctx.Err()), "another process held the admin lock exclusively all the time")
		case <-time.After(pause):
		}
	}
}
