package shm

import (
	"fmt"

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
		return false, lockError("open file description locks", err)
	}
}

// lockedByOther reports whether another description holds any lock on the byte.
func lockedByOther(fd int, at int64) (bool, error) {
	lk := unix.Flock_t{Type: unix.F_WRLCK, Whence: unix.SEEK_SET, Start: at, Len: 1}
	if err := uninterrupted(func() error { return sys.fcntl(uintptr(fd), unix.F_OFD_GETLK, &lk) }); err != nil {
		return false, lockError("open file description locks", err)
	}
	return lk.Type != unix.F_UNLCK, nil
}

// probeOFD reports whether the system, the file system included, has these locks.
func probeOFD(fd int) error {
	// Shared, on the byte of the gate: in the way of nobody but a handle that asks
	// whether it is alone, which it is not.
	if ok, err := setLock(fd, unix.F_RDLCK, lifeBase+gate); !ok {
		return err
	}
	_, err := setLock(fd, unix.F_UNLCK, lifeBase+gate)
	return err
}

func lockError(what string, err error) error {
	switch err {
	case unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP, unix.ENOLCK:
		return fmt.Errorf("%w: %s: %w", ErrUnsupported, what, err)
	}
	return err
}

// ofdLocks are life locks on bytes of the segment file. They go with its descriptor.
type ofdLocks struct{ f *file }

func (o ofdLocks) tryLock(i int) (bool, error) {
	return setLock(o.f.fd, unix.F_WRLCK, lifeBase+int64(i))
}

func (o ofdLocks) unlock(i int) error {
	_, err := setLock(o.f.fd, unix.F_UNLCK, lifeBase+int64(i))
	return err
}

func (o ofdLocks) held(i int) (bool, error) {
	return lockedByOther(o.f.fd, lifeBase+int64(i))
}

func (o ofdLocks) again(f *file) (lifeLocks, error) { return ofdLocks{f}, nil }

func (o ofdLocks) close() error { return nil }
