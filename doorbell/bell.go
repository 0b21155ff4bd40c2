package doorbell

import (
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/futex"
	"github.com/shmring/shmring/layout"
)

// Bell puts the callers of one side to sleep and wakes them. All methods may be
// called by any number of goroutines and processes at once.
type Bell interface {
	// Sleep returns when the word is not old, when Wake was called after it began to
	// sleep, when limit has passed (timedOut), or when one of the stop words, at most
	// four, is not zero. A change of the word or of a stop word between the call and
	// the actual sleep is never missed. It may also return for no reason. An error
	// means that sleeping does not work at all.
	Sleep(old uint32, limit time.Duration, stops []*atomic.Uint32) (timedOut bool, err error)
	// Wake ends every Sleep in progress, in all processes, on the value that the word had
	// before the caller changed it, which is was. It never blocks.
	Wake(was uint32)
	// Stop sets a stop word and ends every Sleep of this process that was given it. It
	// may wait for them to return.
	Stop(stop *atomic.Uint32)
	// Kind is what the segment's header says.
	Kind() layout.Doorbell
}

// ErrUnavailable: the kind of bell that a segment asks for does not work here.
var ErrUnavailable = errors.New("doorbell not available")

// Target is the word that a bell belongs to. View and Segment are for SysV; the others need Word only.
type Target struct {
	Word    *atomic.Uint32 // in shared memory; of SysV, one of the bells of View.Hot
	View    *layout.View
	Segment Segment
	Inode   uint64 // of the segment's file
}

// File is what the set of a segment is known by, besides its configuration.
type File struct {
	Inode uint64 // of the segment
	Owner int    // its user id
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

// New makes a bell. The error wraps [ErrUnavailable] and the reason, which
// may be a [*NamespaceError] or a [*SetError].
func New(kind layout.Doorbell, at Target) (Bell, error) {
	switch kind {
	case layout.Futex:
		if err := Refused(kind); err != nil {
			return nil, err
		}
		return &futexBell{at.Word}, nil
	case layout.SysV:
		return newSysV(at) // whether it works shows when the set is made
	case layout.Poll:
		return newPoll(at.Word), nil
	}
	return nil, unknown(kind)
}

// NewWaker makes a bell for one who only wakes. It makes nothing and asks nothing, and needs
// no Segment; a set of semaphores that is not there has no sleepers.
func NewWaker(kind layout.Doorbell, at Target) Bell {
	switch kind {
	case layout.SysV:
		return sysvWaker(at)
	case layout.Poll:
		return newPoll(at.Word)
	}
	return &futexBell{at.Word}
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
// There is always one: poll needs nothing. Each kind is tried once in a process.
func Probe() (layout.Doorbell, []Refusal) {
	var refusals []Refusal
	for _, c := range candidates {
		err := Refused(c.kind)
		if err == nil {
			return c.kind, refusals
		}
		refusals = append(refusals, Refusal{c.kind, err})
	}
	panic("doorbell: even polling is refused")
}

// Refused tells why a kind does not work here; nil when it does. The error wraps
// [ErrUnavailable] and the reason.
func Refused(kind layout.Doorbell) error {
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

type futexBell struct{ word *atomic.Uint32 }

var _ Bell = (*futexBell)(nil)

func (b *futexBell) Kind() layout.Doorbell { return layout.Futex }

func (b *futexBell) Sleep(old uint32, limit time.Duration, stops []*atomic.Uint32) (bool, error) {
	r, err := futex.Wait(b.word, old, limit, stops...)
	return r == futex.TimedOut, err
}

// Wake wakes all: a stranger that waits on the word without need must not be able
// to swallow the one wake that was meant for the sleeper. An error would mean that
// the memory is gone, which the next access to it reports better.
func (b *futexBell) Wake(uint32) { _ = futex.WakeAll(b.word) }

func (b *futexBell) Stop(stop *atomic.Uint32) { futex.Stop(stop) }
