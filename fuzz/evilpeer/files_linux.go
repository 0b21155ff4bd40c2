package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

// Strikes at the file of a ring, its name, and its locks, by who may write in the directory.

// litter begins the names of what the attacker leaves about.
const litter = "evil-"

// litterAt is a name in the directory of the rings.
func (p place) litterAt(what string) string {
	return filepath.Join(p.Dir, fmt.Sprintf("%s%d-%s", litter, os.Getpid(), what))
}

// clear removes what the attacker has left about, and what stands where the ring was if that is none.
func (p place) clear() {
	left, _ := filepath.Glob(filepath.Join(p.Dir, litter+"*"))
	for _, path := range left {
		_ = os.RemoveAll(path)
	}
	if st, err := os.Lstat(p.path()); err == nil && !st.Mode().IsRegular() {
		_ = os.Remove(p.path())
	}
}

// strikeGrow makes the file longer, for a moment: by a page, or as long as a file can be.
func strikeGrow(t *target) {
	more := []int64{1, 4096, 1 << 20, 1<<40 - t.stat.Size, 1 << 42}[t.chance.IntN(5)]
	if unix.Ftruncate(t.fd, t.stat.Size+more) != nil {
		return
	}
	t.pause(2 * time.Millisecond)
	_ = unix.Ftruncate(t.fd, t.stat.Size) // what is in the ring was never gone
	t.pause(2 * time.Millisecond)
}

