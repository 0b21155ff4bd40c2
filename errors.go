package shmring

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
	"github.com/shmring/shmring/shm"
)

// Errors to be compared with errors.Is. ErrFull, ErrEmpty and ErrContended mean "not now"
// and are returned as they are. Errors that are news come as types that name the ring.
// Besides these, files that are or are not there give fs.ErrExist and fs.ErrNotExist,
// options that cannot be an [*OptionError], contexts a [*ContextError], and a full memory
// file system a [*SpaceError].
var (
	ErrFull        = ring.ErrFull          // no room at present, or no such piece: docs/DELIVERY.md has the rule
	ErrEmpty       = ring.ErrEmpty         // no message at present
	ErrContended   = ring.ErrContended     // a Try call lost every race for a slot
	ErrTooLarge    = ring.ErrTooLarge      // this ring never takes that message: *SizeError
	ErrClosed      = ring.ErrClosed        // this handle was closed: os.ErrClosed
	ErrEnded       = ring.ErrEnded         // this producer has ended its stream
	ErrPeerDead    = ring.ErrPeerDead      // a producer died: *StreamError
	ErrFailed      = ring.ErrFailed        // a producer said that what it sent is not the whole: *StreamError
	ErrBusy        = ring.ErrBusy          // the role is taken (*BusyError), or the ring is in use
	ErrNotStalled  = ring.ErrNotStalled    // ForceSkip: there is no unfinished claim at that position
	ErrNoMessage   = ring.ErrNoMessage     // there is none at that position: *StartError
	ErrRevoked     = ring.ErrRevoked       // this producer stalled, and ForceSkip has revoked its claim
	ErrBroadcast   = ring.ErrBroadcast     // a broadcast ring has no consumer and gets no new geometry: *BroadcastError
	ErrOrphaned    = shm.ErrOrphaned       // the ring's name was removed or replaced while it was in use
	ErrTruncated   = shm.ErrTruncated      // the ring's file is shorter than it must be, or has holes: *TruncatedError
	ErrRefused     = shm.ErrRefused        // what the name means cannot be trusted to be a ring, see Options.AnyOwner
	ErrCorrupt     = layout.ErrCorrupt     // *CorruptError, *TruncatedError, *FormatError, or the file was changed
	ErrFormat      = layout.ErrFormat      // the file is no ring: *FormatError
	ErrVersion     = layout.ErrVersion     // the ring is of another version: *FormatError
	ErrUnsupported = errors.ErrUnsupported // this platform or system cannot do it
)

// ErrNoPeer means "not now": nobody is at the other end, and Options.NoPeer is NoPeerFail.
var ErrNoPeer = errors.New("shmring: nobody is at the other end")

// prefix begins the text of an error about a ring.
func prefix(name string) string {
	if name == "" {
		return "shmring: "
	}
	return "shmring: ring " + name + ": "
}

// SizeError tells how large a message may be.
type SizeError struct {
	Ring      string
	Size, Max int // bytes
}

// Error names the ring and both sizes.
func (e *SizeError) Error() string {
	return fmt.Sprintf("%smessage of %d bytes is too large: "+
		"this ring takes at most %d (MaxMessage, fixed when it was created)", prefix(e.Ring), e.Size, e.Max)
}

// Is makes the error match ErrTooLarge.
func (e *SizeError) Is(target error) bool { return target == ErrTooLarge }

// CorruptError tells what was found where. The handle that returned it is of no use any
// more: every later call returns the same error.
type CorruptError struct {
	Ring     string
	Field    string   // which word
	Position Position // of the record or claim that the word belongs to
	Got      uint64
}

// Error names the ring, the word and the remedy.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("%scorrupt: %s is %#x at position %v: "+
		"a peer has written what no correct peer writes; remove the ring and create it anew",
		prefix(e.Ring), e.Field, e.Got, e.Position)
}

// Unwrap returns ErrCorrupt.
func (e *CorruptError) Unwrap() error { return ErrCorrupt }

// TruncatedError tells that the file of a ring was truncated, or has holes, while it was in use. The
// handle that returned it is of no use any more, as after a [*CorruptError].
type TruncatedError struct {
	Ring   string
	Path   string
	Size   int64 // of the file, in bytes
	Memory int64 // how many bytes of it have memory, as far as the file system tells
	Want   int64 // how many bytes the ring has
}

// Error names the ring, the file, the numbers and the remedy.
func (e *TruncatedError) Error() string {
	return prefix(e.Ring) + strings.TrimPrefix((&shm.TruncatedError{
		Path: e.Path, Size: e.Size, Memory: e.Memory, Want: e.Want}).Error(), "shm: ")
}

