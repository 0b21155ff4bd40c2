package shm

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lookFile is what an Onlooker has open.
type lookFile struct {
	fd     int
	m      mapping
	sealed bool // it has no name
}

// LookAt opens a file to look at it, whatever it is: see [Onlooker]. path is that of the file.
// A file with holes in a memory file system is not looked at: whoever loads from a hole there fills it,
// and nobody could tell any more that something is missing. Errors: that, a [*TruncatedError]; and,
// all of them an [*Error], fs.ErrNotExist, fs.ErrPermission, ErrRefused (not a regular file), and
// what the system said.
func LookAt(path string) (*Onlooker, error) {
	// Non-blocking, for FIFOs and the holders of leases.
	fd, err := openFile(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		if err == unix.EACCES || err == unix.EPERM {
			return nil, fail("look at", path, err, "%s", accessHint(path, unix.R_OK))
		}
		return nil, openError("look at", path, err)
	}
	return lookAtOpen(path, lookFile{fd: fd})
}

// Look returns a sealed segment in the eyes of somebody who takes no part in it, see [Onlooker]. It is of a
// descriptor of its own, stays when s is closed, and needs no /proc. Errors: those of [Segment.Share], and of [LookAt].
func (s *Segment) Look() (*Onlooker, error) {
	fd, err := s.Share()
	if err != nil {
		return nil, err
	}
	return lookAtOpen(s.Path(), lookFile{fd: fd, sealed: true})
}

// lookAtOpen looks at a file that is open, and closes it after an error.
func lookAtOpen(path string, f lookFile) (_ *Onlooker, err error) {
	defer func() {
		if err != nil {
			_ = sys.close(f.fd)
		}
	}()
	var st unix.Stat_t
	if err := sys.fstat(f.fd, &st); err != nil {
		return nil, fail("look at", path, err, "")
	}
	o := &Onlooker{path: path, stat: statOf(&st), os: f}
	if what := irregular(&st); what != "" {
		return nil, fail("look at", path, ErrRefused, "it is %s, not a regular file", what)
	}
	if st.Size == 0 {
		return o, nil
	}
	if st.Blocks*512 < st.Size && fillsHoles(f.fd) {
		return nil, hasHoles(path, &st)
	}
	if err := mappable(path, st.Size); err != nil {
		return nil, err
	}
	if o.os.m, err = mapReadOnly(f.fd, int(st.Size)); err != nil {
		return nil, fail("look at", path, err, "it cannot be mapped for reading")
	}
	o.mem = o.os.m.bytes()
	return o, nil
}

func hasHoles(path string, st *unix.Stat_t) error {
	return &TruncatedError{Path: path, Size: st.Size, Memory: st.Blocks * 512, Want: st.Size}
}

// fillsHoles tells whether to load from a hole in a file that is mapped shared takes memory for it.
func fillsHoles(fd int) bool {
	var st unix.Statfs_t
	return uninterrupted(func() error { return sys.fstatfs(fd, &st) }) == nil && int64(st.Type) == unix.TMPFS_MAGIC
}

// StatPath returns what the system says of a file that perhaps may not be read. Errors: an
// [*Error] with fs.ErrNotExist, or what the system said.
func StatPath(path string) (FileStat, error) {
	var st unix.Stat_t
	if err := sys.lstat(path, &st); err != nil {
		return FileStat{}, fail("stat", path, err, "")
	}
	return statOf(&st), nil
}

func statOf(st *unix.Stat_t) FileStat {
	return FileStat{
		Size: st.Size, UID: int(st.Uid), GID: int(st.Gid), Mode: fs.FileMode(st.Mode & 0o777), Device: uint64(st.Dev),
		Inode: st.Ino, Irregular: irregular(st),
	}
}

func idOf(st FileStat) lockID { return lockID{unix.Major(st.Device), unix.Minor(st.Device), st.Inode} }

// ReadLockTable reads /proc/locks. Where it may not, or there is none, the table says that it
// knows nothing.
func ReadLockTable() *LockTable {
	f, err := os.Open("/proc/locks")
	if err != nil {
		return &LockTable{}
	}
	defer f.Close()
	text, err := readLocks(func(buf []byte, at int64) (n int, err error) {
		err = uninterrupted(func() (err error) {
			n, err = unix.Pread(int(f.Fd()), buf, at)
			return err
		})
		return n, err
	})
	if err != nil {
		return &LockTable{}
	}
	return parseLocks(string(text))
}

const (
	locksBack    = 1024 // bytes: some twenty locks
	locksInBoth  = 3    // locks that two pages have to share
	locksRestart = 32   // how often it begins again, before it takes what there is
)

