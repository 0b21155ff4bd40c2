package shm

import (
	"fmt"
	"io/fs"
	"os"
)

// Where locks on bytes lie; see the lock map in the package comment.
const lifeBase int64 = 1 << 40

// gate is the index of the life lock that Alone takes.
const gate = -1

// EnvLocks is the environment variable, "ofd" or "flock", that says what AutoLocks
// means. Like Options.Locks it insists.
const EnvLocks = "SHMRING_LOCKS"

// Locks is the kind of a segment's life locks, those of [Segment.TryLock]. All handles
// on a segment have to use the same kind: see [Segment.UseLocks].
type Locks int

const (
	// AutoLocks is what EnvLocks says, else OFD where the system has it, else Flock.
	AutoLocks Locks = iota
	// OFD is open file description locks on bytes of the segment file.
	OFD
	// Flock is flock(2) on files of their own beside the segment, for systems that refuse
	// OFD: kernels before 3.15, some sandboxes and network file systems.
	Flock
)

// String returns "auto", "ofd" or "flock".
func (k Locks) String() string {
	switch k {
	case AutoLocks:
		return "auto"
	case OFD:
		return "ofd"
	case Flock:
		return "flock"
	}
	return fmt.Sprintf("locks(%d)", int(k))
}

// locks resolves Options.Locks; told means that somebody insists on the kind.
func (o *Options) locks() (kind Locks, told bool, err error) {
	switch o.Locks {
	case OFD, Flock:
		return o.Locks, true, nil
	case AutoLocks:
	default:
		return 0, false, fmt.Errorf("%w: Options.Locks is %d", fs.ErrInvalid, int(o.Locks))
	}
	switch text := os.Getenv(EnvLocks); text {
	case "":
		return AutoLocks, false, nil
	case "ofd":
		return OFD, true, nil
	case "flock":
		return Flock, true, nil
	default:
		return 0, false, fmt.Errorf("%w: %s is %.20q, want ofd or flock", fs.ErrInvalid, EnvLocks, text)
	}
}
