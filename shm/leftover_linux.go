package shm

import (
	"os"

	"golang.org/x/sys/unix"
)

// Leftovers returns the hidden files in a directory that a process which created or replaced a
// segment has left, because it was killed at that, and those that one is just making: of those InUse
// or Err is set. That nobody has one open is proven by a lease (F_SETLEASE), which the system gives
// only then. With remove, what nobody has open is unlinked. An empty dir means what it means in
// Options. Errors: those of reading the directory.
func Leftovers(dir string, remove bool) ([]Leftover, error) {
	found, err := find(dir, leftoverOf)
	if err != nil {
		return nil, err
	}
	var list []Leftover
	for _, f := range found {
		l := Leftover{Found: f}
		if l.judge(remove); l.Err != errReplaced {
			list = append(list, l)
		}
	}
	return list, nil
}

// leftoverOf returns the name of the segment that a hidden file was to become.
func leftoverOf(file string) (name string, is bool) {
	if name, is = hiddenName(file, tmpEnd); !is {
		name, is = hiddenName(file, replacementEnd)
	}
	return name, is && ValidateName(name) == nil
}

// judge finds out whether anybody has the file open, and removes it.
func (l *Leftover) judge(remove bool) {
	at, err := openPlace(l.Path)
	if err != nil {
		l.Err = openError("open", l.Path, err)
		return
	}
	defer at.close()
	fd, st, err := at.openRegular("open")
	if err != nil {
		if l.Err = err; os.IsNotExist(err.(*Error).Err) {
			l.Err = errReplaced // it has got its name meanwhile
		}
		return
	}
	defer func() { _ = sys.close(fd) }() // and the lease with it
	l.Size = st.Size
	switch _, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_WRLCK); err {
	case nil:
	case unix.EAGAIN:
		l.InUse = true
		return
	default:
		l.Err = fail("get a lease on", l.Path, err, "only its owner and root can")
		return
	}
	if l.Err = at.named("remove", fd); l.Err == nil && remove {
		if err := at.unlink(); err != nil {
			l.Err = openError("remove", l.Path, err)
			return
		}
		l.Removed = true
	}
}

// LockDirectories returns the directories for lock files whose segment has no name in the same place: it was
// removed, or whoever was creating it was killed before it had one. Remove sweeps them as well, when
// it comes by. Of those that somebody uses, who has the segment open still or is just creating it, InUse is
// set; of those that are not ours, Err. That is proven by locks: a creator holds one on the
// directory until the name is there, and a participant one on its file. With remove, what nobody uses
// is removed. Errors: those of reading the directory.
func LockDirectories(dir string, remove bool) ([]Leftover, error) {
	found, err := find(dir, func(file string) (string, bool) {
		_, is := lockOwner(file)
		return "", is
	})
	if err != nil {
		return nil, err
	}
	var list []Leftover
	for _, f := range found {
		l := Leftover{Found: f}
		if l.judgeLocks(remove); l.Err != errReplaced {
			list = append(list, l)
		}
	}
	return list, nil
}

// judgeLocks is judge of a directory for lock files. errReplaced: it belongs to a segment, or is gone.
func (l *Leftover) judgeLocks(remove bool) {
	at, err := openPlace(l.Path)
	if err != nil {
		l.Err = openError("open", l.Path, err)
		return
	}
	defer at.close()
	ino, _ := lockOwner(at.base)
	names, err := at.names()
	if l.Err = err; err != nil {
		return
	}
	if at.inodes(names)[ino] {
		l.Err = errReplaced
		return
	}
	switch busy, err := at.sweepOrphan(ino, remove); {
	case err != nil:
		l.Err = err
	case busy:
		l.InUse = true
	default:
		l.Removed = remove
	}
}
