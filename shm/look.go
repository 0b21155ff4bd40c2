package shm

import (
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Onlooker is a segment in the eyes of somebody who takes no part in it: the file is open and
// mapped for reading only, and no lock is taken on it, so that nobody feels that it is looked
// at. [Remove] works meanwhile, and the file may be shortened: see [Onlooker.Safely]. The file
// is not read(2) either, because that is how sleepers are woken, see [Segment.Notify]. Any
// goroutine may call its methods, but none after Close.
type Onlooker struct {
	path string
	stat FileStat
	mem  []byte
	os   lookFile

	close sync.Once
}

// FileStat is what the system says of a file.
type FileStat struct {
	Size   int64
	UID    int
	GID    int
	Mode   fs.FileMode // permission bits
	Device uint64
	Inode  uint64
	// Irregular says what it is if it is no regular file: "a directory", "a symbolic link", …
	Irregular string
}

// Path returns the path by which the file was found.
func (o *Onlooker) Path() string { return o.path }

// Stat returns what the system said of the file when it was opened.
func (o *Onlooker) Stat() FileStat { return o.stat }

// Bytes returns the whole file, and nil of an empty one. A store to it is a fault, and so may a
// load be, outside [Onlooker.Safely]. The slice is of no use after Close.
func (o *Onlooker) Bytes() []byte { return o.mem }

// Safely calls f, which may load from Bytes. If a page of those is not there, because somebody
// has shortened the file or the memory file system has no page left for a hole, f ends there and
// Safely returns an [*Error] with ErrTruncated. Everywhere else in a program
// such a load is SIGBUS, and the end of it. Other panics pass.
func (o *Onlooker) Safely(f func()) error {
	if !guarded(o.mem, f) {
		return fail("look at", o.path, ErrTruncated, "%s", o.os.tellMissing(len(o.mem)))
	}
	return nil
}

// Trusted refuses a file that somebody else could have written, as opening it to take part does: whoever
// writes it decides what is seen. The error is an [*Error] with ErrRefused.
func (o *Onlooker) Trusted() error { return trusted("look at", o.path, o.stat.UID, o.stat.Mode) }

// Check looks what has become of the file since it was opened. It makes two system calls. Errors: a
// [*TruncatedError], also of a sealed segment that has holes; an [*Error] with ErrOrphaned, if its name is gone or
// means another file; what the system said.
func (o *Onlooker) Check() error { return o.os.check(o) }

// Held tells whether somebody holds life lock i, of the kind that the segment's users have, without
// touching it. sure is false where that cannot be known. flock does not answer such a question, and
// /proc/locks is looked at instead: nobody is found there who is in a PID namespace that we do not
// see, also where sure is true. table may be nil for OFD. Errors: ErrUnsupported, and what the system said.
func (o *Onlooker) Held(kind Locks, i int, table *LockTable) (held, sure bool, err error) {
	return o.os.held(o, kind, i, table)
}

// Close lets go of the file. It may be called again.
func (o *Onlooker) Close() { o.close.Do(o.os.close) }

// LockTable is what /proc/locks says: who holds which lock. It does not show locks of processes
// that are in PID namespaces which we do not see.
type LockTable struct {
	readable bool
	locks    map[lockID][]heldLock
}

// lockID names the file that a lock is on, as /proc/locks does.
type lockID struct {
	major, minor uint32
	inode        uint64
}

type heldLock struct {
	flock, write bool
	pid          int
}

// parseLocks reads the text of /proc/locks.
func parseLocks(text string) *LockTable {
	t := &LockTable{readable: true, locks: map[lockID][]heldLock{}}
	for line := range strings.Lines(text) {
		// "1: FLOCK  ADVISORY  WRITE 708 00:1a:345 0 EOF"; those that wait have "->" in front.
		f := strings.Fields(line)
		if len(f) < 6 || f[1] == "->" {
			continue
		}
		id := strings.Split(f[5], ":")
		if len(id) != 3 {
			continue
		}
		major, err1 := strconv.ParseUint(id[0], 16, 32)
		minor, err2 := strconv.ParseUint(id[1], 16, 32)
		inode, err3 := strconv.ParseUint(id[2], 10, 64)
		pid, err4 := strconv.Atoi(f[4])
		if err1 != nil || err2 != nil || err3 != nil || err4 != nil {
			continue
		}
		key := lockID{uint32(major), uint32(minor), inode}
		t.locks[key] = append(t.locks[key], heldLock{f[1] == "FLOCK", f[3] == "WRITE", pid})
	}
	return t
}

// Attached returns the processes that hold the attach lock of a segment, each once: those that are
// attached, and whether the first of them is alone with it, which is removing the segment,
// repairing it or making it anew. known is false where the system does not tell. Processes in PID
// namespaces that we do not see are missing.
func (o *Onlooker) Attached(t *LockTable) (pids []int, exclusive, known bool) {
	if t == nil || !t.readable || !o.os.isListed() {
		return nil, false, false
	}
	found := map[int]bool{}
	for _, l := range t.locks[idOf(o.stat)] {
		if l.flock {
			found[l.pid] = true
			exclusive = exclusive || l.write
		}
	}
	return slices.Sorted(maps.Keys(found)), exclusive, true
}

// holdsFlock tells whether somebody whom the table shows holds a file exclusively.
func (t *LockTable) holdsFlock(id lockID) bool {
	return slices.ContainsFunc(t.locks[id], func(l heldLock) bool { return l.flock && l.write })
}

// Found is a file in a directory of segments.
type Found struct {
	Name string // of the segment that it is
	Path string
}

// Leftover is a file of a segment that was not finished.
type Leftover struct {
	Found
	Size    int64
	InUse   bool  // somebody has it open
	Err     error // why it is not known whether, or why it was not removed
	Removed bool
}
