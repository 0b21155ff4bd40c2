//go:build !linux

package shm

import "io/fs"

type lookFile struct{}

func (*lookFile) close() {}

func (*lookFile) tellMissing(int) string { return "" }

func (*lookFile) check(*Onlooker) error { return ErrUnsupported }

func trusted(string, string, int, fs.FileMode) error { return ErrUnsupported }

func (*lookFile) held(*Onlooker, Locks, int, *LockTable) (held, sure bool, err error) {
	return false, false, ErrUnsupported
}

func (*lookFile) isListed() bool { return false }

func idOf(st FileStat) lockID { return lockID{inode: st.Inode} }

// LookAt returns an [*Error] for which errors.Is(err, ErrUnsupported) holds: it needs Linux.
func LookAt(path string) (*Onlooker, error) { return nil, onlyLinux("look at", path) }

// StatPath returns an [*Error] for which errors.Is(err, ErrUnsupported) holds: it needs Linux.
func StatPath(path string) (FileStat, error) { return FileStat{}, onlyLinux("stat", path) }

// ReadLockTable returns a table that knows nothing.
func ReadLockTable() *LockTable { return &LockTable{} }

// Segments returns an [*Error] for which errors.Is(err, ErrUnsupported) holds: it needs Linux.
func Segments(dir string) ([]Found, error) { return nil, onlyLinux("list", dir) }

func onlyLinux(op, path string) error {
	return fail(op, path, ErrUnsupported, "segments in files need Linux; Heap works everywhere")
}

// Leftovers returns an [*Error] for which errors.Is(err, ErrUnsupported) holds: it needs Linux.
func Leftovers(dir string, remove bool) ([]Leftover, error) { return nil, onlyLinux("list", dir) }

// LockDirectories returns what Leftovers does.
func LockDirectories(dir string, remove bool) ([]Leftover, error) { return nil, onlyLinux("list", dir) }
