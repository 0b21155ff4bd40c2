package shm

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/internal/killpoint"
)

const (
	lockPrefix = ".shmring-"
	lockSuffix = ".locks"
)

// lockDirectory is where the lock files of the segment with that inode number are. The name
// does not have the name of the segment, so that users of an orphan and of its successor do
// not meet, and a segment that is renamed keeps its locks.
func (p *place) lockDirectory(ino uint64) *place {
	return p.beside(fmt.Sprintf("%s%d%s", lockPrefix, ino, lockSuffix))
}

// lockOwner returns the inode number in the name of a directory for lock files.
func lockOwner(name string) (ino uint64, ok bool) {
	name, is := strings.CutPrefix(name, lockPrefix)
	name, has := strings.CutSuffix(name, lockSuffix)
	ino, err := strconv.ParseUint(name, 10, 64)
	return ino, is && has && err == nil
}

// isLockName tells the names of lock files, finished or not.
func isLockName(name string) bool {
	if digits, hidden := strings.CutPrefix(name, "."); hidden {
		_, err := strconv.ParseUint(digits, 16, 64)
		return err == nil && len(digits) == len(randomHex())
	}
	_, err := strconv.Atoi(name)
	return err == nil
}

// lockDirectoryMode lets those in who may write the segment. What they make there gets the
// group of the directory.
func lockDirectoryMode(seg *unix.Stat_t) uint32 {
	mode := uint32(0o700)
	if seg.Mode&0o020 != 0 {
		mode |= unix.S_ISGID | 0o070
	}
	if seg.Mode&0o002 != 0 {
		mode |= 0o007
	}
	return mode
}

// trustedDirectory refuses a directory in which others can make lock files than those who
// may write the segment.
func trustedDirectory(fd int, path string, seg *unix.Stat_t) error {
	var st unix.Stat_t
	if err := sys.fstat(fd, &st); err != nil {
		return fail("stat", path, err, "")
	}
	want := lockDirectoryMode(seg)
	group := want&0o070 != 0
	if st.Uid == seg.Uid && (!group || st.Gid == seg.Gid) && st.Mode&0o777 == want&0o777 {
		return nil
	}
	return fail("open", path, ErrRefused, "uid %d gid %d mode %#o do not go with uid %d gid %d mode %#o of the segment: "+
		"chown %[4]d:%[5]d and chmod %#[7]o it, or remove the segment", st.Uid, st.Gid, st.Mode&0o7777, seg.Uid, seg.Gid,
		seg.Mode&0o7777, want)
}

// makeLockDirectory makes the directory for a segment that has no name yet, but its owner and
// mode, if its locks need one. Until done is called nobody takes it for one whose segment is
// no more. On an error nothing is left of it.
func (f *file) makeLockDirectory() (done func(), err error) {
	if f.locks != Flock {
		return func() {}, nil
	}
	var seg unix.Stat_t
	if err := sys.fstat(f.fd, &seg); err != nil {
		return nil, fail("stat", f.path, err, "")
	}
	at := f.lockDirectory(seg.Ino)
	for range maxReplaced {
		// One that is there was left by a segment that had this number, which nobody has open.
		at.dropLockDirectory(&seg)
		err := sys.mkdirat(at.dir, at.base, 0o700)
		if err == unix.EEXIST {
			return nil, fail("create", at.path, ErrRefused, "somebody has put something there, where lock files are to be: "+
				"use a directory of your own (Options.Dir, %s)", EnvDir)
		}
		if err != nil {
			return nil, createError(at.path, err)
		}
		fd, err := at.furnish(&seg)
		if err == errReplaced {
			continue // swept, before we could lock it
		}
		killpoint.At(killpoint.LockDirectoryMade)
		if err != nil {
			_ = sys.unlinkat(at.dir, at.base, unix.AT_REMOVEDIR)
			return nil, err
		}
		f.lockDir = at
		return func() { _ = sys.close(fd) }, nil
	}
	return nil, fail("create", at.path, ErrRefused, "it was removed %d times in a row", maxReplaced)
}

