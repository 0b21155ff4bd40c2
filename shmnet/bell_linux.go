package shmnet

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bell is how one side of a connection wakes the other, in one direction. A ring means that who
// sleeps had better look at its ring. Sleeping is done by the runtime, with the deadlines of package net.
//
// There are two kinds. A socket can be used by whoever the peer is: each end has an open file of its
// own. An event counter (eventfd) takes a third of the time. But it is one open file of two processes,
// and either can make the other's writes to it block; so it is for peers who could do us harm anyway,
// those of our own user.
type bell struct {
	socket bool
	sleepy sleepable       // where we sleep
	raw    syscall.RawConn // of it
	other  *counter        // of an event counter: where the peer sleeps; nil: it is raw's other end
	// ready, asked by the sleeper, announces it, and looks once more.
	ready func() bool
	// lost is told when the peer is gone, or does not read its bells.
	lost  func(error)
	look  func(uintptr) bool // b.asleep and b.send, made once
	write func(uintptr) bool
	// unread bounds how many bytes lie in the socket: the sleeper reads them seldom.
	unread int
	sent   error // of send, which is not run twice at a time
}

type sleepable interface {
	io.Closer
	syscall.Conn
	SetReadDeadline(time.Time) error
}

// mostUnread is far less than any socket holds.
const mostUnread = 16

var errDeaf = errors.New("it does not read what it asked for")

func (b *bell) open(ready func() bool, lost func(error)) (err error) {
	b.ready, b.lost, b.look, b.write = ready, lost, b.asleep, b.send
	b.raw, err = b.sleepy.SyscallConn()
	return err
}

// sleep returns nil when ready has said so, else os.ErrDeadlineExceeded, or that it is closed. One
// goroutine at a time sleeps.
func (b *bell) sleep() error { return b.raw.Read(b.look) }

// asleep is called once before sleeping, and whenever somebody has rung. Every ring after that wakes
// again, whether what came before was read or not (epoll, edge-triggered).
func (b *bell) asleep(fd uintptr) bool {
	if b.socket {
		if b.unread++; b.unread >= mostUnread {
			b.unread = 0
			var bytes [4 * mostUnread]byte
			// Errors and the end are the watcher's business. What more there is came for nothing.
			_, _ = unix.Read(int(fd), bytes[:])
		}
	}
	return b.ready()
}

// one is what is written: a byte, or the number 1.
var one = binary.NativeEndian.AppendUint64(nil, 1)

// ring wakes the peer.
func (b *bell) ring() {
	var err error
	if b.other != nil {
		err = b.other.use(b.write)
	} else {
		err = b.raw.Write(b.write)
	}
	switch sent := b.sent; {
	case err != nil || sent == nil: // closed by ourselves
	case sent == unix.EPIPE || sent == unix.ECONNRESET:
		b.lost(nil)
	default:
		b.lost(sent)
	}
}

func (b *bell) send(fd uintptr) bool {
	for {
		what := one
		if b.socket {
			what = one[:1]
		}
		_, err := unix.Write(int(fd), what)
		switch err {
		case unix.EINTR:
			continue
		case unix.ENOBUFS, unix.ENOMEM:
			time.Sleep(time.Millisecond) // the system has no memory: that ends, or ends us
			continue
		case unix.EAGAIN:
			b.sent = errDeaf // of a counter: somebody has filled it
		case nil:
			b.sent = nil
		default:
			b.sent = err
		}
		return true
	}
}

// endSleeps has who sleeps here look again, for good. The peer cannot wake us any more.
func (b *bell) endSleeps() {
	_ = b.raw.Control(func(fd uintptr) {
		if b.socket {
			_ = unix.Shutdown(int(fd), unix.SHUT_RD)
			return
		}
		var count [8]byte
		_, _ = unix.Read(int(fd), count[:]) // so that there is room
		_, _ = unix.Write(int(fd), one)
	})
}

func (b *bell) setDeadline(t time.Time) error { return b.sleepy.SetReadDeadline(t) }

func (b *bell) close() {
	if b.sleepy != nil {
		_ = b.sleepy.Close()
	}
	if b.other != nil {
		b.other.close()
	}
}

// counter is the event counter by which the peer sleeps. It is no os.File: the runtime would wait for that,
// too, and so each ring would wake a thread of ours that has nothing to do.
type counter struct {
	mu        sync.Mutex
	fd        int             // -1: closed
	forgotten runtime.Cleanup // closes fd, as an os.File's does
}

// newCounter takes fd.
func newCounter(fd int) *counter {
	c := &counter{fd: fd}
	c.forgotten = runtime.AddCleanup(c, func(fd int) { _ = unix.Close(fd) }, fd)
	return c
}

// use calls f with the descriptor, unless that is closed, once at a time.
func (c *counter) use(f func(fd uintptr) bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return os.ErrClosed
	}
	f(uintptr(c.fd))
	return nil
}

func (c *counter) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd >= 0 {
		c.forgotten.Stop()
		_ = unix.Close(c.fd)
	}
	c.fd = -1
}

// socketBell makes a bell of a socket.
func socketBell(conn *net.UnixConn) bell { return bell{socket: true, sleepy: conn} }

// newSocketBell returns a bell and a descriptor of its other end for the peer.
func newSocketBell() (b bell, fds []int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return b, nil, os.NewSyscallError("socketpair", err)
	}
	own, err := socketOf(pair[0])
	if err != nil {
		_ = unix.Close(pair[1])
		return b, nil, err
	}
	return socketBell(own), pair[1:], nil
}

// newEventBell returns a bell and the descriptors of its counters for the peer: the one by which
// that sleeps first.
func newEventBell() (b bell, fds []int, err error) {
	for range 2 {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			closeAll(fds)
			return b, nil, os.NewSyscallError("eventfd", err)
		}
		fds = append(fds, fd)
	}
	var own [2]int
	for i, fd := range fds {
		if own[i], err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			closeAll(own[:i])
			closeAll(fds)
			return b, nil, os.NewSyscallError("fcntl", err)
		}
	}
	if b, err = eventBell(own[1], own[0]); err != nil {
		closeAll(fds)
	}
	return b, fds, err
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// eventBell makes a bell of two counters, which it takes.
func eventBell(own, peer int) (bell, error) {
	mine := os.NewFile(uintptr(own), "bell")
	b := bell{sleepy: mine, other: newCounter(peer)}
	err := mine.SetReadDeadline(time.Time{}) // it is one by which one can sleep
	if err != nil {
		b.close()
	}
	return b, err
}

var errNoBell = errors.New("behind the rings comes neither a connected Unix stream socket nor two eventfds")

// bellOf makes a bell of the descriptors that a listener has sent, and takes them.
func bellOf(fds []int, trusted bool) (bell, error) {
	if len(fds) == 1 {
		conn, err := socketOf(fds[0])
		return socketBell(conn), err
	}
	for _, fd := range fds {
		link, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		flags, refused := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil || refused != nil || link != "anon_inode:[eventfd]" || flags&unix.O_NONBLOCK == 0 || !trusted {
			closeAll(fds)
			return bell{}, errNoBell
		}
	}
	return eventBell(fds[0], fds[1])
}

// socketOf makes a connection of a descriptor, which it takes.
func socketOf(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "bell")
	defer f.Close()
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_STREAM {
		return nil, errNoBell
	}
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*net.UnixConn)
	if !ok || conn.RemoteAddr() == nil {
		_ = c.Close()
		return nil, errNoBell
	}
	return conn, nil
}
