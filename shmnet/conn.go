package shmnet

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/internal/handover"
	"github.com/shmring/shmring/internal/inner"
	"github.com/shmring/shmring/ring"
)

// Conn is a connection: a net.Conn. All methods may be called by any goroutine at any time.
//
// What a Write returned for is in shared memory: the peer can read it also when this process is dead.
// A Read returns io.EOF behind what a peer had written that closed the connection, or its half of it.
// Errors come as *net.OpError; they match net.ErrClosed, os.ErrDeadlineExceeded, syscall.ECONNRESET or
// syscall.EPIPE (*[PeerError]), or, where the peer did what no correct peer does, also
// shmring.ErrCorrupt. Whoever passes data on that was read in place ([Conn.WriteTo]) should know that
// a peer which breaks the rules can change it meanwhile.
type Conn struct {
	addr   Addr
	peer   handover.Credentials
	in     reader
	out    writer
	closed atomic.Bool
	gone   atomic.Bool           // the peer
	why    atomic.Pointer[error] // unless it died or closed
	ended  chan struct{}         // closed with closed, or gone
	ending sync.Once
	watch  uint64
	done   func() // tells the listener
	once   sync.Once
	err    error
}

var (
	_ net.Conn      = (*Conn)(nil)
	_ io.ReaderFrom = (*Conn)(nil)
	_ io.WriterTo   = (*Conn)(nil)
	_ syscall.Conn  = (*Conn)(nil)
)

// began is the zero of moments: deadlines are compared with a clock that nobody sets.
var began = time.Now()

// deadline is the moment at which calls end, or 0.
type deadline struct{ at atomic.Int64 }

func (d *deadline) set(t time.Time) {
	if t.IsZero() {
		d.at.Store(0)
		return
	}
	d.at.Store(max(1, int64(time.Until(t)+time.Since(began))))
}

func (d *deadline) over() bool {
	at := d.at.Load()
	return at != 0 && int64(time.Since(began)) >= at
}

// half is what a reader and a writer have.
type half struct {
	mu       sync.Mutex // held by the call that is at work
	c        *Conn
	handle   handle
	bell     bell
	spinner  spinner
	deadline deadline
	ready    func() bool // looks whether the call can go on
}

// handle is what both handles of package shmring have.
type handle interface {
	Close() error
	Info() shmring.Info
}

// lot is the bell of a half as package ring sees it: it wakes the peer, and nobody parks there.
type lot struct {
	ring.ParkingLot
	bell *bell
}

func (l lot) Wake()               { l.bell.ring() }
func (l lot) Stop(*atomic.Uint32) {} // who sleeps is woken by closing the socket

// begin is asked at the beginning of every call.
func (h *half) begin() error {
	switch {
	case h.c.closed.Load():
		return net.ErrClosed
	case h.deadline.over():
		return os.ErrDeadlineExceeded
	}
	return nil
}

// await waits until ready says so, or the peer is gone. It is guarded by the caller. looked: who calls has just looked,
// for as long as it pays.
func (h *half) await(looked bool) error {
	if !looked && h.spinner.spin(h.ready) {
		return nil
	}
	err := h.bell.sleep()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return os.ErrDeadlineExceeded
	}
	return net.ErrClosed // nothing else ends the waiting
}

// over tells whether there is nothing to wait for.
func (c *Conn) over() bool { return c.gone.Load() || c.closed.Load() }

// lose notes that the peer is gone, or is no correct peer (why), and ends all sleeps.
func (c *Conn) lose(why error) {
	if why != nil && c.why.Load() == nil {
		c.why.Store(&why)
	}
	if c.gone.CompareAndSwap(false, true) {
		c.end()
		c.in.bell.endSleeps()
		c.out.bell.endSleeps()
	}
}

// Done returns a channel that is closed when the peer has gone, or the connection was closed. What
// the peer had written can still be read in the first case.
func (c *Conn) Done() <-chan struct{} { return c.ended }

func (c *Conn) end() { c.ending.Do(func() { close(c.ended) }) }

// peerError is what a call returns when the peer is gone.
func (c *Conn) peerError(errno syscall.Errno) error {
	e := &PeerError{PID: c.peer.PID, Err: errno}
	if why := c.why.Load(); why != nil {
		e.Why = *why
	}
	return e
}

