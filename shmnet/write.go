package shmnet

import (
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/ring"
)

// writer is the sending half of a connection.
type writer struct {
	half
	ring  *ring.Producer
	chunk int         // how many bytes a message has at most
	need  int         // for so many the sleeper needs room
	ended atomic.Bool // by CloseWrite
	said  bool        // the peer was told of that
}

func (w *writer) start(sleeps bool) {
	w.spinner.start(sleeps)
	w.chunk = w.ring.MaxMessage()
	w.ready = func() bool { return w.ring.HasSpace(w.need) || w.over() }
}

// over tells whether there is no room to wait for.
func (w *writer) over() bool { return w.c.over() || w.ended.Load() }

// armed is what the bell asks before it sleeps.
func (w *writer) armed() bool { return w.over() || w.ring.Arm(w.need) }

// unlock ends a call. If CloseWrite came meanwhile, it ends the stream.
func (w *writer) unlock() {
	for {
		if w.ended.Load() && !w.said {
			w.said = true
			// It fails where the connection is closed, or has failed: then it has ended.
			_ = w.ring.Guard(func() { _ = w.ring.CloseSend() })
		}
		said := w.said
		if w.mu.Unlock(); said || !w.ended.Load() || !w.mu.TryLock() {
			return
		}
	}
}

// usable is asked before each message.
func (w *writer) usable() error {
	switch {
	case w.c.closed.Load():
		return net.ErrClosed
	case w.c.gone.Load():
		return w.c.peerError(syscall.EPIPE)
	case w.ended.Load():
		return errEnded
	}
	return nil
}

// errEnded: after CloseWrite.
var errEnded = &endedError{}

type endedError struct{}

func (*endedError) Error() string { return "write after CloseWrite: " + syscall.EPIPE.Error() }
func (*endedError) Unwrap() error { return syscall.EPIPE }

// Write writes all of b, and waits while there is no room. n is less than len(b) only with an
// error.
func (c *Conn) Write(b []byte) (n int, err error) {
	w := &c.out
	w.mu.Lock()
	if err = w.begin(); err == nil {
		wrote()
		n, err = w.write(b)
	}
	w.unlock()
	if err != nil {
		err = c.opError("write", err)
	}
	return n, err
}

func (w *writer) write(b []byte) (n int, err error) {
	for {
		if err := w.usable(); err != nil || n == len(b) {
			return n, err
		}
		var sent int
		if lost := w.ring.Guard(func() { sent, err = w.send(b[n:]) }); lost != nil {
			err = lost
		}
		n += sent
		switch err {
		case nil:
			return n, nil
		case shmring.ErrFull:
			if err := w.wait(); err != nil {
				return n, err
			}
		default:
			return n, w.failed(err)
		}
	}
}

// send sends as much as there is room for.
func (w *writer) send(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		w.need = min(len(b)-n, w.chunk)
		if err = w.ring.TrySend(b[n : n+w.need]); err == nil {
			n += w.need
		}
	}
	return n, err
}

// wait waits for room.
func (w *writer) wait() (err error) {
	if lost := w.ring.Guard(func() { err = w.await(false) }); lost != nil {
		return w.failed(lost)
	}
	if err == os.ErrDeadlineExceeded && w.ended.Load() {
		return errEnded
	}
	return err
}

func (w *writer) failed(err error) error {
	if err == shmring.ErrEnded {
		return errEnded
	}
	return w.c.failed(err, syscall.EPIPE)
}

// ReadFrom writes what it reads from r, which reads into shared memory, until r ends. Errors: those of
// Write and of r, other than io.EOF. While r reads nothing else is written.
func (c *Conn) ReadFrom(r io.Reader) (total int64, err error) {
	w := &c.out
	w.mu.Lock()
	defer w.unlock()
	piece := min(firstPiece, w.chunk)
	for {
		var n int
		var ended error // of r
		if err = w.begin(); err == nil {
			err = w.usable()
		}
		if err == nil {
			w.need = piece
			if lost := w.ring.Guard(func() { n, ended, err = w.fill(r) }); lost != nil {
				err = lost
			}
			switch err {
			case nil:
				total += int64(n)
				// A message keeps the room that was claimed for it.
				if n == piece {
					piece = min(2*piece, w.chunk)
				} else if n < piece/4 {
					piece = max(piece/2, slotSize)
				}
			case shmring.ErrFull:
				err = w.wait()
			default:
				err = w.failed(err)
			}
		}
		switch {
		case err != nil:
			return total, c.opError("write", err)
		case ended == io.EOF:
			return total, nil
		case ended != nil:
			return total, ended
		}
	}
}

// firstPiece is how much ReadFrom reads at first. It goes by what comes.
const firstPiece = 4 << 10

// fill sends what r reads at one time. ended is the error of r.
func (w *writer) fill(r io.Reader) (n int, ended, err error) {
	claim, err := w.ring.TryClaim(w.need)
	if err != nil {
		return 0, nil, err
	}
	defer claim.Abort() // also where r panics
	n, ended = r.Read(claim.Bytes())
	if n < 0 || n > w.need {
		panic("shmnet: ReadFrom: a reader that returned an invalid count")
	}
	if n == 0 {
		return 0, ended, nil
	}
	wrote()
	claim.Shorten(n)
	return n, ended, claim.Commit()
}
