package shmnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/internal/handover"
)

// Addr is the address of either end of a connection: the path at which it was made.
type Addr struct{ Path string }

// Network returns "shm".
func (Addr) Network() string { return "shm" }

// String returns the path.
func (a Addr) String() string { return a.Path }

// PeerError tells that nobody is at the other end of a connection any more, inside a *net.OpError. Of
// a read it matches syscall.ECONNRESET and shmring.ErrPeerDead: the peer has gone without saying that
// what it had written was the whole. Of a write it matches syscall.EPIPE: the peer has gone, however.
type PeerError struct {
	PID int   // of the peer, as the kernel says
	Err error // syscall.ECONNRESET or syscall.EPIPE
	Why error // nil: it died, or closed; else what it did that no correct peer does
}

// Error names the peer, and what it did.
func (e *PeerError) Error() string {
	what := "died, or left without closing"
	if e.Err == syscall.EPIPE {
		what = "has gone"
	}
	if e.Why != nil {
		what = strings.TrimPrefix(e.Why.Error(), "shmring: ")
	}
	return fmt.Sprintf("peer pid %d: %s: %v", e.PID, what, e.Err)
}

// Unwrap returns Err, Why and, of a read, shmring.ErrPeerDead.
func (e *PeerError) Unwrap() []error {
	list := []error{e.Err}
	if e.Err == syscall.ECONNRESET {
		list = append(list, shmring.ErrPeerDead)
	}
	if e.Why != nil {
		list = append(list, e.Why)
	}
	return list
}

// opError returns an error as package net has them.
func opError(op, path string, err error) error {
	return &net.OpError{Op: op, Net: Addr{}.Network(), Addr: Addr{path}, Err: err}
}

// HandshakeError tells why a connection did not come about. It matches what it wraps, and
// shmring.ErrRefused, ErrFormat or ErrVersion where what came over the socket is wrong.
type HandshakeError struct {
	PID, UID, GID int    // of the peer, as the kernel says; -1 where it does not
	Doing         string // what was being done
	Err           error
}

// Error names the peer, what was being done and why it failed.
func (e *HandshakeError) Error() string {
	who := "a peer"
	if e.PID >= 0 {
		who = fmt.Sprintf("pid %d (uid %d, gid %d)", e.PID, e.UID, e.GID)
	}
	return fmt.Sprintf("connecting with %s: %s: %v", who, e.Doing, e.Err)
}

// Unwrap returns Err.
func (e *HandshakeError) Unwrap() error { return e.Err }

// Is makes wrong frames and descriptors match the errors of package shmring.
func (e *HandshakeError) Is(target error) bool {
	switch target {
	case shmring.ErrRefused:
		return errors.Is(e.Err, handover.ErrFiles)
	case shmring.ErrFormat:
		return errors.Is(e.Err, handover.ErrFrame)
	case shmring.ErrVersion:
		return errors.Is(e.Err, handover.ErrVersion)
	}
	return false
}

// Timeout reports whether the peer, or a deadline, made it fail.
func (e *HandshakeError) Timeout() bool {
	return errors.Is(e.Err, os.ErrDeadlineExceeded) || errors.Is(e.Err, context.DeadlineExceeded)
}

// slowError: the peer took too long.
type slowError struct{ limit time.Duration }

func (e *slowError) Error() string {
	return fmt.Sprintf("it takes longer than %v (Config.Timeout)", e.limit)
}
func (e *slowError) Unwrap() error { return os.ErrDeadlineExceeded }
