package shmring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/shmring/shmring/internal/handover"
)

// DefaultHandOverTimeout is that of [HandOver].
const DefaultHandOverTimeout = 10 * time.Second

// HandOver tells with whom to share a sealed ring, and how. The zero value and nil are good
// defaults.
type HandOver struct {
	// Role of a giver is the role that whoever gets the ring is to take, which is a word of
	// advice: who has the ring can take any. Role of a taker is the one that it wants: an
	// offer of another is refused. Empty: any.
	Role Role
	// AllowUIDs and AllowGIDs say who may be at the other end: the peer's effective user is
	// among the first, or its group among the second, as the kernel noted them when the peer
	// connected or began to listen (SO_PEERCRED). If both are empty, whoever runs as our own
	// effective user, or as root, may.
	AllowUIDs, AllowGIDs []int
	// Timeout bounds one hand-over, however slowly the peer speaks. Zero:
	// DefaultHandOverTimeout.
	Timeout time.Duration
	// Told is called by [Sealed.Serve] after each hand-over, with nil if the ring was taken; by
	// goroutines of its own, several at a time.
	Told func(error)
}

// HandOverError tells why a sealed ring did not change hands. It matches what it wraps, and
// [ErrRefused], [ErrFormat] or [ErrVersion] where what came over the socket is wrong.
type HandOverError struct {
	Ring          string // empty: it was not known yet
	PID, UID, GID int    // of the peer, as the kernel says; -1 where it does not
	Doing         string // "check the peer", "offer", "await the answer", "await an offer", "open" or "answer"
	Err           error
}

// Error names the ring, the peer, what was being done and why it failed.
func (e *HandOverError) Error() string {
	who := "a peer"
	if e.PID >= 0 {
		who = fmt.Sprintf("pid %d (uid %d, gid %d)", e.PID, e.UID, e.GID)
	}
	return fmt.Sprintf("%shand over, %s: %s: %v", prefix(e.Ring), who, e.Doing, e.Err)
}

// Unwrap returns Err.
func (e *HandOverError) Unwrap() error { return e.Err }

// Is makes wrong frames and descriptors match the errors of this package.
func (e *HandOverError) Is(target error) bool {
	switch target {
	case ErrRefused:
		return errors.Is(e.Err, handover.ErrFiles)
	case ErrFormat:
		return errors.Is(e.Err, handover.ErrFrame)
	case ErrVersion:
		return errors.Is(e.Err, handover.ErrVersion)
	}
	return false
}

// CredentialsError tells that somebody was at the other end of a socket who may not be. It
// matches [ErrRefused] and fs.ErrPermission.
type CredentialsError struct {
	UID, GID             int
	AllowUIDs, AllowGIDs []int // who may
}

// Error names both, and the remedy.
func (e *CredentialsError) Error() string {
	return fmt.Sprintf("uid %d, gid %d is not allowed, but uids %v and gids %v: set AllowUIDs or AllowGIDs",
		e.UID, e.GID, e.AllowUIDs, e.AllowGIDs)
}

// Unwrap returns ErrRefused and fs.ErrPermission.
func (e *CredentialsError) Unwrap() []error { return []error{ErrRefused, os.ErrPermission} }

// errRefusedByPeer: the taker does not want what it was given.
var errRefusedByPeer = fmt.Errorf("%w by the peer, which knows why", ErrRefused)

// roles are the roles by their numbers in a frame.
var roles = []Role{"", RoleConsumer, RoleProducer}

// exchange is one hand-over on one connection.
type exchange struct {
	o     HandOver
	conn  *net.UnixConn
	peer  handover.Credentials
	ring  string
	doing string
}

// begin checks the options, bounds what follows, and looks who is there. done has to be called
// whatever the error.
func begin(ctx context.Context, conn *net.UnixConn, o *HandOver, ring string) (x *exchange,
	bounded context.Context, done func(), err error) {
	x = &exchange{conn: conn, ring: ring, peer: handover.Credentials{PID: -1, UID: -1, GID: -1}, doing: "check the peer"}
	if o != nil {
		x.o = *o
	}
	if err := x.o.check(); err != nil {
		return x, ctx, func() {}, err
	}
	if x.o.Timeout == 0 {
		x.o.Timeout = DefaultHandOverTimeout
	}
	silent := fmt.Errorf("the peer took longer than %v (HandOver.Timeout)", x.o.Timeout)
	bounded, cancel := context.WithTimeoutCause(ctx, x.o.Timeout, silent)
	ended := make(chan struct{})
	stop := context.AfterFunc(bounded, func() {
		_ = conn.SetDeadline(time.Unix(1, 0))
		close(ended)
	})
	done = func() {
		if !stop() {
			<-ended
		}
		cancel()
		_ = conn.SetDeadline(time.Time{})
	}
	peer, err := handover.Peer(conn)
	if err != nil {
		return x, bounded, done, x.fail(bounded, err)
	}
	x.peer = peer
	return x, bounded, done, x.fail(bounded, x.o.allows(peer))
}