// strikeSeal tries what the seals of a ring forbid. Every fourth time it does what they do not: a hole.
func strikeSeal(t *target) {
	try := func(err error) {
		if err == nil {
			t.allowed++
		} else {
			t.refused++
		}
	}
	try(unix.Ftruncate(t.fd, t.chance.Int64N(t.stat.Size)))
	try(unix.Ftruncate(t.fd, t.stat.Size+1+t.chance.Int64N(1<<40)))
	try(unix.Fallocate(t.fd, 0, t.stat.Size, 4096))
	_, err := unix.FcntlInt(uintptr(t.fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE)
	try(err)
	if t.chance.IntN(4) == 0 {
		at := t.chance.Int64N(t.stat.Size) &^ 4095
		_ = unix.Fallocate(t.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, 4096)
	}
	t.pause(20 * time.Millisecond)
}

// strikeRename takes the name away, and mostly gives it back.
func strikeRename(t *target) {
	aside := t.litterAt("aside" + shm.Suffix)
	if os.Rename(t.path(), aside) != nil {
		return
	}
	t.loses(aside)
	t.pause(5 * time.Millisecond)
	if t.chance.IntN(4) > 0 &&
		unix.Renameat2(unix.AT_FDCWD, aside, unix.AT_FDCWD, t.path(), unix.RENAME_NOREPLACE) == nil {
		t.pause(5 * time.Millisecond)
		return
	}
	_ = os.Remove(aside)
}

// strikeReplace puts something else in the place of the ring, all at once.
func strikeReplace(t *target) {
	other := t.litterAt("other")
	defer os.RemoveAll(other)
	if t.makeOther(other) != nil {
		return
	}
	if unix.Renameat2(unix.AT_FDCWD, other, unix.AT_FDCWD, t.path(), unix.RENAME_EXCHANGE) != nil {
		return
	}
	t.loses(other)
	t.pause(5 * time.Millisecond)
	if t.chance.IntN(2) == 0 { // and back
		_ = unix.Renameat2(unix.AT_FDCWD, other, unix.AT_FDCWD, t.path(), unix.RENAME_EXCHANGE)
		t.loses(other) // a copy, which may have been opened
		t.pause(5 * time.Millisecond)
		return
	}
	gone := t.litterAt("gone")
	if os.Rename(t.path(), gone) == nil { // else the victim was quicker
		t.loses(gone)
		_ = os.RemoveAll(gone)
	}
}

// makeOther makes what is to be there instead.
func (t *target) makeOther(path string) error {
	neighbour := filepath.Join(t.Dir, healthy+shm.Suffix)
	switch t.chance.IntN(8) {
	case 0:
		return unix.Mkfifo(path, 0o600)
	case 1:
		return os.Mkdir(path, 0o700)
	case 2:
		return os.Symlink(neighbour, path)
	case 3:
		return os.Link(neighbour, path)
	case 4:
		return os.WriteFile(path, make([]byte, t.chance.IntN(1<<16)), 0o600)
	}
	// A copy of the ring, or of an early one of its pages, or another one.
	all := make([]byte, t.stat.Size)
	if _, err := unix.Pread(t.fd, all, 0); err != nil {
		return err
	}
	switch t.chance.IntN(4) {
	case 0:
		all = all[:t.chance.IntN(len(all))]
	case 1:
		all[t.chance.IntN(layout.FixedSize)]++
	case 2:
		all[uuidAt]++
		seal(all)
	}
	return os.WriteFile(path, all, []os.FileMode{0o600, 0o600, 0o666, 0o644}[t.chance.IntN(4)])
}

// strikeHoard takes the locks of a ring, all or some, and keeps them for a moment.
func strikeHoard(t *target) {
	const firstLife int64 = 1 << 40
	hold := func(fd int) { _ = unix.Flock(fd, []int{unix.LOCK_SH, unix.LOCK_EX}[t.chance.IntN(2)]|unix.LOCK_NB) }
	fds := []int{t.fd}
	defer func() {
		_ = unix.Flock(t.fd, unix.LOCK_UN)
		all := unix.Flock_t{Type: unix.F_UNLCK, Start: firstLife - 1, Len: 300}
		_ = unix.FcntlFlock(uintptr(t.fd), unix.F_OFD_SETLK, &all)
		for _, fd := range fds[1:] {
			_ = unix.Close(fd)
		}
	}()
	if t.chance.IntN(2) == 0 {
		hold(t.fd)
	}
	for range t.chance.IntN(4) {
		l := unix.Flock_t{Type: unix.F_WRLCK, Start: firstLife - 1 + t.chance.Int64N(8), Len: 1}
		if t.chance.IntN(4) == 0 {
			l.Start, l.Len = firstLife-1, 300
		}
		_ = unix.FcntlFlock(uintptr(t.fd), unix.F_OFD_SETLK, &l)
	}
	locks := filepath.Join(t.Dir, fmt.Sprintf(".shmring-%d.locks", t.stat.Ino))
	for range t.chance.IntN(4) {
		name := filepath.Join(locks, fmt.Sprint(t.chance.IntN(8)-1))
		if fd, err := unix.Open(name, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600); err == nil {
			hold(fd)
			fds = append(fds, fd)
		}
	}
	t.pause(20 * time.Millisecond)
}

// strikeSquat makes names before others do: that of the ring, and those of the directories for locks
// of rings to come.
func strikeSquat(t *target) {
	var made []string
	defer func() {
		for _, path := range made {
			_ = os.RemoveAll(path)
		}
	}()
	mine := t.litterAt("squat")
	if t.chance.IntN(2) == 0 && t.makeSquat(mine) == nil {
		made = append(made, mine)
		if unix.Renameat2(unix.AT_FDCWD, mine, unix.AT_FDCWD, t.path(), unix.RENAME_NOREPLACE) == nil {
			made = append(made, t.path())
		}
	}
	var st unix.Stat_t
	probe := t.litterAt("probe")
	if os.WriteFile(probe, nil, 0o600) == nil && unix.Stat(probe, &st) == nil {
		_ = os.Remove(probe)
		for i := range uint64(t.chance.IntN(64)) {
			locks := filepath.Join(t.Dir, fmt.Sprintf(".shmring-%d.locks", st.Ino+1+i))
			var err error
			if t.chance.IntN(3) == 0 {
				err = os.WriteFile(locks, []byte("x"), 0o600)
			} else if err = os.Mkdir(locks, 0o777); err == nil && t.chance.IntN(2) == 0 {
				err = os.WriteFile(filepath.Join(locks, "0"), nil, 0o666)
			}
			if err == nil {
				made = append(made, locks)
			}
		}
	}
	t.pause(10 * time.Millisecond)
}

func (t *target) makeSquat(path string) error {
	switch t.chance.IntN(4) {
	case 0:
		return unix.Mkfifo(path, 0o666)
	case 1:
		return os.Mkdir(path, 0o777)
	case 2:
		return os.Symlink(filepath.Join(t.Dir, healthy+shm.Suffix), path)
	}
	return os.WriteFile(path, make([]byte, t.chance.IntN(1<<16)), 0o666)
}

// strikeRead does what who may only read a ring can: it reads, opens, locks.
func strikeRead(t *target) {
	fds := []int{}
	for range 1 + t.chance.IntN(16) {
		if fd, err := unix.Open(t.path(), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err == nil {
			fds = append(fds, fd)
		}
	}
	for _, fd := range fds {
		for range t.chance.IntN(200) {
			_, _ = unix.Pread(fd, make([]byte, 1), t.chance.Int64N(4096))
		}
	}
	if len(fds) > 0 && t.chance.IntN(8) == 0 {
		_ = unix.Flock(fds[0], unix.LOCK_SH|unix.LOCK_NB)
		t.pause(5 * time.Millisecond)
	}
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}
