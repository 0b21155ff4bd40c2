package main

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/fuzz/internal/labs"
)

// blow does something to an open file of so many bytes, once.
type blow func(chance *rand.Rand, fd int, size int64) error

func truncate(chance *rand.Rand, fd int, size int64) error {
	return unix.Ftruncate(fd, chance.Int64N(2)*chance.Int64N(size)) // every second time nothing is left
}

func punch(chance *rand.Rand, fd int, size int64) error {
	if chance.IntN(4) == 0 {
		if err := unix.Ftruncate(fd, chance.Int64N(size)); err != nil {
			return err
		}
		return unix.Ftruncate(fd, size)
	}
	page := int64(os.Getpagesize())
	for range 1 + chance.IntN(4) {
		at := chance.Int64N((size+page-1)/page) * page
		if err := unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, page); err != nil {
			return err
		}
	}
	return nil
}

// attackAll attacks each of the victim's rings once, a moment after it has come into being, until
// the victim has ended. It returns how many that were.
func attackAll(l *labs.Lab, victim *labs.Child, b blow) (attacks int, err error) {
	go func() { _ = victim.Wait() }()
	path := filepath.Join(l.Rings, attacked+".shmring")
	last := uint64(0)
	for !victim.HasEnded() && l.Ctx.Err() == nil {
		ino, done := attackOnce(l.Rand, path, last, b)
		if done {
			attacks++
			last = ino
			if err := say(l.Files, ino); err != nil {
				return attacks, err
			}
		} else {
			time.Sleep(20 * time.Microsecond)
		}
	}
	return attacks, nil
}

func attackOnce(chance *rand.Rand, path string, last uint64, b blow) (ino uint64, done bool) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Ino == last || st.Nlink != 1 || st.Size == 0 {
		return 0, false
	}
	time.Sleep(time.Duration(chance.Int64N(int64(2 * time.Millisecond))))
	return st.Ino, b(chance, fd, st.Size) == nil
}

// struck is a link to the number of the inode that was attacked last. The victim waits for that, so that
// it is there however late the attack comes.
func struck(files string) string { return filepath.Join(files, "struck") }

// say makes the link.
func say(files string, ino uint64) error {
	next := struck(files) + ".new"
	return errors.Join(os.Symlink(strconv.FormatUint(ino, 10), next), os.Rename(next, struck(files)))
}

// attackSeen waits until the attacker has done with a file. Its holes may be filled by then.
func attackSeen(files, path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	for begin := time.Now(); ; time.Sleep(50 * time.Microsecond) {
		if ino, _ := os.Readlink(struck(files)); ino == strconv.FormatUint(st.Ino, 10) {
			return nil
		}
		if time.Since(begin) > labs.Patience {
			return errors.New("no attack")
		}
	}
}
