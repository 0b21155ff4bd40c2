package shm

import "golang.org/x/sys/unix"

// kernel is every system call that has a fallback or a race worth a test. Tests
// replace single entries; nothing else does.
type kernel struct {
	open      func(path string, flags int, perm uint32) (int, error)
	openat    func(dir int, name string, flags int, perm uint32) (int, error)
	close     func(fd int) error
	fstat     func(fd int, st *unix.Stat_t) error
	lstat     func(path string, st *unix.Stat_t) error
	fstatat   func(dir int, name string, st *unix.Stat_t, flags int) error
	fstatfs   func(fd int, st *unix.Statfs_t) error
	fchmod    func(fd int, mode uint32) error
	fallocate func(fd int, mode uint32, off, n int64) error
	pwrite    func(fd int, p []byte, off int64) (int, error)
	pread     func(fd int, p []byte, off int64) (int, error)
	linkat    func(olddir int, oldpath string, newdir int, newpath string, flags int) error
	renameat2 func(olddir int, oldpath string, newdir int, newpath string, flags uint) error
	renameat  func(olddir int, oldpath string, newdir int, newpath string) error
	mkdirat   func(dir int, name string, mode uint32) error
	unlinkat  func(dir int, name string, flags int) error
	fcntl     func(fd uintptr, cmd int, lk *unix.Flock_t) error
	flock     func(fd, how int) error
	memfd     func(name string, flags int) (int, error)
	seals     func(fd uintptr, cmd, arg int) (int, error)
	mmap      func(fd int, size int) (mapping, error)
	blank     func(m mapping) error
	madvise   func(p []byte, advice int) error
	mlock     func(p []byte) error
}

var sys = kernel{
	open:      unix.Open,
	openat:    unix.Openat,
	close:     unix.Close,
	fstat:     unix.Fstat,
	lstat:     unix.Lstat,
	fstatat:   unix.Fstatat,
	fstatfs:   unix.Fstatfs,
	fchmod:    unix.Fchmod,
	fallocate: unix.Fallocate,
	pwrite:    unix.Pwrite,
	pread:     unix.Pread,
	linkat:    unix.Linkat,
	renameat2: unix.Renameat2,
	renameat:  unix.Renameat,
	mkdirat:   unix.Mkdirat,
	unlinkat:  unix.Unlinkat,
	fcntl:     fcntlLock,
	flock:     unix.Flock,
	memfd:     unix.MemfdCreate,
	seals:     unix.FcntlInt,
	mmap:      mapFile,
	blank:     mapping.blank,
	madvise:   unix.Madvise,
	mlock:     unix.Mlock,
}

// maxInterrupts bounds how often one call is repeated because of a signal. A
// profiler at 1 kHz stays far below it.
const maxInterrupts = 100

// uninterrupted repeats call while a signal interrupts it.
func uninterrupted(call func() error) error {
	err := call()
	for n := 1; err == unix.EINTR && n < maxInterrupts; n++ {
		err = call()
	}
	return err
}

func openFile(path string, flags int, perm uint32) (fd int, err error) {
	err = uninterrupted(func() error {
		fd, err = sys.open(path, flags|unix.O_CLOEXEC, perm)
		return err
	})
	return fd, err
}

func openFileAt(dir int, name string, flags int, perm uint32) (fd int, err error) {
	err = uninterrupted(func() error {
		fd, err = sys.openat(dir, name, flags|unix.O_CLOEXEC, perm)
		return err
	})
	return fd, err
}

// closeFile closes fd, which Linux does also where it returns EINTR.
func closeFile(fd int) error {
	if err := sys.close(fd); err != unix.EINTR {
		return err
	}
	return nil
}
