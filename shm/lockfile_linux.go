package shm

import (
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/internal/killpoint"
)

// flockLocks are life locks on files in a directory of the segment's own; see "Lock files"
// in the package comment.
type flockLocks struct {
	f    *file
	dir  int         // descriptor of that directory, or -1 until it is needed
	mine map[int]int // descriptors of the lock files that we hold
}

func (l *flockLocks) tryLock(i int) (bool, error) {
	for range maxReplaced {
		fd, at, err := l.open(i, true)
		if err != nil {
			return false, err
		}
		ok, err := exclude(fd)
		if ok {
			// Whoever unlinks a lock file holds it, so what has its name now keeps it.
			if err = at.named("lock", fd); err == nil {
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
	return isHeld(fd)
}

func isHeld(fd int) (bool, error) {
	free, err := flock(fd, unix.LOCK_SH)
	if free {
		_, err = flock(fd, unix.LOCK_UN)
	}
	return !free && err == nil, err
}

// anyHeld reports whether somebody holds one of the first n locks, where the segment has a
// directory for them that we would use.
func (l *flockLocks) anyHeld(n int) (bool, error) {
	var seg unix.Stat_t
	if err := sys.fstat(l.f.fd, &seg); err != nil {
		return false, err
	}
	if l.f.lockDirectory(seg.Ino).stat(&seg) == unix.ENOENT || l.findDirectory() != nil {
		return false, nil // a stranger's directory holds nobody up
	}
	for i := range n {
		if held, err := l.held(i); held || err != nil {
			return held, err
		}
	}
	return false, nil
}

func (l *flockLocks) again(f *file) (lifeLocks, error) {
	other := &flockLocks{f: f, dir: -1, mine: make(map[int]int)}
	if l.dir >= 0 { // the name may lead there no more
		at, err := l.lockFile(0).again()
		if err != nil {
			return nil, err
		}
		other.dir = at.dir
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
func (l *flockLocks) open(i int, make bool) (fd int, at *place, err error) {
	if err := l.findDirectory(); err != nil {
		return -1, nil, err
	}
	at = l.lockFile(i)
	for range maxReplaced {
		fd, err = at.open(lockFlags, 0)
		if err != unix.ENOENT || !make {
			break
		}
		// Who removed the segment may have removed lock files that are held: a new one
		// would say that their holders are dead.
		if err := l.stillNamed(); err != nil {
			return -1, at, err
		}
		if err := l.make(at); err != nil {
			return -1, at, err
		}
	}
	switch {
	case err == unix.ENOENT && !make:
		return -1, at, err
	case err != nil:
		return -1, at, openError("open", at.path, err)
	}
	if err := admit(fd, at.path); err != nil {
		_ = sys.close(fd)
		return -1, at, err
	}
	return fd, at, nil
}

const lockFlags = unix.O_RDWR | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY

// lockFile is the place of a lock file. Its path is not how it is found.
func (l *flockLocks) lockFile(i int) *place {
	return &place{dir: l.dir, base: strconv.Itoa(i), path: l.path() + "/" + strconv.Itoa(i)}
}

func (l *flockLocks) path() string {
	var st unix.Stat_t
	_ = sys.fstat(l.f.fd, &st) // else a message names the wrong one
	return l.f.lockDirectory(st.Ino).path
}

// admit makes sure that a lock file is one. It is never changed: whatever was put in its
// place may be of value to somebody.
func admit(fd int, path string) error {
	var st unix.Stat_t
	if err := sys.fstat(fd, &st); err != nil {
		return fail("stat", path, err, "")
	}
	if what := notOurs(&st); what != "" {
		return fail("open", path, ErrRefused, "it is %s, not a lock file: somebody who may write the segment has put it "+
			"there; move it away", what)
	}
	return nil
}

// notOurs tells what a file is that this package has not made for a lock.
func notOurs(st *unix.Stat_t) string {
	switch what := irregular(st); {
	case what != "":
		return what
	case st.Size != 0:
		return fmt.Sprintf("a file of %d bytes", st.Size)
	case st.Nlink > 1:
		return fmt.Sprintf("a file with %d names", st.Nlink)
	}
	return ""
}

// make makes a lock file that whoever may write the segment may lock. It has another name
// until its owner and mode are right, so that who is killed in between leaves nobody shut
// out. That it is there already is no error.
func (l *flockLocks) make(at *place) error {
	var seg, st unix.Stat_t
	if err := sys.fstat(l.f.fd, &seg); err != nil {
		return fail("stat", l.f.path, err, "")
	}
	if lockMode(&seg) == 0o600 && int(seg.Uid) == unix.Geteuid() {
		return makePrivate(at)
	}
	u := unpublished{at: at, hidden: at.beside("." + randomHex())}
	var err error
	if u.fd, err = u.hidden.open(lockFlags|unix.O_CREAT|unix.O_EXCL, 0o600); err != nil {
		return createError(at.path, err)
	}
	defer func() { _ = sys.close(u.fd) }()
	if err = sys.fstat(u.fd, &st); err == nil {
		err = belongTo(u.fd, &st, &seg)
	}
	if mode := lockMode(&seg); err == nil {
		err = sys.fchmod(u.fd, mode)
	}
	if err == nil {
		err = u.renameHidden()
		killpoint.At(killpoint.LockFileMade)
	}
	if err == nil {
		return nil
	}
	_ = u.hidden.unlink()
	if e, is := err.(*Error); is && e.Err == unix.EEXIST {
		return nil
	}
	return fail("make", at.path, err, "")
}

// makePrivate is make for the only user whom the segment has.
func makePrivate(at *place) error {
	fd, err := at.open(lockFlags|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err == unix.EEXIST {
		return nil
	}
	if err != nil {
		return createError(at.path, err)
	}
	killpoint.At(killpoint.LockFileMade)
	defer func() { _ = sys.close(fd) }()
	if err := sys.fchmod(fd, 0o600); err != nil { // where the umask denies ourselves
		return fail("chmod", at.path, err, "to 0600")
	}
	return nil
}

// belongTo gives a file, which the caller has just made, to the owner and the group of the
// segment, as far as we may: who may not is one of the group, or needs none.
func belongTo(fd int, st, seg *unix.Stat_t) error {
	if st.Uid != seg.Uid && unix.Fchown(fd, int(seg.Uid), int(seg.Gid)) == nil {
		return nil
	}
	if st.Gid != seg.Gid && unix.Fchown(fd, -1, int(seg.Gid)) != nil && seg.Mode&0o020 != 0 {
		return unix.EPERM
	}
	return nil
}

// lockMode lets those lock who may write the segment; others could only pretend to live.
func lockMode(seg *unix.Stat_t) uint32 { return 0o600 | seg.Mode&0o022 | seg.Mode&0o022<<1 }

// stillNamed makes sure that the directory has the segment under its name.
func (l *flockLocks) stillNamed() error {
	err := l.f.named("lock", l.f.fd)
	if err == errReplaced {
		return fail("lock", l.f.path, ErrOrphaned, "close and open again")
	}
	return err
}

// findDirectory opens the directory of the lock files, which was made before the segment got
// its name. It stays open: whatever its name comes to mean, we look into this one.
func (l *flockLocks) findDirectory() error {
	if l.dir >= 0 {
		return nil
	}
	var seg unix.Stat_t
	if err := sys.fstat(l.f.fd, &seg); err != nil {
		return fail("stat", l.f.path, err, "")
	}
	if err := l.stillNamed(); err != nil {
		return err
	}
	if mountedAlone(l.f.fd, l.f.dir) {
		return fail("lock", l.f.path, ErrUnsupported,
			"the file is mounted by itself, so that flock finds no lock files of others beside it; mount its directory")
	}
	at := l.f.lockDirectory(seg.Ino)
	fd, err := at.open(unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	switch err {
	case nil:
	case unix.ENOENT, unix.ENOTDIR, unix.ELOOP:
		return fail("lock", l.f.path, ErrRefused, "it has no directory %s for locks by flock: it was not created with such "+
			"locks, or somebody has removed that; remove the segment", at.path)
	default:
		return openError("open", at.path, err)
	}
	if err := trustedDirectory(fd, at.path, &seg); err != nil {
		_ = sys.close(fd)
		return err
	}
	l.dir = fd
	return nil
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
