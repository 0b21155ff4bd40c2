package shm

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/internal/killpoint"
)

// file is the backing of a Segment that lives in a file.
type file struct {
	name string
	place
	fd    int
	mem   mapping
	opt   *Options
	fixed []byte // the first bytes as they were judged; see Options.Fixed
	exact bool   // the file system tells how many bytes have memory; see whole

	sealed bool // it has no name, and keeps its size; see CreateSealed

	locks Locks // the kind of life
	told  bool  // locks was not our choice
	noOFD error // why it could not be OFD
	life  lifeLocks
	// lockDir is where the lock files are of a file that has no name yet, or nil.
	lockDir *place
	gated   bool // we hold the gate; see alone

	exclusive bool // and the attach lock exclusively
}

// attach makes a Segment of an open, locked and mapped file.
func (f *file) attach(how Applied) *Segment {
	how.Locks, how.NoOFD = f.locks, f.noOFD
	if f.opt.HugePages {
		how.HugePages = hugePages(f.mem.bytes())
	}
	var st unix.Stat_t
	_ = sys.fstat(f.fd, &st) // never fails
	return &Segment{
		name:    f.name,
		path:    f.path,
		mem:     f.mem.bytes(),
		fixed:   f.fixed,
		ino:     st.Ino,
		applied: how,
		back:    f,
		owned:   make(map[int]struct{}),
	}
}

// letGo drops the locks and closes the descriptor, whatever fails on the way. The attach
// lock goes last, so that whoever removes the segment finds no life lock held. It is
// unlocked and not only closed: a child between fork and exec shares the open file, and
// would keep the lock until its exec. Should unlocking fail, closing does the rest.
func (f *file) letGo() error {
	lifeErr := f.life.close()
	f.place.close()
	_, _ = flock(f.fd, unix.LOCK_UN)
	return cmp.Or(closeFile(f.fd), lifeErr)
}

func (f *file) tryLock(i int) (bool, error) { return f.life.tryLock(i) }

func (f *file) unlock(i int) error { return f.life.unlock(i) }

func (f *file) held(i int) (bool, error) { return f.life.held(i) }

// check looks outside before it touches a byte. It does not read the file: that would wake
// everybody who is parked on it.
func (f *file) check() error {
	if err := f.outside(); err != nil {
		return err
	}
	return f.unchanged()
}

// outside is check without a look at the bytes.
func (f *file) outside() error {
	var st unix.Stat_t
	if err := sys.fstat(f.fd, &st); err != nil {
		return fail("check", f.path, err, "")
	}
	if err := f.whole("check", &st, int64(f.mem.size)); err != nil {
		return err
	}
	if f.sealed {
		return nil // there is no name that could be lost
	}
	return hasName(f.path, &st, f.stat)
}

// hasName makes sure that a file of status st has the name of path still. stat looks what has it now.
func hasName(path string, st *unix.Stat_t, stat func(*unix.Stat_t) error) error {
	if st.Nlink == 0 {
		return fail("check", path, ErrOrphaned, "inode %d has no name; close and open again", st.Ino)
	}
	var found unix.Stat_t
	err := stat(&found)
	switch {
	case err == unix.ENOENT:
		return fail("check", path, ErrOrphaned, "inode %d has another name; close and open again", st.Ino)
	case err != nil:
		return nil // we may not search the directory any more
	case found.Dev != st.Dev || found.Ino != st.Ino:
		return fail("check", path, ErrOrphaned, "the name means inode %d, ours is %d; close and open again", found.Ino,
			st.Ino)
	}
	return nil
}

// whole makes sure that a file of status st has size bytes, and memory behind each. A page
// that is missing is made when it is touched, or, where there is no room for it, is a SIGBUS.
func (f *file) whole(op string, st *unix.Stat_t, size int64) error {
	memory := st.Blocks * 512
	switch {
	case st.Size < size, st.Size == size && f.exact && memory < size:
		return &TruncatedError{Path: f.path, Size: st.Size, Memory: memory, Want: size}
	case st.Size > size:
		return fail(op, f.path, ErrChanged, "it has %d bytes, and had %d; %s", st.Size, size, remedyForDamage)
	}
	return nil
}

// countsBlocks tells whether the file system of fd reports all memory, or disk, that a file
// has. Those that compress, or are on another machine, may report less.
func countsBlocks(fd int) bool {
	var st unix.Statfs_t
	if err := uninterrupted(func() error { return sys.fstatfs(fd, &st) }); err != nil {
		return false
	}
	switch int64(st.Type) {
	case unix.TMPFS_MAGIC, unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC:
		return true
	}
	return false
}

// unchanged compares the bytes that do not change with what they were.
func (f *file) unchanged() error {
	if len(f.fixed) == 0 {
		return nil
	}
	at := -1
	whole := guarded(f.mem.bytes(), func() { at = differs(f.mem.bytes(), f.fixed) })
	switch {
	case !whole:
		return f.lost()
	case at >= 0:
		return fail("check", f.path, ErrChanged, "byte %d of its header is not what it was; "+
			"a peer has written what no correct peer writes: close, and remove it", at)
	}
	return nil
}

// differs returns where memory begins to differ from what it was, or -1.
func differs(is, was []byte) (at int) {
	if bytes.Equal(is[:len(was)], was) {
		return -1
	}
	for at = range was {
		if is[at] != was[at] {
			return at
		}
	}
	return -1 // it is again what it was
}

// lost is what is wrong with a file of which a page was missing when it was touched.
func (f *file) lost() error {
	var st unix.Stat_t
	if err := sys.fstat(f.fd, &st); err != nil {
		return fail("stat", f.path, err, "")
	}
	// However long the file is by now.
	return &TruncatedError{Path: f.path, Size: st.Size, Memory: st.Blocks * 512, Want: int64(f.mem.size)}
}

