// Package futex sleeps and wakes on one 32-bit word that processes share.
//
// Invariants:
//
//   - A word in shared memory is never waited for with the PRIVATE flag: such a
//     wait is keyed by address space, and a wake from another process, or from
//     another mapping in this one, would find nobody.
//   - A wait goes through Syscall6, so the scheduler can hand this goroutine's P to
//     others; a wake never blocks and goes through RawSyscall6.
//   - Deadlines are absolute on CLOCK_MONOTONIC, so a signal cannot stretch them.
//   - The kernel compares the word with the expected value under its own lock, after
//     this package was called and before it sleeps. A change in between ends the
//     wait at once; that is the whole of what makes sleeping safe. What the value
//     means is the caller's business.
//
// A goroutine that waits here occupies one operating system thread.
package futex

import "errors"

// Result says why a wait ended.
type Result uint8

const (
	// Woken: somebody woke the word, or it was not the expected value any more, or a
	// signal came by. The caller looks at its condition again.
	Woken Result = iota
	// TimedOut: the time given passed.
	TimedOut
	// Stopped: one of the stop words is not zero.
	Stopped
)

// ErrUnsupported: this system has no futex, or a sandbox refuses it. It matches
// errors.ErrUnsupported.
var ErrUnsupported error = unsupported{}

type unsupported struct{}

func (unsupported) Error() string        { return "futex: not available on this system" }
func (unsupported) Is(target error) bool { return target == errors.ErrUnsupported }

// maxStops is how many stop words one wait can have.
const maxStops = 4
