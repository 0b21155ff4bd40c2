package shmnet

import (
	"io"
	"net"
	"os"
	"syscall"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/ring"
)

// reader is the receiving half of a connection.
type reader struct {
	half
	ring *ring.Consumer
	msg  ring.Message
	rest []byte // of msg: in the ring, and not read yet
	owed int    // bytes that were read and are not released
	most int    // so many are released at once
	end  error  // what every call returns from now on
	// letGo: the handle is closed. Whoever is the last to have mu does that.
	letGo bool
}

func (r *reader) start(sleeps bool) {
	r.spinner.start(sleeps)
	r.ready = func() bool { return r.ring.HasNews() || r.c.over() }
	r.most = r.ring.Slots() * slotSize / releaseShare
}

// releaseShare is which part of a ring is released at once: the writer, if it waits for room, is not
// woken for every message. What is left is released before waiting.
const releaseShare = 4

// done notes that all of msg was read.
func (r *reader) done() {
	if r.owed += max(slotSize, r.msg.Len()); r.owed >= r.most {
		r.release()
	}
}

func (r *reader) release() {
	if r.owed > 0 {
		r.owed = 0
		r.msg.Release()
	}
}

// unlock ends a call. If Close came meanwhile, it lets go of the ring: not before, because what is read
// would be zeros then.
func (r *reader) unlock() {
	for {
		if r.c.closed.Load() && !r.letGo {
			r.letGo = true
			_ = r.handle.Close()
		}
		if r.mu.Unlock(); !r.c.closed.Load() || !r.mu.TryLock() {
			return
		}
		if r.letGo {
			r.mu.Unlock()
			return
		}
	}
}

// armed is what the bell asks before it sleeps.
func (r *reader) armed() bool { return r.c.over() || r.ring.Arm() }

// Read reads what is there, at most len(b) bytes, and waits if there is nothing.
func (c *Conn) Read(b []byte) (n int, err error) {
	r := &c.in
	r.mu.Lock()
	if err = r.begin(); err == nil && len(b) > 0 {
		n, err = r.read(b)
	}
	r.unlock()
	read()
	if err != nil && err != io.EOF {
		err = c.opError("read", err)
	}
	return n, err
}

func (r *reader) read(b []byte) (n int, err error) {
	for {
		looked, lost := r.look(func() bool { n = r.take(b); return n > 0 })
		if lost != nil {
			return 0, r.c.failed(lost, syscall.ECONNRESET)
		}
		switch {
		case r.c.closed.Load():
			return 0, net.ErrClosed
		case n > 0:
			return n, nil
		}
		if err := r.wait(looked); err != nil {
			return 0, err
		}
	}
}

// look calls take, and if that finds nothing, again as soon as there is something, for as long as it is likely to pay
// to look for that. looked: it did not come. A page that is missing is an error (lost), and does not end the process.
func (r *reader) look(take func() bool) (looked bool, lost error) {
	lost = r.ring.Guard(func() {
		if take() || r.end != nil || r.c.over() {
			return
		}
		r.release()
		if looked = !r.spinner.spin(r.ready); !looked {
			take()
		}
	})
	return looked, lost
}

// take copies what is there.
func (r *reader) take(b []byte) (n int) {
	for {
		if len(r.rest) > 0 {
			k := copy(b[n:], r.rest)
			n += k
			r.rest = r.rest[k:]
			if len(r.rest) > 0 {
				return n
			}
			r.done()
		}
		if n == len(b) || !r.next() {
			return n
		}
	}
}

// next makes the next message rest. false: there is none now, or never again (end).
func (r *reader) next() bool {
	if r.end != nil {
		return false
	}
	m, err := r.ring.TryNext()
	switch err {
	case nil:
		r.msg, r.rest = m, m.Bytes()
		return true
	case shmring.ErrEmpty:
	default:
		r.end = err
	}
	return false
}

// wait waits after next found nothing. After nil next is to be asked again. looked: it need not look before it sleeps.
func (r *reader) wait(looked bool) error {
	if r.end == nil {
		if gone := r.c.gone.Load(); gone {
			// What it did was before it was gone, and next is asked after that.
			if lost := r.ring.Guard(func() {
				if !r.next() && r.end == nil {
					r.end = shmring.ErrPeerDead
				}
			}); lost != nil {
				r.end = lost
			}
		} else {
			var err error
			if r.end = r.ring.Guard(func() { r.release(); err = r.await(looked) }); r.end == nil {
				return err
			}
		}
	}
	switch r.end {
	case nil, io.EOF:
		return r.end
	case shmring.ErrPeerDead:
		return r.c.peerError(syscall.ECONNRESET)
	}
	return r.c.failed(r.end, syscall.ECONNRESET)
}

// WriteTo writes what is read to w, straight from shared memory, until the end. Errors: those of
// Read, other than io.EOF, and of w.
func (c *Conn) WriteTo(w io.Writer) (total int64, err error) {
	r := &c.in
	r.mu.Lock()
	defer r.unlock()
	for {
		err := r.begin()
		if err == nil {
			var n int64
			if lost := r.ring.Guard(func() { n, err = r.pass(w) }); lost != nil {
				err = r.c.failed(lost, syscall.ECONNRESET)
			}
			total += n
			switch {
			case err != nil:
				return total, err
			case c.closed.Load():
				err = net.ErrClosed
			case r.deadline.over():
				err = os.ErrDeadlineExceeded
			default:
				err = r.wait(false)
			}
		}
		switch err {
		case nil:
		case io.EOF:
			return total, nil
		default:
			return total, c.opError("read", err)
		}
	}
}

// pass writes what is there. Its error is that of w.
func (r *reader) pass(w io.Writer) (total int64, err error) {
	for len(r.rest) > 0 || r.next() {
		read()
		n, err := w.Write(r.rest)
		total += int64(n)
		if n < 0 || n > len(r.rest) {
			return total, io.ErrShortWrite
		}
		short := n < len(r.rest)
		if r.rest = r.rest[n:]; !short {
			r.done()
		}
		if err != nil || r.c.closed.Load() || r.deadline.over() {
			return total, err
		}
		if short {
			return total, io.ErrShortWrite
		}
	}
	return total, nil
}
