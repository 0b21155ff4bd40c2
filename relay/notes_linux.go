package relay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// notes is a file in which a relay notes what it is about to do, mapped, beside the ring. Ring and notes are
// memory of the same kernel: what a process has stored in either is there when it is killed, and both are
// gone when the machine stops. Only the holder of the file's flock reads or writes it.
//
//	0  magic    16  ring's UUID
//	8  version  32  created: of the stream, in nanoseconds since 1970
type notes struct {
	path   string
	file   *os.File
	memory []byte
}

const atMagic, atVersion, atRing, atCreated = 0, 8, 16, 32

// openNotes opens such a file, or makes it, of zeros, with all of the room that it needs: later nothing can be short of
// it. Errors: ErrBusy if another relay has it; ErrMark; ErrNotes.
func openNotes(path string, size int64, magic, version uint64) (n *notes, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, &NotesError{path, size, err}
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, busyMark{path}
		}
		return nil, &NotesError{path, size, &fs.PathError{Op: "flock", Path: path, Err: err}}
	}
	if err := makeRoom(f, size); err != nil {
		return nil, err
	}
	n = &notes{path: path, file: f}
	if n.memory, err = unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, &NotesError{path, size, &fs.PathError{Op: "mmap", Path: path, Err: err}}
	}
	switch was := n.word(atMagic).Load(); {
	case was == 0:
		n.word(atVersion).Store(version)
		n.word(atMagic).Store(magic)
	case was != magic || n.word(atVersion).Load() != version:
		return nil, errors.Join(&MarkError{path}, unix.Munmap(n.memory))
	}
	return n, nil
}

// makeRoom makes a new file as long as it is to be. A shorter one of zeros is new, too: who makes it can be killed, and
// where there is not room enough some file systems keep what they had room for.
func makeRoom(f *os.File, size int64) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() || st.Size() > size {
		return &MarkError{f.Name()}
	}
	if st.Size() == size {
		return nil
	}
	begun := make([]byte, st.Size())
	if _, err := f.ReadAt(begun, 0); err != nil && err != io.EOF {
		return &NotesError{f.Name(), size, err}
	}
	if len(bytes.Trim(begun, "\x00")) > 0 {
		return &MarkError{f.Name()}
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, size); err != nil {
		return &NotesError{f.Name(), size, &fs.PathError{Op: "fallocate", Path: f.Name(), Err: err}}
	}
	return nil
}

func (n *notes) close() error {
	err := unix.Munmap(n.memory)
	n.memory = nil
	return errors.Join(err, n.file.Close())
}

func (n *notes) setRing(uuid [16]byte) { copy(n.memory[atRing:atRing+16], uuid[:]) }

func (n *notes) isRing(uuid [16]byte) bool { return [16]byte(n.memory[atRing:atRing+16]) == uuid }

type busyMark struct{ path string }

func (e busyMark) Error() string {
	return fmt.Sprintf("relay: %s: another relay has it: each needs a durable name of its own, or a mark directory",
		e.path)
}
func (e busyMark) Is(target error) bool { return target == ErrBusy }
