package shm

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/internal/killpoint"
)

// flockLocks are life locks on files beside the segment; see "Lock files" in the
// package comment.
type flockLocks struct {
	f    *file
	dir  int         // descriptor of the segment's directory, or -1 until it is needed
	mine map[int]int // descriptors of the lock files that we hold
}

const (
	lockPrefix = ".shmring-"
	lockSuffix = ".lock"
)

// lockName is the name of a lock file. It has the number of the inode and not the name
// of the segment, so that users of an orphan and of its successor do not meet, and a
// segment that is renamed keeps its locks.
func lockName(ino uint64, i int) string {
	return fmt.Sprintf("%s%d.%d%s", lockPrefix, ino, i, lockSuffix)
}

// lockOwner returns the inode number in the name of a lock file.
func lockOwner(name string) (ino uint64, ok bool) {
	name, is := strings.CutPrefix(name, lockPrefix)
	name, has := strings.CutSuffix(name, lockSuffix)
	digits, _, dot := strings.Cut(name, ".")
	ino, err := strconv.ParseUint(digits, 10, 64)
	return ino, is && has && dot && err == nil
}

func (l *flockLocks) tryLock(i int) (bool, error) {
	for range maxReplaced {
		fd, path, err := l.open(i, true)
		if err != nil {
			return false, err
		}
		ok, err := exclude(fd)
		if ok {
			// Whoever unlinks a lock file holds it, so what has its name now keeps it.
			if err = namedAt(l.dir, fd, path); err == nil {
				l.mine[i] = fd
				return true, nil
			}
		}
		_ = sys.close(fd)
		if err != errReplaced {
			return false, err
		}
	}
	return false, fail("lock", l.f.path, ErrOrphaned, "the lock file was replaced %d times in a row", maxReplaced)
}

// maxAsked bounds how often exclude tries again because somebody asks.
const maxAsked = 40

// exclude takes a lock file exclusively. A shared holder is somebody who asks whether it
// is held, and is gone in a moment.
func exclude(fd int) (bool, error) {
	for range maxAsked {
		if ok, err := flock(fd, unix.LOCK_EX); ok || err != nil {
			return ok, err
		}
		if ok, err := flock(fd, unix.LOCK_SH); !ok {
			return false, err
		}
		if _, err := flock(fd, unix.LOCK_UN); err != nil {
			return false, err
		}
		time.Sleep(attachPollFirst)
	}
	return false, nil
}

func (l *flockLocks) unlock(i int) error {
	fd := l.mine[i]
	// Not only by close: a child between fork and exec has the description too.
	if _, err := flock(fd, unix.LOCK_UN); err != nil {
		return err
	}
	delete(l.mine, i)
	return closeFile(fd)
}

// held takes the lock shared for a moment, which is what exclude reckons with.
func (l *flockLocks) held(i int) (bool, error) {
	if _, own := l.mine[i]; own {
		return false, nil
	}
	fd, _, err := l.open(i, false)
	if err == unix.ENOENT {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = sys.close(fd) }()
	free, err := flock(fd, unix.LOCK_SH)
	if free {
		_, err = flock(fd, unix.LOCK_UN)
	}
	return !free && err == nil, err
}

func (l *flockLocks) again(f *file) (lifeLocks, error) {
	other := &flockLocks{f: f, dir: -1, mine: make(map[int]int)}
	if l.dir >= 0 { // the name may lead there no more
		fd, err := unix.FcntlInt(uintptr(l.dir), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, fail("reopen the directory of", f.path, err, "")
		}
		other.dir = fd
	}
	return other, nil
}

func (l *flockLocks) close() (err error) {
	for i, fd := range l.mine {
		_, _ = flock(fd, unix.LOCK_UN)
		if e := closeFile(fd); e != nil {
			err = e
		}
		delete(l.mine, i)
	}
	if l.dir >= 0 {
		_ = sys.close(l.dir)
		l.dir = -1
	}
	return err
}

// open opens a lock file. One that is not there it makes, or returns plain ENOENT.
func (l *flockLocks) open(i int, make bool) (fd int, path string, err error) {
	var seg unix.Stat_t
	if err := sys.fstat(l.f.fd, &seg); err != nil {
		return -1, "", fail("stat", l.f.path, err, "")
	}
	if err := l.findDirectory(); err != nil {
		return -1, "", err
	}
	name := lockName(seg.Ino, i)
	path = filepath.Join(filepath.Dir(l.f.path), name)
	for range maxReplaced {
		fd, err = openFileAt(l.dir, name, lockFlags, 0)
		if err != unix.ENOENT || !make {
			break
		}
		// Who removed the segment may have removed lock files that are held: a new one
		// would say that their holders are dead.
		if err := l.stillNamed(); err != nil {
			return -1, path, err
		}
		fd, err = openFileAt(l.dir, name, lockFlags|unix.O_CREAT|unix.O_EXCL, 0o600)
		if err == nil {
			killpoint.At(killpoint.LockFileMade)
			break
		}
		if err != unix.EEXIST {
			return -1, path, createError(path, err)
		}
	}
	if err == unix.ENOENT && !make {
		return -1, path, err
	}
	if err != nil {
		return -1, path, openError("open", path, err)
	}
	if err := l.admit(fd, path, &seg); err != nil {
		_ = sys.close(fd)
		return -1, path, err
	}
	return fd, path, nil
}