// furnish locks the directory that the caller has just made, and gives it the owner and mode
// that go with the segment. errReplaced: it is gone.
func (p *place) furnish(seg *unix.Stat_t) (_ int, err error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW
	fd, err := p.open(flags, 0)
	if err == unix.EACCES { // the umask denies ourselves
		p.admitOurselves()
		fd, err = p.open(flags, 0)
	}
	if err == unix.ENOENT {
		return -1, errReplaced
	}
	if err != nil {
		return -1, openError("open", p.path, err)
	}
	defer func() {
		if err != nil {
			_ = sys.close(fd)
		}
	}()
	// Somebody may be about to sweep it. Who does that has done soon.
	ctx, cancel := context.WithTimeout(context.Background(), attachPatience)
	defer cancel()
	if err := shareAttachLock(ctx, fd, p.path); err != nil {
		return -1, err
	}
	if err := p.named("open", fd); err != nil {
		return -1, err
	}
	// Who may rename in the directory above could have put another one of ours in its place.
	var st unix.Stat_t
	names, err := (&place{dir: fd, path: p.path + "/."}).names()
	if err == nil {
		err = sys.fstat(fd, &st)
	}
	if err != nil {
		return -1, err
	}
	if len(names) > 0 || int(st.Uid) != unix.Geteuid() {
		return -1, fail("create", p.path, ErrRefused, "it was replaced while it was made")
	}
	if err := belongTo(fd, &st, seg); err != nil {
		return -1, fail("chown", p.path, err, "to uid %d gid %d", seg.Uid, seg.Gid)
	}
	if mode := lockDirectoryMode(seg); st.Mode&0o7777 != mode {
		if err := sys.fchmod(fd, mode); err != nil {
			return -1, fail("chmod", p.path, err, "to %#o", mode)
		}
	}
	return fd, nil
}

// admitOurselves lets us into a directory of ours. What fails here shows when it is opened.
func (p *place) admitOurselves() {
	fd, err := p.open(unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return
	}
	defer func() { _ = sys.close(fd) }()
	if isOwn(fd, "") {
		_ = unix.Fchmodat(unix.AT_FDCWD, descriptorPath(fd), 0o700, 0)
	}
}

// sweep unlinks the lock files of the segment of this name, whose status is seg and whose
// attach lock the caller holds exclusively, and the directories of segments of ours that no
// name here leads to. It reports whether one of the segment's own is held: by a process
// that is just dying, or by [Segment.Alone]. With a nil seg there is no such segment.
func (p *place) sweep(seg *unix.Stat_t) (busy bool, err error) {
	names, err := p.names()
	if err != nil {
		return false, err
	}
	var found map[uint64]bool
	for _, name := range names {
		ino, is := lockOwner(name)
		if !is || seg != nil && ino == seg.Ino {
			continue
		}
		if found == nil {
			found = p.inodes(names)
		}
		if !found[ino] {
			_, _ = p.beside(name).sweepOrphan(ino, true) // what cannot be removed stays
		}
	}
	if seg == nil {
		return false, nil
	}
	return p.lockDirectory(seg.Ino).empty(func(fd int, path string) bool { return trustedDirectory(fd, path, seg) == nil })
}

// inodes returns the inode numbers of the segments among the names.
func (p *place) inodes(names []string) map[uint64]bool {
	found := map[uint64]bool{}
	for _, name := range names {
		var st unix.Stat_t
		if strings.HasSuffix(name, Suffix) && p.beside(name).stat(&st) == nil {
			found[st.Ino] = true
		}
	}
	return found
}

// isOwn tells whether a file is our user's.
func isOwn(fd int, _ string) bool {
	var st unix.Stat_t
	return sys.fstat(fd, &st) == nil && int(st.Uid) == unix.Geteuid()
}