func (f *file) forsake() { _ = sys.blank(f.mem) }

func (f *file) owner() (uid, gid int, mode fs.FileMode, err error) {
	var st unix.Stat_t
	if err := sys.fstat(f.fd, &st); err != nil {
		return 0, 0, 0, fail("stat", f.path, err, "")
	}
	return int(st.Uid), int(st.Gid), fs.FileMode(st.Mode & 0o777), nil
}

func (f *file) close(s *Segment, last func([]byte)) (bool, error) {
	// Were the descriptor closed first, another process could take over our byte
	// while a store of ours is still on its way into the file.
	if err := sys.blank(f.mem); err != nil {
		return false, fail("close", f.path, err, "cannot replace the pages, the segment is still open")
	}
	killpoint.At(killpoint.PagesBlanked)
	// On the handle: the runtime panics at a cleanup on mapped memory.
	runtime.AddCleanup(s, func(m mapping) { _ = m.unmap() }, f.mem)
	lastErr := f.withBytes(last)
	if err := f.letGo(); err != nil {
		return true, fail("close", f.path, err, "")
	}
	killpoint.At(killpoint.FileClosed)
	return true, lastErr
}

func (f *file) discard() error {
	_ = f.mem.unmap()
	if err := f.letGo(); err != nil {
		return fail("close", f.path, err, "")
	}
	return nil
}

// withBytes calls use with a mapping of its own, of a file that is still whole.
func (f *file) withBytes(use func([]byte)) error {
	if use == nil {
		return nil
	}
	if err := f.outside(); err != nil && !errors.Is(err, ErrOrphaned) {
		return err
	}
	m, err := sys.mmap(f.fd, f.mem.size)
	if err != nil {
		return fail("close", f.path, err, "cannot map the segment once more")
	}
	defer func() { _ = m.unmap() }()
	if !guarded(m.bytes(), func() { use(m.bytes()) }) {
		return f.lost()
	}
	return nil
}

func (f *file) reopen() (_ *Segment, err error) {
	if f.sealed {
		return OpenSealed(context.Background(), f.fd, int64(f.mem.size), f.opt)
	}
	// Not dup: that would share the description, and with it the locks.
	fd, err := openFile(descriptorPath(f.fd), unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fail("reopen", f.path, err, "through %s", descriptorPath(f.fd))
	}
	again := &file{name: f.name, place: place{dir: -1}, fd: fd, opt: f.opt, fixed: f.fixed,
		locks: f.locks, told: f.told, noOFD: f.noOFD}
	defer func() {
		if err != nil {
			again.forget()
			_ = sys.close(fd)
		}
	}()
	if again.place, err = f.again(); err != nil {
		return nil, err
	}
	if err := shareAttachLock(context.Background(), fd, f.path); err != nil { // no wait: we hold it shared ourselves
		return nil, err
	}
	if again.life, err = f.life.again(again); err != nil {
		return nil, err
	}
	return again.mapAndAttach(context.Background(), int64(f.mem.size))
}

// mapAndAttach maps size bytes and makes the Segment. On an error the descriptor
// remains the caller's, and forget what else f has.
func (f *file) mapAndAttach(ctx context.Context, size int64) (_ *Segment, err error) {
	if err := mappable(f.path, size); err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := sys.fstat(f.fd, &st); err != nil {
		return nil, fail("stat", f.path, err, "")
	}
	f.exact = countsBlocks(f.fd)
	if err := f.whole("map", &st, size); err != nil {
		return nil, err
	}
	if err := f.mapBytes(size); err != nil {
		return nil, err
	}
	var how Applied
	how.Prefault, how.Mlock, err = prefaultAndLock(ctx, f.path, f.mem.bytes(), f.opt)
	if err != nil {
		return nil, err
	}
	return f.attach(how), nil
}

// forget gives back what a file has that is not attached, but for its descriptor. Nobody
// knows its pages, so they go at once.
func (f *file) forget() {
	if f.mem.size != 0 {
		_ = f.mem.unmap()
	}
	if f.life != nil {
		_ = f.life.close()
	}
	f.place.close()
}

func (f *file) mapBytes(size int64) (err error) {
	if f.opt.HugePages {
		f.mem, err = mapFileAligned(f.fd, int(size), hugePage)
	} else {
		f.mem, err = sys.mmap(f.fd, int(size))
	}
	killpoint.At(killpoint.FileMapped)
	switch err {
	case nil:
		return nil
	case unix.EACCES, unix.EPERM:
		return fail("map", f.path, err,
			"the file is open for writing, so a security module (SELinux, AppArmor) or a seal refuses the mapping")
	case unix.ENOMEM:
		return fail("map", f.path, err,
			"%s of address space: RLIMIT_AS, vm.max_map_count or vm.overcommit_memory may be too tight",
			formatBytes(uint64(size)))
	default:
		return fail("map", f.path, err, "")
	}
}

// mappable refuses sizes that no mapping can have, before anything is allocated.
func mappable(path string, size int64) error {
	if size <= 0 || size > MaxSize {
		return fail("map", path, fs.ErrInvalid, "size %d; want 1 to %d", size, MaxSize)
	}
	if size > maxInt {
		return &LimitError{
			Path:     path,
			Resource: "the address space of a 32-bit program",
			Need:     uint64(size),
			Limit:    uint64(maxInt),
			Remedy:   "use a 64-bit build or a smaller segment",
			Err:      unix.ENOMEM,
		}
	}
	return nil
}

// maxInt is a variable so that a test on a 64-bit machine can stand on a small one.
var maxInt = int64(^uint(0) >> 1)

func descriptorPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }
