package shmnet

import (
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/shmring/shmring"
)

// MaxMessage returns how many bytes [Conn.WriteMessage] takes at most: an eighth of the buffer, up
// to 64 KiB.
func (c *Conn) MaxMessage() int { return c.out.chunk }

// MaxIncoming returns how many bytes a message that comes has at most.
func (c *Conn) MaxIncoming() int { return c.in.ring.MaxMessage() }

// WriteMessage writes a message of n bytes, 1 to MaxMessage, or fewer: fill writes it in place and
// returns how many there are. [Conn.ReadMessage] gets it in one piece, Read as it does other bytes.
// fill may be called only when there is room, and calls nothing of c; if it returns an error or 0,
// nothing is written, and WriteMessage returns that error. Other errors: those of Write; a
// *shmring.SizeError.
func (c *Conn) WriteMessage(n int, fill func([]byte) (int, error)) error {
	w := &c.out
	w.mu.Lock()
	defer w.unlock()
	if n < 1 || n > w.chunk {
		return c.opError("write", &shmring.SizeError{Size: n, Max: w.chunk})
	}
	for {
		err := w.begin()
		if err == nil {
			err = w.usable()
		}
		if err == nil {
			var refused error
			w.need = n
			if lost := w.ring.Guard(func() { refused, err = w.message(fill) }); lost != nil {
				err = lost
			}
			switch {
			case refused != nil:
				return refused
			case err == nil:
				return nil
			case err == shmring.ErrFull:
				err = w.wait()
			default:
				err = w.failed(err)
			}
		}
		if err != nil {
			return c.opError("write", err)
		}
	}
}

// message sends what fill writes. refused is the error of fill.
func (w *writer) message(fill func([]byte) (int, error)) (refused, err error) {
	claim, err := w.ring.TryClaim(w.need)
	if err != nil {
		return nil, err
	}
	defer claim.Abort() // also where fill panics
	n, refused := fill(claim.Bytes())
	if n < 0 || n > w.need {
		panic(fmt.Sprintf("shmnet: WriteMessage: %d bytes of %d were filled", n, w.need))
	}
	if refused != nil || n == 0 {
		return refused, nil
	}
	wrote()
	if n < w.need {
		claim.Shorten(n)
	}
	return nil, claim.Commit()
}

// ReadMessage waits for the next message and calls f with it, in place: the bytes are valid until f returns.
// What Write has written comes in pieces of at most MaxIncoming bytes. f calls nothing of c that
// reads. Errors: io.EOF and those of Read, and that of f, after which the message is gone.
func (c *Conn) ReadMessage(f func([]byte) error) error {
	r := &c.in
	r.mu.Lock()
	defer r.unlock()
	for {
		err := r.begin()
		if err == nil {
			var found bool
			var refused error
			looked, lost := r.look(func() bool { found, refused = r.handOut(f); return found })
			if lost != nil {
				err = r.c.failed(lost, syscall.ECONNRESET)
			}
			switch {
			case err != nil:
			case found:
				return refused
			case c.closed.Load():
				err = net.ErrClosed
			default:
				err = r.wait(looked)
			}
		}
		switch err {
		case nil:
		case io.EOF:
			return io.EOF
		default:
			return c.opError("read", err)
		}
	}
}

// handOut calls f with the next message, if there is one.
func (r *reader) handOut(f func([]byte) error) (found bool, err error) {
	if len(r.rest) == 0 && !r.next() {
		return false, nil
	}
	read()
	defer func() { // also where f panics
		r.rest = nil
		r.done()
	}()
	return true, f(r.rest)
}