// sweepOrphan removes the directory of a segment that has no name, unless somebody holds a
// lock in it, or is just creating that segment: then it is busy. Without remove it only finds that
// out. errReplaced: it is gone, or has got its segment.
func (p *place) sweepOrphan(ino uint64, remove bool) (busy bool, err error) {
	fd, err := p.open(unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	switch err {
	case nil:
	case unix.ENOENT:
		return false, errReplaced
	default:
		return false, openError("remove", p.path, err)
	}
	defer func() { _ = sys.close(fd) }()
	if !isOwn(fd, "") {
		return false, fail("remove", p.path, ErrRefused, "it belongs to another user")
	}
	if free, err := flock(fd, unix.LOCK_EX); !free {
		return err == nil, err
	}
	// Now that nobody is creating it: has it got its name meanwhile?
	names, err := p.names()
	if err != nil {
		return false, err
	}
	if p.inodes(names)[ino] {
		return false, errReplaced
	}
	if !remove {
		return p.isHeld(fd)
	}
	if busy, err := p.empty(isOwn); busy || err != nil {
		return busy, err
	}
	if err := sys.unlinkat(p.dir, p.base, unix.AT_REMOVEDIR); err != nil && err != unix.ENOENT {
		return false, openError("remove", p.path, err) // something is in it that is no lock file
	}
	return false, nil
}

// isHeld tells whether somebody holds a lock file of the directory that fd is, without changing it.
func (p *place) isHeld(fd int) (held bool, err error) {
	inside := &place{dir: fd, path: p.path + "/."}
	names, err := inside.names()
	if err != nil {
		return false, err
	}
	for _, name := range names {
		if !isLockName(name) {
			return false, fail("remove", p.path, unix.ENOTEMPTY, "%s in it is no lock file", name)
		}
		at := inside.beside(name)
		file, err := at.open(lockFlags, 0)
		if err == unix.ENOENT {
			continue
		}
		if err != nil {
			return false, openError("open", at.path, err)
		}
		free, err := flock(file, unix.LOCK_EX)
		_ = sys.close(file) // and the lock with it
		if !free || err != nil {
			return err == nil, err
		}
	}
	return false, nil
}

// dropLockDirectory removes a directory for lock files that nobody uses.
func (p *place) dropLockDirectory(seg *unix.Stat_t) {
	own := func(fd int, path string) bool { return isOwn(fd, path) || trustedDirectory(fd, path, seg) == nil }
	if busy, err := p.empty(own); !busy && err == nil {
		_ = sys.unlinkat(p.dir, p.base, unix.AT_REMOVEDIR) // fails where it is no such directory, or not empty
	}
}

// empty unlinks the lock files in a directory, if it is one of ours. It stops at one that is
// held.
func (p *place) empty(ours func(fd int, path string) bool) (held bool, err error) {
	fd, err := p.open(unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	switch err {
	case nil:
	case unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.EACCES:
		return false, nil
	default:
		return false, openError("remove", p.path, err)
	}
	defer func() { _ = sys.close(fd) }()
	if !ours(fd, p.path) {
		return false, nil
	}
	inside := &place{dir: fd, path: p.path + "/."}
	names, err := inside.names()
	if err != nil {
		return false, err
	}
	for _, name := range names {
		if !isLockName(name) {
			continue
		}
		if held, err := inside.beside(name).unlinkUnheld(); held || err != nil {
			return held, err
		}
	}
	return false, nil
}

// unlinkUnheld unlinks a lock file unless it is held. What is none stays.
func (p *place) unlinkUnheld() (held bool, err error) {
	fd, err := p.open(lockFlags, 0)
	switch err {
	case nil:
	case unix.ENOENT, unix.EACCES, unix.EPERM, unix.ELOOP, unix.EISDIR, unix.ENXIO:
		return false, nil
	default:
		return false, openError("remove", p.path, err)
	}
	defer func() { _ = sys.close(fd) }()
	if admit(fd, p.path) != nil {
		return false, nil
	}
	// Held until it is unlinked, so that nobody else can come to hold it in between.
	if free, err := flock(fd, unix.LOCK_EX); !free {
		return err == nil, err
	}
	if err := p.named("remove", fd); err != nil {
		return false, err
	}
	switch err := p.unlink(); err {
	case nil:
		killpoint.At(killpoint.LockFileUnlinked)
	case unix.EACCES, unix.EPERM:
	default:
		return false, openError("remove", p.path, err)
	}
	return false, nil
}
