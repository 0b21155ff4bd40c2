package shm

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/internal/killpoint"
)

// sweep unlinks the lock files of the segment at path, whose status is seg and whose
// admin lock the caller holds exclusively, and those of segments that no name in the
// directory leads to. It reports whether one of the segment's own is held: by a process
// that is just dying, or by [Segment.Alone]. With a nil seg there is no such segment.
func sweep(path string, seg *unix.Stat_t) (busy bool, err error) {
	dir := filepath.Dir(path)
	fd, err := openFile(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return false, openError("list", dir, err)
	}
	list := os.NewFile(uintptr(fd), dir)
	defer list.Close()
	names, err := list.Readdirnames(-1)
	if err != nil {
		return false, fail("list", dir, err, "")
	}
	var named map[uint64]bool
	for _, name := range names {
		ino, is := lockOwner(name)
		if !is {
			continue
		}
		if seg != nil && ino == seg.Ino {
			held, err := unlinkUnheld(fd, filepath.Join(dir, name), seg)
			if held || err != nil {
				return held, err
			}
			continue
		}
		if named == nil {
			named = inodes(fd, names)
		}
		if !named[ino] {
			_, _ = unlinkUnheld(fd, filepath.Join(dir, name), nil) // of an orphan, perhaps in use
		}
	}
	return false, nil
}

// inodes returns the inode numbers of the segments in a directory.
func inodes(dir int, names []string) map[uint64]bool {
	found := map[uint64]bool{}
	for _, name := range names {
		var st unix.Stat_t
		if strings.HasSuffix(name, Suffix) && sys.fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
			found[st.Ino] = true
		}
	}
	return found
}

// unlinkUnheld unlinks a lock file unless it is held. What belongs to strangers counts
// as not held, and may stay.
func unlinkUnheld(dir int, path string, seg *unix.Stat_t) (held bool, err error) {
	name := filepath.Base(path)
	fd, err := openFileAt(dir, name, lockFlags, 0)
	switch err {
	case nil:
	case unix.ENOENT, unix.EACCES, unix.EPERM, unix.ELOOP, unix.EISDIR, unix.ENXIO:
		return false, nil
	default:
		return false, openError("remove", path, err)
	}
	defer func() { _ = sys.close(fd) }()
	var st unix.Stat_t
	if err := sys.fstat(fd, &st); err != nil {
		return false, fail("stat", path, err, "")
	}
	// Held until it is unlinked, so that nobody else can come to hold it in between.
	if free, err := flock(fd, unix.LOCK_EX); !free {
		return seg == nil || vouched(&st, seg), err
	}
	if err := namedAt(dir, fd, path); err != nil {
		return false, err
	}
	switch err := sys.unlinkat(dir, name, 0); err {
	case nil:
		killpoint.At(killpoint.LockFileUnlinked)
	case unix.EACCES, unix.EPERM:
	default:
		return false, openError("remove", path, err)
	}
	return false, nil
}
