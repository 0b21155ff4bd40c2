package shm

import (
	"fmt"
	"io/fs"
	"os"
	"time"
)

// MaxSize is the largest segment in bytes. The lock bytes lie behind it.
const MaxSize int64 = 1<<40 - 4096

// Options say where segments live and how they are made and attached. The zero
// value and nil are good defaults.
type Options struct {
	// Dir is the directory of the segment file. It must exist; any file system that
	// can be mapped shared will do. Empty means $SHMRING_DIR, else /dev/shm.
	Dir string

	// Perm holds the permission bits of a created file, 0 meaning 0600. They are
	// set by fchmod, so the umask takes nothing away. Bits outside 0777 and modes
	// that everybody can write are refused.
	Perm fs.FileMode

	// Group is the group that a created file gets, one of ours unless we are root; 0 leaves that to the
	// system: our own, or that of a directory with the set-group-ID bit.
	Group int

	// AnyOwner lets Open accept a file that belongs to somebody other than us or
	// root, and a file that everybody can write. Whoever can write a segment can
	// also shorten it, and then touching it raises SIGBUS.
	AnyOwner bool

	// Fixed is how many bytes at the beginning of a segment do not change once it is
	// formatted. Judge is shown a copy of them, and how long the file is, before any of it is
	// mapped, and refuses a segment by an error, which Open returns as it is; nil refuses
	// nothing. As long as a handle is open, Check compares them with that copy.
	Fixed int
	Judge func(fixed []byte, length int64) error

	// Locks insists on a kind of life locks; AutoLocks does not. See [Segment.UseLocks].
	Locks Locks

	// Prefault asks for every page to be mapped now rather than at the first touch.
	// Each process has its own page tables, so openers gain from it too. A refusal
	// is no error: see Applied.
	Prefault bool

	// HugePages asks for pages of the processor's next size for as much of the segment as
	// whole ones make up, which takes fewer entries of its address cache. A refusal is no
	// error: see Applied.
	HugePages bool

	// Mlock asks for the pages to be kept in memory (mlock). A refusal is no error:
	// see Applied.
	Mlock bool
}

// orDefault returns a copy, since a Segment keeps it and the caller may go on changing *o.
func (o *Options) orDefault() *Options {
	if o == nil {
		return new(Options)
	}
	private := *o
	return &private
}

// Applied tells what was really done for a segment, for reports. For a segment
// that was opened rather than created, TmpFile and Allocated are zero.
type Applied struct {
	// TmpFile is true if the file was made without a name (O_TMPFILE) and linked
	// when complete; false if it had a hidden temporary name until then.
	TmpFile bool
	// Allocated names the call that made the pages exist: "fallocate" or "pwrite".
	Allocated string
	// Locks is the kind of life locks that is used, OFD or Flock.
	Locks Locks
	// NoOFD is why AutoLocks did not choose OFD: the error of the kernel, or nil.
	NoOFD error
	// Prefault is the outcome of Options.Prefault.
	Prefault Outcome
	// HugePages is the outcome of Options.HugePages.
	HugePages Outcome
	// Mlock is the outcome of Options.Mlock.
	Mlock Outcome
}

// Outcome is what became of an optional request. The zero value means that nobody asked.
type Outcome struct {
	Asked bool
	How   string // the means that worked, or the last one tried
	Err   error  // nil, or why it did not work
}

// Applied reports whether the request was made and granted.
func (o Outcome) Applied() bool { return o.Asked && o.Err == nil }

// String returns "not asked", "applied (HOW)" or "failed (HOW): WHY".
func (o Outcome) String() string {
	switch {
	case !o.Asked:
		return "not asked"
	case o.Err == nil:
		return fmt.Sprintf("applied (%s)", o.How)
	default:
		return fmt.Sprintf("failed (%s): %v", o.How, o.Err)
	}
}

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

// Patience is how long Remove waits for a segment that is in use. The kernel drops
// the locks of a process with its last reference to the open file. A child between fork
// and exec holds all open files of its parent: of processes that were killed while they
// started others, one in seven left its locks for longer than it took to reap it, for
// 2 ms in the median and 18 ms at most (two processors, one of them busy). A mapping is
// a reference too, and whoever looks at a dying process through /proc may hold it for a
// moment. Close does not depend on this, because it unlocks.
const Patience = 250 * time.Millisecond
