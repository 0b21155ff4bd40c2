package shm

import (
	"context"
	"errors"

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
	if err := shareAdmin(ctx, fd, path); err != nil {
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