// failed turns an error of a ring into one of the connection.
func (c *Conn) failed(err error, errno syscall.Errno) error {
	if c.closed.Load() {
		return net.ErrClosed
	}
	c.lose(err)
	return c.peerError(errno)
}

func (c *Conn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: c.addr.Network(), Source: c.addr, Addr: c.addr, Err: err}
}

// Close closes the connection. Calls that wait return net.ErrClosed. The peer gets what was
// written, and then io.EOF. A call that is handing bytes to the user in place ([Conn.WriteTo],
// [Conn.ReadMessage]) keeps the memory until that returns. Closing again returns net.ErrClosed.
func (c *Conn) Close() error { return c.close(false) }

// Abort closes the connection like Close, except that the peer gets syscall.ECONNRESET behind what
// was written: for who knows that it is not the whole.
func (c *Conn) Abort() error { return c.close(true) }

func (c *Conn) close(abort bool) error {
	again := true
	c.once.Do(func() {
		again = false
		if abort {
			inner.Abandon(c.out.handle)
		}
		c.closed.Store(true)
		c.end()
		err := c.out.handle.Close() // who writes into it meanwhile writes into memory that is its own
		c.in.bell.close()
		c.out.bell.close()
		if c.in.mu.TryLock() {
			c.in.unlock()
		} // else who has it lets go of its ring
		watching.remove(c.watch)
		if c.done != nil {
			c.done()
		}
		if err != nil {
			c.err = c.opError("close", err)
		}
	})
	if again {
		return c.opError("close", net.ErrClosed)
	}
	return c.err
}

// CloseWrite ends what this side writes: the peer gets io.EOF behind it. Later writes return
// syscall.EPIPE. It never waits. Error: net.ErrClosed.
func (c *Conn) CloseWrite() error {
	if c.closed.Load() {
		return c.opError("close write", net.ErrClosed)
	}
	c.out.ended.Store(true)
	_ = c.out.bell.setDeadline(past) // a write that waits for room looks again
	if c.out.mu.TryLock() {
		c.out.unlock()
	} // else who has it ends the stream
	return nil
}

// LocalAddr returns the [Addr] at which the connection was made.
func (c *Conn) LocalAddr() net.Addr { return c.addr }

// RemoteAddr returns the [Addr] at which the connection was made.
func (c *Conn) RemoteAddr() net.Addr { return c.addr }

// Peer returns whose the other end is, as the kernel noted when it connected or began to listen.
func (c *Conn) Peer() (pid, uid, gid int) { return c.peer.PID, c.peer.UID, c.peer.GID }

// SetDeadline is [Conn.SetReadDeadline] and [Conn.SetWriteDeadline].
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline sets the deadline of reads, also of those that are waiting: from then on they
// return os.ErrDeadlineExceeded. The zero time: there is none.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.in.setDeadline(t) }

// SetWriteDeadline likewise sets that of writes.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	err := c.out.setDeadline(t)
	if c.out.ended.Load() {
		_ = c.out.bell.setDeadline(past) // CloseWrite's stays, whichever came first
	}
	return err
}

// past ends waits at once.
var past = time.Unix(1, 0)

func (h *half) setDeadline(t time.Time) error {
	if h.c.closed.Load() {
		return h.c.opError("set", net.ErrClosed)
	}
	h.deadline.set(t) // for calls that do not sleep
	if err := h.bell.setDeadline(t); err != nil {
		return h.c.opError("set", net.ErrClosed)
	}
	return nil
}

// SyscallConn returns the socket at which the connection was made, to be asked for its options. No
// data goes through it: Read and Write return ErrUnsupported.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	if c.closed.Load() {
		return nil, c.opError("raw", net.ErrClosed)
	}
	return control{c.out.bell.raw}, nil
}

type control struct{ raw syscall.RawConn }

func (c control) Control(f func(uintptr)) error  { return c.raw.Control(f) }
func (c control) Read(func(uintptr) bool) error  { return shmring.ErrUnsupported }
func (c control) Write(func(uintptr) bool) error { return shmring.ErrUnsupported }
