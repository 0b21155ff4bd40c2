package shm

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/internal/killpoint"
)

// Open attaches to the segment that name means and maps the whole file. It never
// creates anything. If another process is at that moment removing the name, Open
// waits, polling, until that is over or ctx is done.
//
// Errors: fs.ErrNotExist (no such segment), ErrTruncated (shorter than minSize
// bytes, or empty), ErrRefused (not a regular file, or, unless Options.AnyOwner, a
// file of somebody other than us and root, or one that everybody can write),
// ErrBusy together with the error of ctx (waited in vain), [*LimitError] (too large
// for the address space), ErrUnsupported (Options.Locks insists on a kind that the
// system refuses), [*NameError], and otherwise an [*Error] with the cause.
func Open(ctx context.Context, name string, minSize int64, opt *Options) (*Segment, error) {
	opt = opt.orDefault()
	path, err := Path(name, opt)
	if err != nil {
		return nil, err
	}
	for range maxReplaced {
		s, err := openOnce(ctx, name, path, minSize, opt)
		if err != errReplaced {
			return s, err
		}
	}
	return nil, fail("open", path, ErrOrphaned, "replaced %d times in a row while we opened it", maxReplaced)
}

// maxReplaced bounds how often Open and Remove start again because the name came to
// mean another file. Each time costs somebody a removal and a creation.
const maxReplaced = 100

// errReplaced: the name no longer means the file that was opened by it.
var errReplaced = errors.New("replaced while being opened")

func openOnce(ctx context.Context, name, path string, minSize int64, opt *Options) (_ *Segment, err error) {
	if err := ctx.Err(); err != nil {
		return nil, fail("open", path, err, "")
	}
	fd, st, err := openRegular("open", path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = sys.close(fd)
		}
	}()
	killpoint.At(killpoint.FileOpened)
	// Before the lock: a stranger's file must not be able to keep us waiting.
	if err := trusted(path, st, opt); err != nil {
		return nil, err
	}
	if err := shareAttachLock(ctx, fd, path); err != nil {
		return nil, err
	}
	killpoint.At(killpoint.AttachLockShared)
	// The name may have been removed, and created anew, between open and lock. From
	// here on it cannot: removal needs the lock that we share.
	if err := stillNamed("open", path, fd); err != nil {
		return nil, err
	}
	if err := sys.fstat(fd, st); err != nil {
		return nil, fail("stat", path, err, "")
	}
	if st.Size < max(minSize, 1) {
		return nil, fail("open", path, ErrTruncated, "%d bytes; a segment has at least %d", st.Size, max(minSize, 1))
	}
	f := &file{name: name, path: path, fd: fd, opt: opt}
	if err := f.chooseLocks(); err != nil {
		return nil, err
	}
	return f.mapAndAttach(st.Size, Applied{})
}

// Remove unlinks a name that nobody uses. While any process is attached, this one
// included, it waits, for a quarter of a second at most and until ctx is done, because
// the locks of a process may outlive it by a moment. (With a ctx that is done already it
// tries once.) Then it returns a [*BusyError] and has changed nothing. It removes regular
// files only and follows no symbolic link (ErrRefused). With the segment go its lock files,
// and those in the directory of segments that are no more.
//
// Of the options only Dir matters. Errors: fs.ErrNotExist (no such segment), ErrBusy (and
// the error of ctx, if that ended the wait), ErrRefused, [*NameError], and otherwise an
// [*Error] with the cause.
func Remove(ctx context.Context, name string, opt *Options) error {
	return RemoveWith(ctx, name, opt, 0, nil)
}

// RemoveWith is Remove with a last word: when it is sure that nobody uses the segment and
// before the name goes, it calls last with a copy of the first n bytes (fewer if the file
// is shorter) and the file's owner. The name goes whatever last returns; its error is
// returned then.
func RemoveWith(ctx context.Context, name string, opt *Options, n int, last func(head []byte, uid int) error) error {
	path, err := Path(name, opt)
	if err != nil {
		return err
	}
	begin := time.Now()
	replaced := 0
	for pause := attachPollFirst; ; pause = min(2*pause, attachPollMost) {
		err := removeOnce(path, n, last)
		if errors.Is(err, fs.ErrNotExist) {
			_, _ = sweep(path, nil) // somebody else may have unlinked it, with rm for example
			sweepReplacements(path)
		}
		if err == errReplaced {
			if replaced++; replaced == maxReplaced {
				return fail("remove", path, ErrOrphaned, "replaced %d times in a row while we removed it", replaced)
			}
			continue
		}
		if !errors.Is(err, ErrBusy) || time.Since(begin) >= Patience {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		if ctx.Err() != nil { // select takes either, if both are ready
			return &BusyError{Path: path, Err: ctx.Err()}
		}
	}
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
	sweepReplacements(path)
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
