package shmring

import (
	"errors"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
	"github.com/shmring/shmring/shm"
)

// Errors to be compared with errors.Is. Besides them, files that are or are not there
// give fs.ErrExist and fs.ErrNotExist, contexts give their own error and, for
// deadlines, os.ErrDeadlineExceeded too, and a full memory file system gives
// syscall.ENOSPC with the numbers in a *shm.SpaceError.
var (
	ErrFull        = ring.ErrFull          // no room at present
	ErrEmpty       = ring.ErrEmpty         // no message at present
	ErrContended   = ring.ErrContended     // a Try call lost every race for a slot
	ErrTooLarge    = ring.ErrTooLarge      // this ring never takes that message: *SizeError
	ErrClosed      = ring.ErrClosed        // this handle was closed: os.ErrClosed
	ErrEnded       = ring.ErrEnded         // this producer has ended its stream
	ErrPeerDead    = ring.ErrPeerDead      // the producer died: *PeerDeadError
	ErrBusy        = ring.ErrBusy          // the role is taken, or the ring is in use: *BusyError
	ErrNotStalled  = ring.ErrNotStalled    // ForceSkip: there is no unfinished claim at that position
	ErrRevoked     = ring.ErrRevoked       // this producer stalled, and its claim was given up by ForceSkip
	ErrOrphaned    = shm.ErrOrphaned       // the ring's name was removed or replaced while it was in use
	ErrCorrupt     = layout.ErrCorrupt     // *CorruptError, or *layout.FieldError when opening
	ErrFormat      = layout.ErrFormat      // the file is no ring: *layout.FieldError
	ErrVersion     = layout.ErrVersion     // the ring is of another version: *layout.FieldError
	ErrUnsupported = errors.ErrUnsupported // this platform or system cannot do it
)

// Types that come from package ring.
type (
	Claim         = ring.Claim
	Message       = ring.Message
	Position      = ring.Position
	SkippedClaim  = ring.SkippedClaim
	StalledClaim  = ring.StalledClaim
	Stats         = ring.Stats
	SizeError     = ring.SizeError
	BusyError     = ring.BusyError
	PeerDeadError = ring.PeerDeadError
	CorruptError  = ring.CorruptError
	ContextError  = ring.ContextError
)
