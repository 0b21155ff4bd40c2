package shm

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/internal/killpoint"
)

// Remove unlinks a name that nobody uses. It does not wait: while any process is
// attached, this one included, it returns a [*BusyError] and changes nothing. It
// removes regular files only and follows no symbolic link (ErrRefused). With the segment
// go its lock files, and those in the directory of segments that are no more.
//
// Of the options only Dir matters. Errors: fs.ErrNotExist (no such segment),
// ErrBusy, ErrRefused, [*NameError], and otherwise an [*Error] with the cause.
func Remove(name string, opt *Options) error { return RemoveWith(name, opt, 0, nil) }

// RemoveWith is Remove with a last word: when it is sure that nobody uses the segment
// and before the name goes, it calls last with a copy of the first n bytes (fewer if the
// file is shorter) and the file's owner. The name goes whatever last returns; its error
// is returned then.
func RemoveWith(name string, opt *Options, n int, last func(head []byte, uid int) error) error {
	path, err := Path(name, opt)
	if err != nil {
		return err
	}
	for range maxReplaced {
		err := removeOnce(path, n, last)
		if errors.Is(err, fs.ErrNotExist) {
			_, _ = sweep(path, nil) // somebody else may have unlinked it, with rm for example
		}
		if err != errReplaced {
			return err
		}
	}
	return fail("remove", path, ErrOrphaned, "replaced %d times in a row while we removed it", maxReplaced)
}

func removeOnce(path string, n int, last func(head []byte, uid int) error) error {
	fd, st, err := openRegular("remove", path)
	if err != nil {
		return err
	}
	defer func() { _ = sys.close(fd) }() // and the lock with it, after the unlink
	alone, err := flock(fd, unix.LOCK_EX)
	if err != nil {
		return fail("remove", path, err, "")
	}
	if !alone {
		return &BusyError{Path: path}
	}
	killpoint.At(killpoint.AttachLockAlone)
	// The name may mean a newer file by now, which others are attached to.
	if err := stillNamed("remove", path, fd); err != nil {
		return err
	}
	// The lock files first: who is killed in between leaves a segment, and the next
	// Remove does the rest.
	busy, err := sweep(path, st)
	if err != nil {
		return err
	}
	gated, err := lockedByOther(fd, lifeBase+gate)
	if err != nil && !errors.Is(err, ErrUnsupported) {
		return fail("remove", path, err, "")
	}
	if busy || gated {
		return &BusyError{Path: path}
	}
	var lastErr error
	if last != nil {
		// Read, not mapped: whoever does not keep to this package could shorten the file.
		head := make([]byte, n)
		got, err := unix.Pread(fd, head, 0)
		if err != nil {
			return fail("remove", path, err, "reading its first %d bytes", n)
		}
		lastErr = last(head[:got], int(st.Uid))
	}
	if err := sys.unlink(path); err != nil {
		return errors.Join(openError("remove", path, err), lastErr)
	}
	killpoint.At(killpoint.Unlinked)
	return lastErr
}
