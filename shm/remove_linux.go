package shm

import (
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/internal/killpoint"
)

// Remove unlinks a name that nobody uses. It does not wait: while any process is
// attached, this one included, it returns a [*BusyError] and changes nothing. It
// removes regular files only and follows no symbolic link (ErrRefused).
//
// Of the options only Dir matters. Errors: fs.ErrNotExist (no such segment),
// ErrBusy, ErrRefused, [*NameError], and otherwise an [*Error] with the cause.
func Remove(name string, opt *Options) error {
	path, err := Path(name, opt)
	if err != nil {
		return err
	}
	for range maxReplaced {
		if err := removeOnce(path); err != errReplaced {
			return err
		}
	}
	return fail("remove", path, ErrOrphaned, "replaced %d times in a row while we removed it", maxReplaced)
}

func removeOnce(path string) error {
	fd, _, err := openRegular("remove", path)
	if err != nil {
		return err
	}
	defer func() { _ = sys.close(fd) }() // and the lock with it, after the unlink
	alone, err := setLock(fd, unix.F_WRLCK, adminByte)
	if err != nil {
		return fail("remove", path, err, "")
	}
	if !alone {
		return &BusyError{Path: path}
	}
	killpoint.At(killpoint.AdminAlone)
	// The name may mean a newer file by now, which others are attached to.
	if err := stillNamed("remove", path, fd); err != nil {
		return err
	}
	if err := sys.unlink(path); err != nil {
		return openError("remove", path, err)
	}
	killpoint.At(killpoint.Unlinked)
	return nil
}
