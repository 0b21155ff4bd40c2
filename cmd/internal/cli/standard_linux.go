package cli

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// waiting writes to a standard file. Whoever shares that with us may make it non-blocking at
// any time, as node and ssh do with pipes of theirs; then it is full where it would block.
type waiting struct{ f *os.File }

// Waiting returns a writer that waits where f has no room, whatever others have made of f.
func Waiting(f *os.File) io.Writer { return waiting{f} }

func (w waiting) Fd() uintptr { return w.f.Fd() }

func (w waiting) Write(p []byte) (n int, err error) {
	for {
		m, err := w.f.Write(p[n:])
		n += m
		if !errors.Is(err, unix.EAGAIN) {
			return n, err
		}
		fds := []unix.PollFd{{Fd: int32(w.f.Fd()), Events: unix.POLLOUT}}
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return n, os.NewSyscallError("poll", err)
		}
	}
}

// CheckReadable reports standard input that cannot be read, CheckWritable standard output that
// cannot be written: that was closed when the program started, or is open for the other only. In
// the place of a closed file the Go runtime opens /dev/null, before anything of ours runs, so
// a /dev/null that is open for both is taken for it. Some that start programs open theirs so
// (python, node): the error is what they get too, and the flag that avoids it.
func CheckReadable(r io.Reader) error { return checkOpen(r, "standard input", unix.O_WRONLY) }

// CheckWritable is told of at CheckReadable.
func CheckWritable(w io.Writer) error { return checkOpen(w, "standard output", unix.O_RDONLY) }

func checkOpen(file any, name string, other int) error {
	f, ok := file.(interface{ Fd() uintptr })
	if !ok {
		return nil
	}
	fd := f.Fd()
	flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(fd), &stat); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	null := stat.Mode&unix.S_IFMT == unix.S_IFCHR && stat.Rdev == unix.Mkdev(1, 3)
	switch mode := flags & unix.O_ACCMODE; {
	case mode == other:
		return fmt.Errorf("%s: %w: it is open for the other direction only", name, unix.EBADF)
	case null && mode == unix.O_RDWR:
		return fmt.Errorf("%s is closed, or /dev/null open for both directions, which looks the same", name)
	}
	return nil
}
