package shm

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
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
	if err := ctx.Err(); err != nil {
		return nil, fail("open", path, err, "")
	}
	at, err := openPlace(path)
	if err != nil {
		return nil, openError("open", path, err)
	}
	defer at.close()
	for range maxReplaced {
		s, err := openOnce(ctx, name, &at, minSize, opt)
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

func openOnce(ctx context.Context, name string, at *place, minSize int64, opt *Options) (_ *Segment, err error) {
	if err := ctx.Err(); err != nil {
		return nil, fail("open", at.path, err, "")
	}
	fd, st, err := at.openRegular("open")
	if err != nil {
		return nil, err
	}
	f := &file{name: name, place: place{dir: -1}, fd: fd, opt: opt}
	defer func() {
		if err != nil {
			f.forget()
			_ = sys.close(fd)
		}
	}()
	killpoint.At(killpoint.FileOpened)
	// Before the lock: a stranger's file must not be able to keep us waiting.
	if err := opt.trusted(at.path, st); err != nil {
		return nil, err
	}
	if f.place, err = at.again(); err != nil {
		return nil, err
	}
	if err := shareAttachLock(ctx, fd, at.path); err != nil {
		return nil, err
	}
	killpoint.At(killpoint.AttachLockShared)
	// The name may have been removed, and created anew, between open and lock. From
	// here on it cannot: removal needs the lock that we share.
	if err := at.named("open", fd); err != nil {
		return nil, err
	}
	if err := f.judge(ctx, minSize, st); err != nil {
		return nil, err
	}
	if err := f.chooseLocks(); err != nil {
		return nil, err
	}
	return f.mapAndAttach(ctx, st.Size)
}

// judge looks at the file from outside before anything of it is mapped: a peer may have made
// it as long as it likes. st is its status as of now.
func (f *file) judge(ctx context.Context, minSize int64, st *unix.Stat_t) error {
	if err := f.oneName(ctx, st); err != nil {
		return err
	}
	// What the name meant before we had the lock was another status, perhaps.
	if err := f.opt.trusted(f.path, st); err != nil {
		return err
	}
	return f.judgeFixed(minSize, st)
}

// judgeFixed is judge for a file whose names and owner do not matter.
func (f *file) judgeFixed(minSize int64, st *unix.Stat_t) error {
	least := max(minSize, int64(f.opt.Fixed), 1)
	if st.Size < least {
		return fail("open", f.path, ErrTruncated, "%d bytes; a segment has at least %d", st.Size, least)
	}
	if f.opt.Fixed == 0 {
		return nil
	}
	f.fixed = make([]byte, f.opt.Fixed)
	n, err := sys.pread(f.fd, f.fixed, 0)
	switch {
	case err != nil:
		return fail("open", f.path, err, "reading its first %d bytes", len(f.fixed))
	case n < len(f.fixed):
		return fail("open", f.path, ErrTruncated, "%d bytes; a segment has at least %d", n, least)
	case f.opt.Judge == nil:
		return nil
	}
	return f.opt.Judge(f.fixed, st.Size)
}

// linkPatience is how long a file may have two names: while it is created where the system
// has no rename that does not replace.
const linkPatience = 100 * time.Millisecond

// oneName refuses a file that has other names. Whoever gave it them has it still when this one
// is removed; and it may be none of ours, but what somebody wants us to write into.
func (f *file) oneName(ctx context.Context, st *unix.Stat_t) error {
	waited := false
	for begin := time.Now(); ; waited = true {
		if err := sys.fstat(f.fd, st); err != nil {
			return fail("stat", f.path, err, "")
		}
		switch {
		case st.Nlink > 1 && !f.opt.AnyOwner:
		case waited: // the one that is left may be another
			return f.named("open", f.fd)
		default:
			return nil
		}
		if time.Since(begin) > linkPatience || ctx.Err() != nil {
			return fail("open", f.path, ErrRefused, "inode %d has %d names: unlink the others (find %s -inum %[1]d), or set "+
				"Options.AnyOwner to trust it", st.Ino, st.Nlink, filepath.Dir(f.path))
		}
		time.Sleep(attachPollMost)
	}
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
// is shorter), and the number of its inode and its owner. The name goes whatever last returns, unless
// that is ErrKeep; its error is returned then.
func RemoveWith(ctx context.Context, name string, opt *Options, n int, last func(head []byte, inode uint64,
	uid int) error) error {
	path, err := Path(name, opt)
	if err != nil {
		return err
	}
	at, err := openPlace(path)
	if err != nil {
		return openError("remove", path, err)
	}
	defer at.close()
	begin := time.Now()
	replaced := 0
	for pause := attachPollFirst; ; pause = min(2*pause, attachPollMost) {
		err := removeOnce(&at, n, last)
		if errors.Is(err, fs.ErrNotExist) {
			_, _ = at.sweep(nil) // somebody else may have unlinked it, with rm for example
			at.sweepReplacements()
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

func removeOnce(at *place, n int, last func(head []byte, inode uint64, uid int) error) error {
	fd, st, err := at.openRegular("remove")
	if err != nil {
		return err
	}
	defer func() { _ = sys.close(fd) }() // and the lock with it, after the unlink
	alone, err := flock(fd, unix.LOCK_EX)
	if err != nil {
		return fail("remove", at.path, err, "")
	}
	if !alone {
		return &BusyError{Path: at.path}
	}
	killpoint.At(killpoint.AttachLockAlone)
	// The name may mean a newer file by now, which others are attached to.
	if err := at.named("remove", fd); err != nil {
		return err
	}
	// The lock files first: who is killed in between leaves a segment, and the next
	// Remove does the rest.
	busy, err := at.sweep(st)
	if err != nil {
		return err
	}
	gated, err := lockedByOther(fd, lifeBase+gate)
	if err != nil && !errors.Is(err, ErrUnsupported) {
		return fail("remove", at.path, err, "")
	}
	if busy || gated {
		return &BusyError{Path: at.path}
	}
	at.sweepReplacements()
	var lastErr error
	if last != nil {
		// Read, not mapped: whoever does not keep to this package could shorten the file.
		head := make([]byte, n)
		got, err := sys.pread(fd, head, 0)
		if err != nil {
			return fail("remove", at.path, err, "reading its first %d bytes", n)
		}
		if lastErr = last(head[:got], st.Ino, int(st.Uid)); lastErr == ErrKeep {
			return ErrKeep
		}
	}
	if err := at.unlink(); err != nil {
		return errors.Join(openError("remove", at.path, err), lastErr)
	}
	killpoint.At(killpoint.Unlinked)
	at.lockDirectory(st.Ino).dropLockDirectory(st)
	return lastErr
}