// Is makes the error match ErrTruncated and ErrCorrupt.
func (e *TruncatedError) Is(target error) bool { return target == ErrTruncated || target == ErrCorrupt }

// StartError tells why an [Observer] cannot begin where it was to ([FromPosition], [FromAfter]).
type StartError struct {
	Ring     string
	Position Position
	Why      string
}

// Error names the ring, the position and the remedy.
func (e *StartError) Error() string {
	return fmt.Sprintf("%sno message begins at position %v: %s; begin with the oldest (FromOldest)", prefix(e.Ring),
		e.Position, e.Why)
}

// Is makes the error match ErrNoMessage.
func (e *StartError) Is(target error) bool { return target == ErrNoMessage }

// Role is what a participant does in a ring.
type Role string

const (
	RoleConsumer Role = "consumer"
	RoleProducer Role = "producer"
)

// BusyError tells who holds the role that was asked for.
type BusyError struct {
	Ring     string
	Role     Role
	PID      int // of the holder, as it sees itself; 0 when several hold it or none wrote it down
	Slots    int // participant slots for this role
	Draining int // of those, how many only wait for the consumer to pass what their dead owners left
}

// Error names the ring and the holder.
func (e *BusyError) Error() string {
	switch {
	case e.Role == RoleConsumer:
		return fmt.Sprintf("%sthere is a consumer already (pid %d); a ring admits one", prefix(e.Ring), e.PID)
	case e.Slots == 1 && e.Draining == 0:
		return fmt.Sprintf("%sthere is a producer already (pid %d); this ring admits one", prefix(e.Ring), e.PID)
	case e.Draining > 0:
		return fmt.Sprintf("%sall %d producer slots are taken, "+
			"%d of them until the consumer has passed what their former owners left", prefix(e.Ring), e.Slots, e.Draining)
	}
	return fmt.Sprintf("%sall %d producer slots are taken by live producers "+
		"(MaxProducers, fixed when the ring was created)", prefix(e.Ring), e.Slots)
}

// Is makes the error match ErrBusy.
func (e *BusyError) Is(target error) bool { return target == ErrBusy }

// BroadcastError tells what a broadcast ring does not have, and what to do instead.
type BroadcastError struct {
	Ring string
	What string // "a consumer", "another geometry"
	Next string
}

// Error names the ring, what was asked of it, and the remedy.
func (e *BroadcastError) Error() string {
	return fmt.Sprintf("%sa broadcast ring does not have %s: %s", prefix(e.Ring), e.What, e.Next)
}

// Is makes the error match ErrBroadcast.
func (e *BroadcastError) Is(target error) bool { return target == ErrBroadcast }

// StreamError says that the stream of a producer died or failed, behind its last message.
// The consumer goes on: its next call waits for other producers, or for a successor.
type StreamError struct {
	Ring string
	StreamEnd
}

// Error names the ring and the producer.
func (e *StreamError) Error() string {
	return prefix(e.Ring) + strings.TrimPrefix((&ring.StreamError{StreamEnd: e.StreamEnd.inRing()}).Error(), prefix(""))
}

// Is makes the error match ErrPeerDead or ErrFailed.
func (e *StreamError) Is(target error) bool {
	return target == ErrPeerDead && e.Fate == FateDied || target == ErrFailed && e.Fate == FateFailed
}

// ContextError is how a blocking call ends with its context, or with Options.SendTimeout. It
// matches the context's error and its cause, and os.ErrDeadlineExceeded when it was a
// deadline.
type ContextError struct {
	Ring  string // empty: of a Poller
	Op    string // what was being done: "open", "send", "claim", "receive", …
	Err   error  // context.Canceled or context.DeadlineExceeded
	Cause error
}

// Error names the ring, what was being done, and why it ended.
func (e *ContextError) Error() string {
	text := prefix(e.Ring) + e.Op + ": " + e.Err.Error()
	if e.Cause != nil && e.Cause != e.Err {
		text += ": " + e.Cause.Error()
	}
	return text
}

// Unwrap returns the context's error and its cause.
func (e *ContextError) Unwrap() []error { return []error{e.Err, e.Cause} }

// Is adds os.ErrDeadlineExceeded for deadlines.
func (e *ContextError) Is(target error) bool {
	return target == os.ErrDeadlineExceeded && e.Timeout()
}

// Timeout reports whether a deadline ended the call.
func (e *ContextError) Timeout() bool { return errors.Is(e.Err, context.DeadlineExceeded) }

// FormatError tells which field of a file's header keeps it from being opened as a ring.
type FormatError struct {
	Path  string
	Field string
	Got   string
	Want  string
	Err   error // ErrFormat, ErrVersion or ErrCorrupt
}

