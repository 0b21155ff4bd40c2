package shm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"
)

// lifeLocks are the life locks of one handle. Indexes are 0 and up, and gate.
type lifeLocks interface {
	tryLock(i int) (bool, error)
	unlock(i int) error
	held(i int) (bool, error)
	// again makes those of another handle on the same segment.
	again(f *file) (lifeLocks, error)
	// close drops all of them. It unlocks before it closes, because a child between fork
	// and exec shares the open files, and would keep what only closing drops.
	close() error
}

// chooseLocks settles which kind of life locks the handle uses.
func (f *file) chooseLocks() error {
	kind, told, err := f.opt.locks()
	if err != nil {
		return fail("attach to", f.path, err, "")
	}
	f.told = told
	if f.sealed && kind == Flock {
		return fail("attach to", f.path, ErrUnsupported, "the locks of a sealed segment are on itself, and leave no files: "+
			"leave Options.Locks and %s unset, or give a name", EnvLocks)
	}
	if kind != Flock {
		err := probeOFD(f.fd)
		switch {
		case err == nil:
			kind = OFD
		case !errors.Is(err, ErrUnsupported):
			return fail("attach to", f.path, err, "")
		case f.sealed:
			return fail("attach to", f.path, err, "a sealed segment has no place for lock files: give a name")
		case told:
			return fail("attach to", f.path, err, "leave Options.Locks and %s unset, and flock is used instead", EnvLocks)
		default:
			kind, f.noOFD = Flock, err
		}
	}
	f.setLocks(kind)
	return nil
}

func (f *file) setLocks(kind Locks) {
	f.locks = kind
	f.life = ofdLocks{f}
	if kind == Flock {
		f.life = &flockLocks{f: f, dir: -1, mine: make(map[int]int)}
	}
}

// use changes the kind, while no life lock is held, to that of the segment's others.
func (f *file) use(kind Locks) error {
	switch {
	case kind == f.locks:
		return f.noOtherKind()
	case kind != OFD && kind != Flock:
		return fail("lock", f.path, fs.ErrInvalid, "%v", kind)
	case f.sealed:
		return &LocksError{Path: f.path, Want: kind, Have: f.locks, Err: errSealedLocks}
	case f.told, kind == OFD && f.noOFD != nil:
		return &LocksError{Path: f.path, Want: kind, Have: f.locks, Told: f.told, Err: f.noOFD}
	}
	err := f.life.close()
	f.setLocks(kind)
	return cmp.Or(err, f.noOtherKind())
}

// otherLocks is how many locks of the other kind are looked at where each has a file.
const otherLocks = 256

// noOtherKind refuses to attach where somebody lives by locks of the other kind. The kind
// stands in the segment, and a peer that changes it could make a second participant take
// the place of one that is alive.
func (f *file) noOtherKind() error {
	if f.sealed {
		return nil // there is one kind
	}
	other, held := OFD, false
	var err error
	if f.locks == OFD {
		locks := &flockLocks{f: f, dir: -1}
		held, err = locks.anyHeld(otherLocks)
		_ = locks.close()
		other = Flock
	} else if held, err = lockedFrom(f.fd, lifeBase, 0); errors.Is(err, ErrUnsupported) {
		return nil
	}
	if err != nil {
		return fail("lock", f.path, err, "")
	}
	if held {
		return fail("lock", f.path, ErrRefused,
			"its header says that its users lock by %v, and somebody holds a lock by %v: "+
				"a peer has written what no correct peer writes; end its users, and remove it", f.locks, other)
	}
	return nil
}

// flock sets LOCK_SH, LOCK_EX or LOCK_UN for the open file description of fd, without
// waiting. False means that another description is in the way, and that a lock which
// this one had is lost: the kernel does not convert in one step.
func flock(fd, how int) (bool, error) {
	err := uninterrupted(func() error { return sys.flock(fd, how|unix.LOCK_NB) })
	switch err {
	case nil:
		return true, nil
	case unix.EWOULDBLOCK:
		return false, nil
	default:
		return false, lockError("flock", err)
	}
}

const (
	attachPollFirst = 50 * time.Microsecond
	attachPollMost  = 5 * time.Millisecond
	attachPatience  = time.Second // where there is no context
)

// shareAttachLock takes the attach lock shared, waiting for an exclusive holder until ctx
// is done. A blocking flock could not be called off.
func shareAttachLock(ctx context.Context, fd int, path string) error {
	for pause := attachPollFirst; ; pause = min(2*pause, attachPollMost) {
		ok, err := flock(fd, unix.LOCK_SH)
		if err != nil {
			return fail("attach to", path, err, "")
		}
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fail("attach to", path, fmt.Errorf("%w: %w", ErrBusy, ctx.Err()),
				"another process held the attach lock exclusively all the time")
		case <-time.After(pause):
		}
	}
}

// alone converts the attach lock from shared to exclusive. Where it cannot, it takes it
// shared again, unless the handle is about to leave.
//
// Without the gate a Remove could come in between, where we hold neither:
//
//	alone                         Remove
//	gate                          exclusive attach lock, once the others are gone
//	drop shared                   look at the gate: held, so busy
//	take exclusive, or shared     unlink
func (f *file) alone(leave bool) (bool, error) {
	if f.sealed {
		return false, fmt.Errorf("%w: a sealed segment has no attach lock", ErrUnsupported)
	}
	if !f.gated {
		ok, err := f.life.tryLock(gate)
		if leave && errors.Is(err, ErrOrphaned) {
			// With flock nobody gets another lock of a file that has no name. The gate is not needed: there
			// is nothing that Remove could unlink. Nor have they to leave one after the other: who asks for
			// this lock in vain has none any more, so exactly the last to ask gets it.
			f.exclusive, err = flock(f.fd, unix.LOCK_EX)
			return f.exclusive, err
		}
		if !ok {
			if leave && err == nil {
				_, err = flock(f.fd, unix.LOCK_UN)
			}
			return false, err
		}
		f.gated = true
	}
	if alone, err := flock(f.fd, unix.LOCK_EX); alone || err != nil {
		f.exclusive = alone
		return alone, err
	}
	if leave {
		f.gated = false
		return false, f.life.unlock(gate)
	}
	ctx, cancel := context.WithTimeout(context.Background(), attachPatience)
	defer cancel()
	if err := shareAttachLock(ctx, f.fd, f.path); err != nil {
		return false, err // still gated, so the name is safe
	}
	f.gated = false
	return false, f.life.unlock(gate)
}

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
func lockedByOther(fd int, at int64) (bool, error) { return lockedFrom(fd, at, 1) }

// lockedFrom is lockedByOther for n bytes; 0: all that follow.
func lockedFrom(fd int, at, n int64) (bool, error) {
	lk := unix.Flock_t{Type: unix.F_WRLCK, Whence: unix.SEEK_SET, Start: at, Len: n}
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

func (o ofdLocks) close() error {
	// Len 0 reaches to the end of all offsets. Should it fail, then closing the descriptor
	// drops them, unless a child shares it.
	lk := unix.Flock_t{Type: unix.F_UNLCK, Whence: unix.SEEK_SET, Start: lifeBase + gate}
	_ = uninterrupted(func() error { return sys.fcntl(uintptr(o.f.fd), unix.F_OFD_SETLK, &lk) })
	return nil
}
