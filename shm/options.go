package shm

import (
	"fmt"
	"io/fs"
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

	// AnyOwner lets Open accept a file that belongs to somebody other than us or
	// root, and a file that everybody can write. Whoever can write a segment can
	// also shorten it, and then touching it raises SIGBUS.
	AnyOwner bool

	// Locks insists on a kind of life locks; AutoLocks does not. See [Segment.UseLocks].
	Locks Locks

	// Prefault asks for every page to be mapped now rather than at the first touch.
	// Each process has its own page tables, so openers gain from it too. A refusal
	// is no error: see Applied.
	Prefault bool

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