// Error names the file and the field.
func (e *FormatError) Error() string {
	return fmt.Sprintf("shmring: %s: %v: %s is %s, want %s", e.Path, e.Err, e.Field, e.Got, e.Want)
}

// Unwrap returns Err.
func (e *FormatError) Unwrap() error { return e.Err }

// GeometryError tells that a ring that exists is not the one that the options ask for.
type GeometryError struct {
	Path  string
	Field string // "kind", "slots", "slot size", "max message", "max producers" or "doorbell"
	Got   any    // what the ring has
	Want  any    // what the options ask for

	fromEnv bool
}

// Error names the file, the field and the remedy.
func (e *GeometryError) Error() string {
	if e.fromEnv {
		return fmt.Sprintf("shmring: %s: ring has %s %v, the environment variable %s asks for %v: "+
			"unset it to take the ring as it is, or remove the ring", e.Path, e.Field, e.Got, EnvDoorbell, e.Want)
	}
	anew := "or remove the ring"
	switch e.Field {
	case "slots", "slot size", "max message", "max producers":
		anew = "or resize the ring (Resize, shmring resize)"
	}
	return fmt.Sprintf("shmring: %s: ring has %s %v, options ask for %v: "+
		"leave the option at zero to take the ring as it is, %s", e.Path, e.Field, e.Got, e.Want, anew)
}

// SpaceError tells that a ring does not fit into its memory file system. It matches
// syscall.ENOSPC or syscall.EDQUOT.
type SpaceError struct {
	Dir  string
	Need uint64 // bytes asked for
	Free uint64 // bytes available before we took any
	Err  error
}

// Error states both numbers and what to do about them.
func (e *SpaceError) Error() string { return (*shm.SpaceError)(e).Error() }

// Unwrap returns Err.
func (e *SpaceError) Unwrap() error { return e.Err }

// named returns an error of package ring, or of package shm about the bytes of a ring, as one of
// this package's that names the ring.
func named(name string, err error) error {
	if err == ring.ErrBroadcast {
		return &BroadcastError{name, "a consumer", "observe it (OpenObserver, shmring tap)"}
	}
	switch e := err.(type) {
	case *ring.SizeError:
		return &SizeError{name, e.Size, e.Max}
	case *ring.StartError:
		return &StartError{name, Position(e.Position), e.Why}
	case *ring.CorruptError:
		return &CorruptError{name, e.Field, Position{Record: e.Position}, e.Got}
	case *ring.BusyError:
		return &BusyError{name, Role(e.Role.String()), e.PID, e.Slots, e.Draining}
	case *ring.StreamError:
		return &StreamError{name, streamEndOf(e.StreamEnd)}
	case *ring.ContextError:
		return &ContextError{name, e.Op, e.Err, e.Cause}
	case *shm.TruncatedError:
		return &TruncatedError{name, e.Path, e.Size, e.Memory, e.Want}
	case *shm.Error:
		if errors.Is(e, shm.ErrChanged) {
			return changed{e}
		}
	}
	return err
}

// ofFile returns an error of opening or creating a file as one of this package's.
func ofFile(path string, err error) error {
	if e, ok := errors.AsType[*layout.FieldError](err); ok {
		return &FormatError{path, e.Field, e.Got, e.Want, e.Err}
	}
	if e, ok := errors.AsType[*shm.SpaceError](err); ok {
		return (*SpaceError)(e)
	}
	if e, ok := errors.AsType[*shm.TruncatedError](err); ok {
		return &TruncatedError{path, e.Path, e.Size, e.Memory, e.Want}
	}
	if errors.Is(err, shm.ErrChanged) { // while it was being opened
		return changed{err}
	}
	return err
}

// several are errors told in one line.
type several []error

func (e several) Error() string {
	texts := make([]string, len(e))
	for i, err := range e {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (e several) Unwrap() []error { return e }

// joined is errors.Join in one line: a log is read line by line. What another error
// contains already is not told twice.
func joined(errs ...error) error {
	var list several
	for i, err := range errs {
		if err != nil && !slices.ContainsFunc(errs[:i], func(e error) bool { return errors.Is(e, err) }) {
			list = append(list, err)
		}
	}
	switch len(list) {
	case 0:
		return nil
	case 1:
		return list[0]
	}
	return list
}

// changed makes an error of package shm that says that bytes of the ring are not what they were
// match ErrCorrupt: the handle must not touch them any more.
type changed struct{ error }

func (e changed) Is(target error) bool { return target == ErrCorrupt }
func (e changed) Unwrap() error        { return e.error }

// inUse makes an error match ErrBusy.
type inUse struct{ error }

func (e inUse) Is(target error) bool { return target == ErrBusy }
func (e inUse) Unwrap() error        { return e.error }
