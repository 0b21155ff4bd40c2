package shm

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

var (
	// ErrBusy: somebody is attached to the segment; see [BusyError].
	ErrBusy = errors.New("busy")
	// ErrOrphaned: the file no longer has its name, so nobody new can reach it.
	ErrOrphaned = errors.New("orphaned: the name is gone or means another file")
	// ErrTruncated: the file is shorter than it must be, or has holes.
	ErrTruncated = errors.New("truncated")
	// ErrChanged: what never changes of a segment has changed: its length, or the bytes that
	// Options.Fixed counts.
	ErrChanged = errors.New("changed")
	// ErrRefused: what the name means cannot be trusted to be a segment: not a
	// regular file, a foreign owner, or a mode that lets everybody write.
	ErrRefused = errors.New("refused")
	// ErrHeld: the lock byte is already held through this very handle.
	ErrHeld = errors.New("already held through this handle")
	// ErrNotHeld: the lock byte to be unlocked is not held through this handle.
	ErrNotHeld = errors.New("not held through this handle")
	// ErrKeep is what the last word of RemoveWith returns that wants the segment to stay.
	ErrKeep = errors.New("not to be removed")
	// ErrUnsupported: this platform, kernel or file system cannot do it.
	// errors.Is(err, errors.ErrUnsupported) holds as well.
	ErrUnsupported = fmt.Errorf("shm: not available here: %w", errors.ErrUnsupported)
)

// Error is a failed step on a segment file.
type Error struct {
	Op   string // the step, as in "open" or "lock byte 3 of"
	Path string // the file, or the name where there is no file
	Err  error  // the cause, often a syscall.Errno
	Hint string // numbers and remedy, or empty
}

// Error returns "shm: OP PATH: ERR (HINT)".
func (e *Error) Error() string {
	text := "shm: " + e.Op + " " + e.Path + ": " + e.Err.Error()
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

func fail(op, path string, err error, hint string, args ...any) error {
	return &Error{Op: op, Path: path, Err: err, Hint: fmt.Sprintf(hint, args...)}
}

// remedyForDamage is for files that somebody has changed who may write them.
const remedyForDamage = "somebody who may write it has done that: close, and remove it"

// TruncatedError tells how much is left of a segment that was truncated, or has holes.
// errors.Is(err, ErrTruncated) holds.
type TruncatedError struct {
	Path   string
	Size   int64 // of the file, in bytes
	Memory int64 // how many bytes of it have memory, as far as the file system tells
	Want   int64 // how many bytes the segment has
}

// Error states the numbers, and the remedy.
func (e *TruncatedError) Error() string {
	return fmt.Sprintf("shm: %s: truncated: %s; %s", e.Path, e.left(), remedyForDamage)
}

func (e *TruncatedError) left() string {
	if e.Size < e.Want {
		return fmt.Sprintf("%d bytes are left of %d", e.Size, e.Want)
	}
	return fmt.Sprintf("%d of its %d bytes have memory, the rest are holes", e.Memory, e.Want)
}

// Unwrap returns ErrTruncated.
func (e *TruncatedError) Unwrap() error { return ErrTruncated }

// BusyError tells that a name was not removed because the file behind it is in use.
// errors.Is(err, ErrBusy) holds.
type BusyError struct {
	Path string
	Err  error // of the context that ended the wait, or nil
}

// Error names the file and the remedy.
func (e *BusyError) Error() string {
	text := "shm: remove " + e.Path + ": busy: a process is attached; close its producers and consumers first " +
		"(fuser " + e.Path + " lists them)"
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns ErrBusy, and Err if there is one.
func (e *BusyError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrBusy}
	}
	return []error{ErrBusy, e.Err}
}

// LocksError tells that a handle cannot use the kind of life locks that the others on
// the segment use. errors.Is(err, ErrUnsupported) holds.
type LocksError struct {
	Path string
	Want Locks // the kind that the others use
	Have Locks // the kind of this handle
	Told bool  // Have comes from Options.Locks or EnvLocks
	Err  error // otherwise, why the system refuses Want
}

// Error names both kinds and the remedy.
func (e *LocksError) Error() string {
	text := fmt.Sprintf("shm: %s: its users lock by %v, and this process ", e.Path, e.Want)
	if e.Told {
		return text + fmt.Sprintf("was told %v: leave Options.Locks and %s unset", e.Have, EnvLocks)
	}
	return text + fmt.Sprintf("has only %v (%v): remove the segment, and create it from here or with %s=%v", e.Have,
		e.Err, EnvLocks, e.Have)
}

// Unwrap returns ErrUnsupported, and Err if there is one.
func (e *LocksError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrUnsupported}
	}
	return []error{ErrUnsupported, e.Err}
}

// SpaceError tells that a directory has no room for a segment.
// errors.Is(err, syscall.ENOSPC) holds.
type SpaceError struct {
	Dir  string
	Need uint64 // bytes asked for
	Free uint64 // bytes available to us before we took any
	Err  error  // syscall.ENOSPC, or syscall.EDQUOT
}

// Error states both numbers and what to do about them.
func (e *SpaceError) Error() string {
	remedy := "free some"
	if e.Dir == DefaultDir || strings.HasPrefix(e.Dir, DefaultDir+"/") {
		remedy = "raise --shm-size (docker) or the sizeLimit of the emptyDir (kubernetes)"
	}
	text := fmt.Sprintf("shm: need %s in %s, %s free: %s, or set Options.Dir or %s to another directory",
		formatBytes(e.Need), e.Dir, formatBytes(e.Free), remedy, EnvDir)
	if e.Err != syscall.ENOSPC {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns Err.
func (e *SpaceError) Unwrap() error { return e.Err }

// Is makes a full quota count as no space.
func (e *SpaceError) Is(target error) bool { return target == syscall.ENOSPC }

// LimitError tells that a limit of the process, and not the amount of memory,
// stands in the way.
type LimitError struct {
	Path     string
	Resource string // as in "RLIMIT_FSIZE"
	Need     uint64 // bytes asked for
	Limit    uint64 // bytes allowed, or 0 where the kernel does not say
	Remedy   string
	Err      error // usually a syscall.Errno
}

// Error states both numbers and the remedy.
func (e *LimitError) Error() string {
	limit := ""
	if e.Limit != 0 {
		limit = " allows " + formatBytes(e.Limit)
	}
	return fmt.Sprintf("shm: %s: need %s, %s%s: %v: %s", e.Path, formatBytes(e.Need), e.Resource, limit, e.Err, e.Remedy)
}

// Unwrap returns Err.
func (e *LimitError) Unwrap() error { return e.Err }

// formatBytes is exact: it picks the largest unit that divides n.
func formatBytes(n uint64) string {
	for i, unit := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if size := uint64(1) << (40 - 10*i); n != 0 && n%size == 0 {
			return fmt.Sprintf("%d %s", n/size, unit)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