const lockFlags = unix.O_RDWR | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY

// admit makes sure that a lock file is one, and that whoever may use the segment may
// use it, as far as it is ours to change.
func (l *flockLocks) admit(fd int, path string, seg *unix.Stat_t) error {
	var st unix.Stat_t
	if err := sys.fstat(fd, &st); err != nil {
		return fail("stat", path, err, "")
	}
	if what := irregular(&st); what != "" {
		return fail("open", path, ErrRefused, "it is %s, not a regular file", what)
	}
	if !l.f.opt.AnyOwner && !trustedOwner(&st, seg) {
		return fail("open", path, ErrRefused,
			"owned by uid %d gid %d, mode %#o, who may not write the segment: set Options.AnyOwner to trust them", st.Uid,
			st.Gid, st.Mode&0o7777)
	}
	euid := unix.Geteuid()
	if euid != 0 && int(st.Uid) != euid {
		return nil
	}
	if st.Uid != seg.Uid || st.Gid != seg.Gid {
		if unix.Fchown(fd, int(seg.Uid), int(seg.Gid)) == nil || unix.Fchown(fd, -1, int(seg.Gid)) == nil {
			st.Gid = seg.Gid
		}
	}
	if mode := lockMode(&st, seg); st.Mode&0o777 != mode {
		if err := sys.fchmod(fd, mode); err != nil {
			return fail("chmod", path, err, "to %#o", mode)
		}
	}
	return nil
}

// trustedOwner tells whether a lock file belongs to somebody who may use the segment: in a
// directory for everybody, like /dev/shm, it could be a trap.
func trustedOwner(st, seg *unix.Stat_t) bool {
	if st.Mode&0o002 != 0 {
		return false
	}
	return st.Uid == 0 || int(st.Uid) == unix.Geteuid() || st.Uid == seg.Uid ||
		st.Gid == seg.Gid && seg.Mode&0o020 != 0
}

// lockMode lets those lock who may write the segment; others could only pretend to live.
func lockMode(st, seg *unix.Stat_t) uint32 {
	mode := uint32(0o600)
	if seg.Mode&0o020 != 0 && st.Gid == seg.Gid {
		mode |= 0o060
	}
	if seg.Mode&0o002 != 0 {
		mode |= 0o006
	}
	return mode
}

// findDirectory opens the directory. It stays open: were lock files found by their
// path, then after a chroot, or a move of the directory, they would be others.
func (l *flockLocks) findDirectory() error {
	if l.dir >= 0 {
		return nil
	}
	dir := filepath.Dir(l.f.path)
	fd, err := openFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return openError("open", dir, err)
	}
	l.dir = fd
	err = l.stillNamed()
	if err == nil && mountedAlone(l.f.fd, fd) {
		err = fail("lock", l.f.path, ErrUnsupported,
			"the file is mounted by itself, so that flock finds no lock files of others beside it; mount its directory")
	}
	if err != nil {
		_ = sys.close(fd)
		l.dir = -1
	}
	return err
}

// stillNamed makes sure that the directory has the segment under its name.
func (l *flockLocks) stillNamed() error {
	err := namedAt(l.dir, l.f.fd, l.f.path)
	if err == errReplaced {
		return fail("lock", l.f.path, ErrOrphaned, "close and open again")
	}
	return err
}

// mountedAlone reports whether a file is a mount of its own in its directory. Kernels
// before 5.8 do not tell.
func mountedAlone(file, dir int) bool {
	var a, b unix.Statx_t
	for fd, st := range map[int]*unix.Statx_t{file: &a, dir: &b} {
		if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, st); err != nil ||
			st.Mask&unix.STATX_MNT_ID == 0 {
			return false
		}
	}
	return a.Mnt_id != b.Mnt_id
}

// namedAt returns errReplaced unless the last part of path means, in dir, the file
// behind fd.
func namedAt(dir, fd int, path string) error {
	return named("stat", path, fd, func(st *unix.Stat_t) error {
		return sys.fstatat(dir, filepath.Base(path), st, unix.AT_SYMLINK_NOFOLLOW)
	})
}

// sweep unlinks the lock files of the segment at path, whose status is seg and whose
// attach lock the caller holds exclusively, and those of segments that no name in the
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
		return seg == nil || trustedOwner(&st, seg), err
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