func (o *HandOver) check() error {
	return firstBroken(
		rule{"HandOver.Role", slices.Contains(roles, o.Role), o.Role, "empty, RoleConsumer or RoleProducer"},
		notNegative("HandOver.Timeout", o.Timeout),
	)
}

// allows looks whether a peer may be there.
func (o *HandOver) allows(peer handover.Credentials) error {
	uids, gids := o.AllowUIDs, o.AllowGIDs
	if len(uids) == 0 && len(gids) == 0 {
		uids = slices.Compact([]int{os.Geteuid(), 0})
	}
	if slices.Contains(uids, peer.UID) || slices.Contains(gids, peer.GID) {
		return nil
	}
	return &CredentialsError{peer.UID, peer.GID, uids, gids}
}

// fail tells what went wrong, or nothing if err is nil.
func (x *exchange) fail(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = &ContextError{x.ring, "hand over", ctx.Err(), context.Cause(ctx)}
	}
	return &HandOverError{x.ring, x.peer.PID, x.peer.UID, x.peer.GID, x.doing, err}
}

// HandOver gives the ring to whoever is at the other end of a connection and calls
// [ReceiveSealed] there, and returns when it was taken. The connection stays the caller's, with
// no deadline; after nil it may carry something else. ctx and o.Timeout bound it. The error is
// a [*HandOverError], after which the connection is good for nothing but Close: the peer may
// not be there ([*CredentialsError]), has gone (io.EOF, io.ErrUnexpectedEOF, EPIPE), has
// refused the ring ([ErrRefused]), or speaks of something else ([ErrFormat], [ErrVersion]); or
// an [*OptionError].
func (r *Sealed) HandOver(ctx context.Context, conn *net.UnixConn, o *HandOver) error {
	x, ctx, done, err := begin(ctx, conn, o, r.s.info.Name)
	defer done()
	if err != nil {
		return err
	}
	x.doing = "offer"
	fd, err := r.s.seg.Share()
	if err != nil {
		return x.fail(ctx, err)
	}
	offer := handover.Frame{
		Kind: handover.Offer, Role: uint8(slices.Index(roles, x.o.Role)), UUID: r.s.info.UUID,
	}
	err = handover.Send(conn, offer, fd)
	handover.Close([]int{fd})
	if err != nil {
		return x.fail(ctx, err)
	}
	x.doing = "await the answer"
	answer, files, err := handover.Receive(conn, handover.Answer)
	handover.Close(files)
	switch {
	case err != nil:
	case answer.Files != 0:
		err = fmt.Errorf("%w: %d came with an answer", handover.ErrFiles, answer.Files)
	case answer.Status != handover.Taken:
		err = errRefusedByPeer
	case answer.UUID != offer.UUID:
		err = fmt.Errorf("%w: it is about another ring", handover.ErrFrame)
	}
	return x.fail(ctx, err)
}

