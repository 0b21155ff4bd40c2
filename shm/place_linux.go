package shm

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// place is a name in a directory that is held open. All steps on a file go through the
// descriptor: were they to go by its path, somebody who may rename a part of that could make
// two steps be about two files.
type place struct {
	dir  int    // the directory, or -1
	base string // the name in it
	path string // of both, for people, and for Linux where it wants one
}

// openPlace opens the directory of path. Its error is plain, for the caller to explain.
func openPlace(path string) (place, error) {
	fd, err := openFile(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY, 0)
	return place{dir: fd, base: filepath.Base(path), path: path}, err
}

func (p *place) close() {
	if p.dir >= 0 {
		_ = sys.close(p.dir)
		p.dir = -1
	}
}

// again is the same place for another owner.
func (p *place) again() (place, error) {
	if p.dir < 0 { // of a file that has no name
		return *p, nil
	}
	fd, err := unix.FcntlInt(uintptr(p.dir), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return place{dir: -1}, fail("reopen the directory of", p.path, err, "")
	}
	return place{dir: fd, base: p.base, path: p.path}, nil
}

// beside is another name in the same directory.
func (p *place) beside(base string) *place {
	return &place{dir: p.dir, base: base, path: filepath.Join(filepath.Dir(p.path), base)}
}

func (p *place) open(flags int, perm uint32) (int, error) {
	return openFileAt(p.dir, p.base, flags, perm)
}

// stat does not follow a symbolic link.
func (p *place) stat(st *unix.Stat_t) error {
	return sys.fstatat(p.dir, p.base, st, unix.AT_SYMLINK_NOFOLLOW)
}

func (p *place) unlink() error { return sys.unlinkat(p.dir, p.base, 0) }

// named returns errReplaced unless the name means the file behind fd.
func (p *place) named(op string, fd int) error {
	var ours, found unix.Stat_t
	if err := sys.fstat(fd, &ours); err != nil {
		return fail("stat", p.path, err, "")
	}
	err := p.stat(&found)
	if err == unix.ENOENT {
		return errReplaced
	}
	if err != nil {
		return openError(op, p.path, err)
	}
	if ours.Dev != found.Dev || ours.Ino != found.Ino {
		return errReplaced
	}
	return nil
}

// names lists the directory.
func (p *place) names() ([]string, error) {
	dir := filepath.Dir(p.path)
	fd, err := openFileAt(p.dir, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, openError("list", dir, err)
	}
	list := os.NewFile(uintptr(fd), dir)
	defer list.Close()
	names, err := list.Readdirnames(-1)
	if err != nil {
		return nil, fail("list", dir, err, "")
	}
	return names, nil
}

// openRegular opens the file for reading and writing, without following a symbolic link
// there and without waiting for a device, or for the holder of a lease, and makes sure
// that it got a regular file.
func (p *place) openRegular(op string) (int, *unix.Stat_t, error) {
	fd, err := p.open(unix.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return -1, nil, openError(op, p.path, err)
	}
	st := new(unix.Stat_t)
	if err := sys.fstat(fd, st); err != nil {
		_ = sys.close(fd)
		return -1, nil, fail("stat", p.path, err, "")
	}
	if what := irregular(st); what != "" {
		_ = sys.close(fd)
		return -1, nil, fail(op, p.path, ErrRefused, "it is %s, not a regular file", what)
	}
	return fd, st, nil
}
