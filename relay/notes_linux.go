package relay

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

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
