package doorbell

import (
	"fmt"
	"io/fs"
	"sync/atomic"

	"github.com/shmring/shmring/futex"
	"github.com/shmring/shmring/layout"
)

// Site is where a bell hangs. View and Segment are for SysV; the others need Word only.
type Site struct {
	Word    *atomic.Uint32 // in shared memory; of SysV, one of the bells of View.Hot
	View    *layout.View
	Segment Segment
}

// Segment is what making a semaphore set needs of a segment; shm.Segment is one.
type Segment interface {
	// TryLock takes a lock that all processes on the segment share, layout.SemaphoreLock,
	// and Unlock gives it back.
	TryLock(i int) (bool, error)
	Unlock(i int) error
	// Owner is whose the file is, and its permission bits, which the set gets too.
	Owner() (uid, gid int, mode fs.FileMode, err error)
}

// New makes the bell of a site. The error wraps [ErrUnavailable] and the reason, which
// may be a [*NamespaceError] or a [*SetError].
func New(kind layout.Doorbell, at Site) (Bell, error) {
	switch kind {
	case layout.Futex:
		if err := Refused(kind); err != nil {
			return nil, err
		}
		return &futexBell{at.Word}, nil
	case layout.SysV:
		return newSysV(at) // whether it works shows when the set is made
	case layout.Poll:
		return newNap(at.Word), nil
	case layout.Spin:
		return &spinBell{at.Word}, nil
	}
	return nil, unknown(kind)
}

func unknown(kind layout.Doorbell) error {
	return fmt.Errorf("%w: %s is not built into this version", ErrUnavailable, kind)
}

// Refusal is a kind of bell that does not work here, and why.
type Refusal struct {
	Kind layout.Doorbell
	Err  error
}

// candidate is a kind and the test whether it works; nil: it always does.
type candidate struct {
	kind    layout.Doorbell
	refused func() error
}

// candidates in the order of preference. Only tests change it.
var candidates = []candidate{{layout.Futex, futex.Refused}, {layout.SysV, sysvRefused}, {layout.Poll, nil}}

// Probe returns the best kind that works on this system, and why better ones do not.
// There is always one: flock needs nothing. Each kind is tried once in a process.
func Probe() (layout.Doorbell, []Refusal) {
	var refusals []Refusal
	for _, c := range candidates {
		err := Refused(c.kind)
		if err == nil {
			return c.kind, refusals
		}
		refusals = append(refusals, Refusal{c.kind, err})
	}
	panic("doorbell: even naps are refused")
}

// Refused tells why a kind does not work here; nil when it does. The error wraps
// [ErrUnavailable] and the reason.
func Refused(kind layout.Doorbell) error {
	if kind == layout.Spin {
		return nil
	}
	for _, c := range candidates {
		if c.kind != kind {
			continue
		}
		if c.refused == nil {
			return nil
		}
		if err := c.refused(); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrUnavailable, kind, err)
		}
		return nil
	}
	return unknown(kind)
}

func stopped(stops []*atomic.Uint32) bool {
	for _, s := range stops {
		if s.Load() != 0 {
			return true
		}
	}
	return false
}
