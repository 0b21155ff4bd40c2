//go:build !linux

package futex

import (
	"sync/atomic"
	"time"
)

// Slice is meaningless without futexes.
const Slice = 5 * time.Millisecond

// Wait reports ErrUnsupported.
func Wait(*atomic.Uint32, uint32, time.Duration, ...*atomic.Uint32) (Result, error) {
	return TimedOut, ErrUnsupported
}

// Wake reports ErrUnsupported.
func Wake(*atomic.Uint32, int) (int, error) { return 0, ErrUnsupported }

// WakeAll reports ErrUnsupported.
func WakeAll(*atomic.Uint32) error { return ErrUnsupported }

// Stop sets a stop word.
func Stop(stop *atomic.Uint32) { stop.Store(1) }

// Refused tells that there are no futexes here.
func Refused() error { return ErrUnsupported }

// VectorRefused tells that there are no futexes here.
func VectorRefused() error { return ErrUnsupported }
