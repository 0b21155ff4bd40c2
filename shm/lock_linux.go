package shm

import (
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
	// close drops all that are not dropped with the descriptor of the segment.
	close() error
}

// chooseLocks settles which kind of life locks the handle uses.
func (f *file) chooseLocks() error {
	kind, told, err := f.opt.locks()
	if err != nil {
		return fail("attach to", f.path, err, "")
	}
	f.told = told
	if kind != Flock {
		err := probeOFD(f.fd)
		switch {
		case err == nil:
			kind = OFD
		case !errors.Is(err, ErrUnsupported):
			return fail("attach to", f.path, err, "")
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
		return nil
	case kind != OFD && kind != Flock:
		return fail("lock", f.path, fs.ErrInvalid, "%v", kind)
	case f.told, kind == OFD && f.noOFD != nil:
		return &LocksError{Path: f.path, Want: kind, Have: f.locks, Told: f.told, Err: f.noOFD}
	}
	err := f.life.close()
	f.setLocks(kind)
	return err
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
	adminPollFirst = 50 * time.Microsecond
	adminPollMost  = 5 * time.Millisecond
	adminPatience  = time.Second // where there is no context
)

// shareAdmin takes the admin lock shared, waiting for an exclusive holder until ctx
// is done. A blocking flock could not be called off.
func shareAdmin(ctx context.Context, fd int, path string) error {
	for pause := adminPollFirst; ; pause = min(2*pause, adminPollMost) {
		ok, err := flock(fd, unix.LOCK_SH)
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

// alone converts the admin lock from shared to exclusive.
//
// Without the gate a Remove could come in between, where we hold neither:
//
//	alone                         Remove
//	gate                          exclusive admin lock, once the others are gone
//	drop shared                   look at the gate: held, so busy
//	take exclusive, or shared     unlink
func (f *file) alone() (bool, error) {
	if !f.gated {
		ok, err := f.life.tryLock(gate)
		if !ok {
			return false, err
		}
		f.gated = true
	}
	if alone, err := flock(f.fd, unix.LOCK_EX); alone || err != nil {
		return alone, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), adminPatience)
	defer cancel()
	if err := shareAdmin(ctx, f.fd, f.path); err != nil {
		return false, err // still gated, so the name is safe
	}
	f.gated = false
	return false, f.life.unlock(gate)
}