// readLocks reads /proc/locks by read, which is pread(2) of it. What one call returns, up to a page, is of one
// moment; the next one goes on behind as many locks as there were, and if some of those have gone meanwhile it
// leaves out as many that are held, whose owners would be taken for dead. So each begins some way back, and has to
// find locks there that the one before has returned: the list keeps their order, so nothing that was there all the
// time is left out between. Else it begins again; what it has read so far stays, twice is no harm.
func readLocks(read func(buf []byte, at int64) (int, error)) (text []byte, err error) {
	buf := make([]byte, 64<<10)
	var last []byte // the end of text, as it came last
	for end, restarts := int64(0), 0; ; {
		from := max(0, end-locksBack)
		n, err := read(buf, from)
		if err != nil {
			return nil, err
		}
		page := buf[:n]
		if from > 0 {
			_, page, _ = bytes.Cut(page, []byte("\n")) // the rest of a line
			if restarts < locksRestart && !continues(last, page) {
				end, restarts = 0, restarts+1
				continue
			}
		}
		text = append(text, page...)
		last = text[len(text)-len(page):]
		if n < os.Getpagesize()-locksBack/2 { // not full: it has come to the end of the list
			return text, nil
		}
		end = from + int64(n)
	}
}

// continues tells whether there are locks in a page that were in the one before it.
func continues(last, page []byte) bool {
	before := map[string]bool{}
	for line := range bytes.Lines(last) {
		before[lockOf(line)] = true
	}
	both := 0
	for line := range bytes.Lines(page) {
		if before[lockOf(line)] {
			both++
		}
	}
	return both >= locksInBoth
}

// lockOf is a line without its number, which says only where it is.
func lockOf(line []byte) string {
	_, lock, _ := bytes.Cut(line, []byte(": "))
	return string(lock)
}

func (f *lookFile) close() {
	if f.m.size > 0 {
		_ = f.m.unmap()
	}
	_ = sys.close(f.fd)
}

// check looks what has become of the file, and of its name.
func (f *lookFile) check(o *Onlooker) error {
	var st unix.Stat_t
	if err := sys.fstat(f.fd, &st); err != nil {
		return fail("look at", o.path, err, "")
	}
	if st.Size < o.stat.Size {
		return &TruncatedError{Path: o.path, Size: st.Size, Memory: st.Blocks * 512, Want: o.stat.Size}
	}
	if f.sealed { // nobody can shorten it, and it has no name to lose
		if st.Blocks*512 < st.Size {
			return hasHoles(o.path, &st)
		}
		return nil
	}
	return hasName(o.path, &st, func(found *unix.Stat_t) error { return sys.lstat(o.path, found) })
}

// tellMissing says why one of the first n bytes could not be loaded.
func (f *lookFile) tellMissing(n int) string {
	var st unix.Stat_t
	if err := sys.fstat(f.fd, &st); err == nil && st.Size < int64(n) {
		return fmt.Sprintf("%d bytes are left of %d", st.Size, n)
	}
	return "somebody shortened it for a moment, or there is no memory for a hole in it"
}

func (f *lookFile) held(o *Onlooker, kind Locks, i int, table *LockTable) (held, sure bool, err error) {
	if kind == OFD {
		held, err = lockedByOther(f.fd, lifeBase+int64(i))
		return held, err == nil, err
	}
	id, there, err := lockFileOf(o, i)
	if err != nil {
		return false, false, err
	}
	if !there {
		return false, true, nil
	}
	if table == nil || !table.readable {
		return false, false, nil
	}
	held = table.holdsFlock(id)
	return held, held || f.isListed(), nil
}

// isListed tells whether /proc/locks names the file by the numbers that stat(2) has for it, which
// file systems made of several do not do.
func (f *lookFile) isListed() bool {
	var st unix.Statfs_t
	if err := uninterrupted(func() error { return sys.fstatfs(f.fd, &st) }); err != nil {
		return false
	}
	switch int64(st.Type) {
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC, unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.HUGETLBFS_MAGIC:
		return true
	}
	return false
}

// lockFileOf finds the lock file of a life lock that is a flock.
func lockFileOf(o *Onlooker, i int) (id lockID, there bool, err error) {
	path := filepath.Join((&place{path: o.path}).lockDirectory(o.stat.Inode).path, strconv.Itoa(i))
	st, err := StatPath(path)
	switch {
	case err == nil:
		return idOf(st), true, nil
	case os.IsNotExist(err.(*Error).Err):
		return id, false, nil
	}
	return id, false, err
}

// Segments returns the files in a directory that have a segment's name, whatever they are. An
// empty dir means what it means in Options. Errors: those of reading the directory.
func Segments(dir string) ([]Found, error) {
	return find(dir, func(file string) (name string, is bool) {
		name, is = strings.CutSuffix(file, Suffix)
		return name, is && ValidateName(name) == nil
	})
}

// find returns the files in a directory whose names are, by nameOf, those of a segment.
func find(dir string, nameOf func(file string) (name string, is bool)) ([]Found, error) {
	dir, err := filepath.Abs((&Options{Dir: dir}).dir())
	if err != nil {
		return nil, fail("list", dir, err, "")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fail("list", dir, err.(*fs.PathError).Err, "")
	}
	var list []Found
	for _, e := range entries {
		if name, is := nameOf(e.Name()); is {
			list = append(list, Found{name, filepath.Join(dir, e.Name())})
		}
	}
	return list, nil
}
