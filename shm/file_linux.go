package shm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/internal/killpoint"
)

// file is the backing of a Segment that lives in a file.
type file struct {
	name string
	path string
	fd   int
	mem  mapping
	opt  *Options
	dir  fileID // of the directory of path, when it was opened

	locks Locks // the kind of life
	told  bool  // locks was not our choice
	noOFD error // why it could not be OFD
	life  lifeLocks
	gated bool // we hold the gate; see alone

	exclusive bool // and the attach lock exclusively
}

// attach makes a Segment of an open, locked and mapped file.
func (f *file) attach(how Applied) *Segment {
	how.Locks, how.NoOFD = f.locks, f.noOFD
	f.dir, _ = identify(directory(f.path)) // else check cannot tell, and says nothing
	return &Segment{
		name:    f.name,
		path:    f.path,
		mem:     f.mem.bytes(),
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
	_, _ = flock(f.fd, unix.LOCK_UN)
	return cmp.Or(closeFile(f.fd), lifeErr)
}

func (f *file) tryLock(i int) (bool, error) { return f.life.tryLock(i) }

func (f *file) unlock(i int) error { return f.life.unlock(i) }

func (f *file) held(i int) (bool, error) { return f.life.held(i) }

func (f *file) check() error {
	var st unix.Stat_t
	if err := sys.fstat(f.fd, &st); err != nil {
		return fail("check", f.path, err, "")
	}
	if st.Size < int64(f.mem.size) {
		return fail("check", f.path, ErrTruncated, "%d bytes are left of %d", st.Size, f.mem.size)
	}
	if st.Nlink == 0 {
		return fail("check", f.path, ErrOrphaned, "inode %d has no name; close and open again", st.Ino)
	}
	named, err := identify(f.path)
	switch dir, dirErr := identify(directory(f.path)); {
	case err != nil && err != unix.ENOENT, dirErr != nil, dir != f.dir:
		return nil // the path means something else to us than when we opened it
	case err == unix.ENOENT:
		return fail("check", f.path, ErrOrphaned, "inode %d has another name; close and open again", st.Ino)
	case named != fileID{uint64(st.Dev), st.Ino}:
		return fail("check", f.path, ErrOrphaned, "the name means inode %d, ours is %d; close and open again", named.ino,
			st.Ino)
	}
	return nil
}

// directory leads to the directory of a path through symbolic links.
func directory(path string) string { return filepath.Dir(path) + "/." }

// fileID tells files apart.
type fileID struct{ dev, ino uint64 }

func identify(path string) (fileID, error) {
	var st unix.Stat_t
	err := sys.lstat(path, &st)
	return fileID{uint64(st.Dev), st.Ino}, err
}

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

// withBytes calls use with a mapping of its own, of a file that is still whole.
func (f *file) withBytes(use func([]byte)) error {
	if use == nil {
		return nil
	}
	if err := f.check(); err != nil && !errors.Is(err, ErrOrphaned) {
		return err
	}
	m, err := sys.mmap(f.fd, f.mem.size)
	if err != nil {
		return fail("close", f.path, err, "cannot map the segment once more")
	}
	defer func() { _ = m.unmap() }()
	use(m.bytes())
	return nil
}

func (f *file) reopen() (_ *Segment, err error) {
	// Not dup: that would share the description, and with it the locks.
	fd, err := openFile(descriptorPath(f.fd), unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fail("reopen", f.path, err, "through %s", descriptorPath(f.fd))
	}
	defer func() {
		if err != nil {
			_ = sys.close(fd)
		}
	}()
	if err := shareAttachLock(context.Background(), fd, f.path); err != nil { // no wait: we hold it shared ourselves
		return nil, err
	}
	again := &file{name: f.name, path: f.path, fd: fd, opt: f.opt, locks: f.locks, told: f.told, noOFD: f.noOFD}
	if again.life, err = f.life.again(again); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = again.life.close()
		}
	}()
	return again.mapAndAttach(int64(f.mem.size), Applied{})
}

// mapAndAttach maps size bytes and makes the Segment. On an error the descriptor
// remains the caller's.
func (f *file) mapAndAttach(size int64, how Applied) (*Segment, error) {
	var st unix.Stat_t
	if err := sys.fstat(f.fd, &st); err != nil {
		return nil, fail("stat", f.path, err, "")
	}
	if st.Size < size {
		return nil, fail("map", f.path, ErrTruncated, "%d bytes are left of %d", st.Size, size)
	}
	if err := f.mapBytes(size); err != nil {
		return nil, err
	}
	how.Prefault, how.Mlock = prefaultAndLock(f.path, f.mem.bytes(), f.opt)
	return f.attach(how), nil
}

func (f *file) mapBytes(size int64) (err error) {
	if err := mappable(f.path, size); err != nil {
		return err
	}
	f.mem, err = sys.mmap(f.fd, int(size))
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
