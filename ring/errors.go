package ring

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/shmring/shmring/layout"
)

// "Not now" and "not like this", compared with errors.Is or ==.
var (
	// ErrFull: no room for this message at present. A record lies in one piece: where it does
	// not fit into what is left of the lap, that is padded first, which the consumer has to pass.
	// So a message of more than half the ring may be refused though the ring is empty.
	ErrFull = errors.New("shmring: ring is full")
	// ErrEmpty: no message at present.
	ErrEmpty = errors.New("shmring: ring is empty")
	// ErrContended: other producers won every one of many races for the next slot, in
	// one call. Try again; a peer that keeps this up is broken.
	ErrContended = errors.New("shmring: lost every race for a slot")
	// ErrTooLarge: no ring of this geometry will ever take the message. See *SizeError.
	ErrTooLarge = errors.New("shmring: message too large")
	// ErrClosed: this handle was closed. It is os.ErrClosed.
	ErrClosed = os.ErrClosed
	// ErrEnded: this producer has ended its stream and can send no more.
	ErrEnded = errors.New("shmring: stream was ended")
	// ErrPeerDead: a producer died without ending its stream. See *StreamError.
	ErrPeerDead = errors.New("shmring: peer died")
	// ErrFailed: a producer has said that what it sent is not the whole. See *StreamError.
	ErrFailed = errors.New("shmring: stream failed")
	// ErrBusy: the role is taken. See *BusyError.
	ErrBusy = errors.New("shmring: role is taken")
	// ErrBroadcast: a broadcast ring has no consumer, and keeps nothing for one.
	ErrBroadcast = errors.New("shmring: not with a broadcast ring")
	// ErrCorrupt: the segment contains what no correct peer writes. See *CorruptError.
	ErrCorrupt = layout.ErrCorrupt
)

// SizeError tells how large a message may be.
type SizeError struct{ Size, Max int }

func (e *SizeError) Error() string {
	return fmt.Sprintf("shmring: message of %d bytes is too large: this ring takes at most %d "+
		"(MaxMessage, fixed when it was created)", e.Size, e.Max)
}

// Is makes the error match ErrTooLarge.
func (e *SizeError) Is(target error) bool { return target == ErrTooLarge }

// CorruptError tells what was found where. The handle that returned it is of no further
// use.
type CorruptError struct {
	Field    string // which word
	Position uint64 // of the record or claim it belongs to
	Got      uint64
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("shmring: corrupt ring: %s is %#x at position %d: "+
		"a peer has written what no correct peer writes; remove the ring and create it anew",
		e.Field, e.Got, e.Position)
}

// Unwrap returns ErrCorrupt.
func (e *CorruptError) Unwrap() error { return ErrCorrupt }

// BusyError names who holds the role that was asked for.
type BusyError struct {
	Role  layout.Role
	PID   int // of the holder, as it sees itself; 0 when several hold it or none wrote it down
	Slots int // participant slots for this role
	// Draining is how many of those only wait for the consumer to pass what their dead owners
	// left.
	Draining int
}

func (e *BusyError) Error() string {
	switch {
	case e.Role == layout.RoleConsumer:
		return fmt.Sprintf("shmring: this ring has a consumer already (pid %d); it admits one", e.PID)
	case e.Slots == 1 && e.Draining == 0:
		return fmt.Sprintf("shmring: this ring has a producer already (pid %d); it admits one", e.PID)
	case e.Draining > 0:
		return fmt.Sprintf("shmring: all %d producer slots are taken, "+
			"%d of them until the consumer has passed what their former owners left", e.Slots, e.Draining)
	}
	return fmt.Sprintf("shmring: all %d producer slots are taken by live producers "+
		"(MaxProducers, fixed when the ring was created)", e.Slots)
}

// Is makes the error match ErrBusy.
func (e *BusyError) Is(target error) bool { return target == ErrBusy }

// StreamError says that the stream of a producer, or several in a row, did not end well.
// Everything that was sent was delivered before.
type StreamError struct{ StreamEnd }

func (e *StreamError) Error() string {
	who, what, worst := "a producer", "died without ending its stream", "died"
	if e.PID != 0 {
		who = fmt.Sprintf("producer (pid %d)", e.PID)
	}
	if e.Fate == layout.FateFailed {
		what, worst = "says that what it sent is not the whole", "failed"
	}
	if e.Streams > 1 {
		return fmt.Sprintf("shmring: %d streams were over before a consumer came, more than the ring remembers: "+
			"the worst of them %s", e.Streams, worst)
	}
	return "shmring: " + who + " " + what
}

// Is makes the error match ErrPeerDead or ErrFailed.
func (e *StreamError) Is(target error) bool {
	return target == ErrPeerDead && e.Fate == layout.FateDied || target == ErrFailed && e.Fate == layout.FateFailed
}

// errTimeout is the cause of a ContextError that no context caused.
var errTimeout = errors.New("send timeout")

// ContextError is how a blocking call ends with its context, or with
// Config.SendTimeout. It matches the context's error and its cause, and
// os.ErrDeadlineExceeded when it was a deadline.
type ContextError struct {
	Op    string
	Err   error // context.Canceled or context.DeadlineExceeded
	Cause error
}

func (e *ContextError) Error() string {
	if e.Cause != nil && e.Cause != e.Err {
		return "shmring: " + e.Op + ": " + e.Err.Error() + ": " + e.Cause.Error()
	}
	return "shmring: " + e.Op + ": " + e.Err.Error()
}

// Unwrap returns the context's error and its cause.
func (e *ContextError) Unwrap() []error { return []error{e.Err, e.Cause} }

// Is adds os.ErrDeadlineExceeded for deadlines.
func (e *ContextError) Is(target error) bool {
	return target == os.ErrDeadlineExceeded && e.Timeout()
}

// Timeout reports whether a deadline ended the call.
func (e *ContextError) Timeout() bool { return errors.Is(e.Err, context.DeadlineExceeded) }

func contextError(op string, ctx context.Context) error {
	return &ContextError{op, ctx.Err(), context.Cause(ctx)}
}
