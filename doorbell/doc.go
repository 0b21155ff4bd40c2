// Package doorbell is how one side of a ring sleeps until the other rings.
//
// A bell belongs to one 32-bit word in the segment. The protocol on that word (who
// announces sleep, who clears the announcement, what is checked in between) is the
// ring's; a bell only supplies the two things that need the operating system: sleep
// while the word has a value, and wake those who do. The contract, the same for
// every kind, is that of [Bell]; doorbell_test.go holds every kind to it.
//
// The creator of a segment chooses the kind and writes it into the header. Whoever
// attaches obeys or is refused: two sides on different bells would never meet.
package doorbell

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/futex"
	"github.com/shmring/shmring/internal/spin"
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
	// Wake ends every Sleep in progress, in all processes. The caller has changed the
	// word before, and was is what it was then. It never blocks.
	Wake(was uint32)
	// Stop sets a stop word and ends every Sleep of this process that was given it.
	Stop(stop *atomic.Uint32)
	// Kind is what the segment's header says.
	Kind() layout.Doorbell
}

// ErrUnavailable: the kind of bell that a segment asks for does not work here.
var ErrUnavailable = errors.New("doorbell not available")

// Site is where a bell hangs.
type Site struct {
	Word *atomic.Uint32 // in shared memory
}

// New makes the bell of a site. The error wraps [ErrUnavailable] and the reason.
func New(kind layout.Doorbell, at Site) (Bell, error) {
	switch kind {
	case layout.Futex:
		if err := futex.Refused(); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrUnavailable, kind, err)
		}
		return &futexBell{at.Word}, nil
	case layout.Spin:
		return &spinBell{at.Word}, nil
	}
	return nil, fmt.Errorf("%w: %s is not built into this version", ErrUnavailable, kind)
}

// Probe returns the best kind that works on this system. Where none can sleep, the
// error says why, kind by kind.
func Probe() (layout.Doorbell, error) {
	if err := futex.Refused(); err != nil {
		return 0, fmt.Errorf("%w: %s: %w", ErrUnavailable, layout.Futex, err)
	}
	return layout.Futex, nil
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

// spinBell keeps the contract without the operating system, and without rest.
type spinBell struct{ word *atomic.Uint32 }

var _ Bell = (*spinBell)(nil)

func (b *spinBell) Kind() layout.Doorbell { return layout.Spin }

func (b *spinBell) Sleep(old uint32, limit time.Duration, stops []*atomic.Uint32) (bool, error) {
	for begin := time.Now(); b.word.Load() == old; spin.Yield() {
		for _, s := range stops {
			if s.Load() != 0 {
				return false, nil
			}
		}
		if time.Since(begin) >= limit {
			return true, nil
		}
	}
	return false, nil
}

func (b *spinBell) Wake(uint32) {}

func (b *spinBell) Stop(stop *atomic.Uint32) { stop.Store(1) }