// ReceiveSealed takes a ring that is handed over at the other end of a connection, by
// [Sealed.HandOver] or [Sealed.Serve]. The connection stays the caller's, with no deadline;
// after nil it may carry something else. ctx and o.Timeout bound it. Whatever came over the
// socket and is not the descriptor of a sealed ring is closed, and none of it is mapped. The
// error is a [*HandOverError], after which the connection is good for nothing but Close; it
// matches those of [OpenSealed], a [*CredentialsError], [ErrFormat] and [ErrVersion] (something
// else came), [ErrRefused] (other descriptors came, or another role was offered), io.EOF and
// io.ErrUnexpectedEOF (the peer has gone, perhaps in the middle); or an [*OptionError].
func ReceiveSealed(ctx context.Context, conn *net.UnixConn, o *HandOver) (*Sealed, error) {
	x, ctx, done, err := begin(ctx, conn, o, "")
	defer done()
	if err != nil {
		return nil, err
	}
	x.doing = "await an offer"
	offer, files, err := handover.Receive(conn, handover.Offer)
	if err != nil {
		if err == io.EOF {
			err = fmt.Errorf("%w: it closed the connection: perhaps it does not allow us (HandOver.AllowUIDs there)", err)
		}
		return nil, x.fail(ctx, err)
	}
	r, err := x.take(ctx, offer, files)
	handover.Close(files)
	answer := handover.Frame{Kind: handover.Answer, UUID: offer.UUID}
	if err != nil {
		err = x.fail(ctx, err)
		answer.Status = handover.Refused
		_ = handover.Send(conn, answer) // it will see that we are gone
		return nil, err
	}
	x.doing = "answer"
	if err := handover.Send(conn, answer); err != nil {
		// The giver does not know that we have it, and says that we have not.
		return nil, joined(x.fail(ctx, err), r.Close())
	}
	return r, nil
}

// take opens what was offered.
func (x *exchange) take(ctx context.Context, offer handover.Frame, files []int) (*Sealed, error) {
	if len(files) != 1 {
		return nil, fmt.Errorf("%w: %d came, one ring has one", handover.ErrFiles, len(files))
	}
	role := roles[offer.Role]
	if x.o.Role != "" && role != "" && role != x.o.Role {
		return nil, fmt.Errorf("%w: the role %s is offered, %s is wanted", ErrRefused, role, x.o.Role)
	}
	x.doing = "open"
	r, err := sealedOf(ctx, files[0], nil)
	if err != nil {
		return nil, err
	}
	x.ring, r.role = r.s.info.Name, role
	if r.s.info.UUID != offer.UUID {
		return nil, joined(fmt.Errorf("%w: another ring was promised", ErrRefused), r.Close())
	}
	return r, nil
}

const (
	// servedAtOnce is how many hand-overs Serve has in progress. A peer that says nothing takes
	// one of them, until its Timeout.
	servedAtOnce = 64
	// acceptPause is how long Serve waits when the process has no descriptors left.
	acceptPause = 50 * time.Millisecond
)

// Serve hands the ring over to everybody who connects to l, until ctx ends or l is closed, and
// returns when all that it had begun is over. One that fails ends nothing: o.Told is told. The
// listener stays the caller's, with no deadline. Errors: a [*ContextError]; what accepting
// said, which matches net.ErrClosed if l was closed; an [*OptionError].
func (r *Sealed) Serve(ctx context.Context, l *net.UnixListener, o *HandOver) error {
	if o == nil {
		o = &HandOver{}
	}
	if err := o.check(); err != nil {
		return err
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = l.SetDeadline(time.Unix(1, 0))
		close(ended)
	})
	var all sync.WaitGroup
	defer func() {
		all.Wait()
		if !stop() {
			<-ended
			_ = l.SetDeadline(time.Time{})
		}
	}()
	room := make(chan struct{}, servedAtOnce)
	for {
		conn, err := l.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			if conn != nil {
				_ = conn.Close()
			}
			return contextEnded(ctx, r.s.info.Name, "serve")
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM):
			(&retries{}).pause(ctx, acceptPause)
			continue
		case err != nil:
			return fmt.Errorf("%sserve: %w", prefix(r.s.info.Name), err)
		}
		room <- struct{}{} // bounded by Timeout
		all.Go(func() {
			err := r.HandOver(ctx, conn, o)
			_ = conn.Close()
			<-room
			if o.Told != nil {
				o.Told(err)
			}
		})
	}
}

// DialSealed takes the ring that is served at a path ([Sealed.Serve]); a path that begins with @
// is an abstract one, of which nothing is in the file system. It waits, until ctx ends, for
// somebody to listen there, looking again after an eighth of the time waited, at most 100 ms
// later. Errors: those of [ReceiveSealed], a [*ContextError], and what connecting said.
func DialSealed(ctx context.Context, path string, o *HandOver) (*Sealed, error) {
	var conn *net.UnixConn
	err := retry(ctx, path, "dial", func() (bool, error) {
		var err error
		// It does not wait: where there is no room in the backlog it says EAGAIN.
		if conn, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"}); err == nil {
			return true, nil
		}
		absent := errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EAGAIN)
		return !absent, fmt.Errorf("shmring: %w", err)
	})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return ReceiveSealed(ctx, conn, o)
}
