package shmnet

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bell is one of the two sockets of a connection. A byte from the peer means that who sleeps here
// had better look at its ring. Sleeping is done by package net, with its deadlines.
type bell struct {
	conn *net.UnixConn
	raw  syscall.RawConn
	// ready, asked by the sleeper, announces it, and looks once more.
	ready func() bool
	// lost is told when the peer is gone, or does not read its bells.
	lost  func(error)
	look  func(uintptr) bool // b.asleep and b.send, made once
	write func(uintptr) bool
	// unread bounds how many bytes lie in the socket: the sleeper reads them seldom.
	unread int
	sent   error // of send, which raw.Write does not run twice at a time
}

// mostUnread is far less than any socket holds.
const mostUnread = 16

var errDeaf = errors.New("it does not read what it asked for")

func (b *bell) open(conn *net.UnixConn, ready func() bool, lost func(error)) (err error) {
	b.conn, b.ready, b.lost = conn, ready, lost
	b.look, b.write = b.asleep, b.send
	b.raw, err = conn.SyscallConn()
	return err
}

// sleep returns nil when ready has said so, else the error of the socket: os.ErrDeadlineExceeded or
// net.ErrClosed. One goroutine at a time sleeps.
func (b *bell) sleep() error { return b.raw.Read(b.look) }

// asleep is called once before sleeping, and whenever the socket has become readable. What
// becomes so later wakes again, whether the bytes from before were read or not (epoll, edge-triggered).
func (b *bell) asleep(fd uintptr) bool {
	if b.unread++; b.unread >= mostUnread {
		b.unread = 0
		var bytes [4 * mostUnread]byte
		// Errors and the end are the watcher's business. What more there is came for nothing.
		_, _ = unix.Read(int(fd), bytes[:])
	}
	return b.ready()
}

// ring wakes the peer.
func (b *bell) ring() {
	err := b.raw.Write(b.write)
	switch sent := b.sent; {
	case err != nil || sent == nil: // closed by ourselves
	case sent == unix.EPIPE || sent == unix.ECONNRESET:
		b.lost(nil)
	default:
		b.lost(sent)
	}
}

var one = []byte{1}

func (b *bell) send(fd uintptr) bool {
	for {
		_, err := unix.Write(int(fd), one)
		switch err {
		case unix.EINTR:
			continue
		case unix.ENOBUFS, unix.ENOMEM:
			time.Sleep(time.Millisecond) // the system has no memory: that ends, or ends us
			continue
		case unix.EAGAIN:
			b.sent = errDeaf
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
	_ = b.raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RD) })
}

func (b *bell) setDeadline(t time.Time) error { return b.conn.SetReadDeadline(t) }

func (b *bell) close() { _ = b.conn.Close() }

// newBell returns the two ends of a socket: ours, and a descriptor for the peer.
func newBell() (*net.UnixConn, int, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, -1, os.NewSyscallError("socketpair", err)
	}
	own, err := socketOf(pair[0])
	if err != nil {
		_ = unix.Close(pair[1])
		return nil, -1, err
	}
	return own, pair[1], nil
}

var errNoSocket = errors.New("the third descriptor is not a connected Unix stream socket")

// socketOf makes a connection of a descriptor, which it closes.
func socketOf(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "bell")
	defer f.Close()
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_STREAM {
		return nil, errNoSocket
	}
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*net.UnixConn)
	if !ok || conn.RemoteAddr() == nil {
		_ = c.Close()
		return nil, errNoSocket
	}
	return conn, nil
}
