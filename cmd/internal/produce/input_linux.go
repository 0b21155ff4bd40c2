package produce

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// polled reads from a pipe, a terminal or a socket, and stops waiting for it when
// ctx ends. Such an input is often shared with other processes, so it is asked
// whether it has something rather than made non-blocking, which they would notice.
type polled struct {
	checked
	fds [2]unix.PollFd // the second becomes readable when ctx ends
}

// interruptible returns a reader of f that ctx ends, and what to call when done.
func interruptible(ctx context.Context, f *os.File) (io.Reader, func(), error) {
	if isRegular(f) {
		return checked{ctx, f}, func() {}, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	unhook := context.AfterFunc(ctx, func() { w.Close() })
	p := &polled{checked: checked{ctx, f}}
	for i, f := range []*os.File{f, r} {
		p.fds[i] = unix.PollFd{Fd: int32(f.Fd()), Events: unix.POLLIN}
	}
	return p, func() { unhook(); w.Close(); r.Close() }, nil
}

func (p *polled) Read(b []byte) (int, error) {
	for {
		_, err := unix.Poll(p.fds[:], -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, os.NewSyscallError("poll", err)
		}
		n, err := p.checked.Read(b)
		if errors.Is(err, unix.EAGAIN) {
			continue // somebody else made it non-blocking, and took what was there
		}
		return n, err
	}
}
