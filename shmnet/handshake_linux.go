package shmnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/internal/handover"
	"github.com/shmring/shmring/internal/inner"
)

// rings is how many descriptors of an offer are rings: the one that the dialer reads, and the one that
// it writes. Those of the readers' bell come behind them.
const rings = 2

// handshake is the making of one connection.
type handshake struct {
	cfg   Config
	conn  *net.UnixConn
	peer  handover.Credentials
	doing string
}

// shake makes a connection on a socket, which is closed if that fails.
func shake(ctx context.Context, path string, conn *net.UnixConn, cfg Config,
	side func(*handshake, context.Context, *Conn) error) (*Conn, error) {
	h := &handshake{cfg: cfg, conn: conn, peer: handover.Credentials{PID: -1, UID: -1, GID: -1}}
	slow := &slowError{cfg.Timeout}
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.Timeout, slow)
	defer cancel()
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = conn.SetDeadline(past)
		close(ended)
	})
	c := &Conn{addr: Addr{path}, ended: make(chan struct{})}
	err := h.judgePeer()
	if err == nil {
		c.peer = h.peer
		err = side(h, ctx, c)
	}
	if !stop() {
		<-ended
	}
	if err == nil && ctx.Err() != nil {
		err = ctx.Err()
		_ = c.Close()
	}
	if err == nil {
		_ = conn.SetDeadline(time.Time{})
		return c, nil
	}
	_ = conn.Close()
	if ctx.Err() != nil {
		err = context.Cause(ctx) // that is why the socket failed
	}
	return nil, &HandshakeError{h.peer.PID, h.peer.UID, h.peer.GID, h.doing, err}
}

func (h *handshake) judgePeer() (err error) {
	h.doing = "check the peer"
	if h.peer, err = handover.Peer(h.conn); err != nil {
		return err
	}
	return h.cfg.allows(h.peer)
}

// trusted tells whether the peer can do what it likes to this process anyway.
func (h *handshake) trusted() bool {
	own := os.Geteuid()
	return h.peer.UID == own || h.peer.UID == 0
}

// accept is the listener's side.
func (h *handshake) accept(ctx context.Context, c *Conn) error {
	h.doing = "make the rings"
	var fds []int // what the dialer gets
	defer func() { handover.Close(fds) }()
	var uuid [16]byte
	for i := range rings {
		r, err := shmring.NewSealed(ctx, "shmnet", h.cfg.ring())
		if err != nil {
			return err
		}
		if i == 0 {
			uuid = r.Info().UUID
		}
		fd, err := inner.Share(r)
		if err == nil {
			fds = append(fds, fd)
		}
		if err = errors.Join(err, r.Close()); err != nil {
			return err
		}
	}
	make := newSocketBell
	if eventBells && h.peer.UID == os.Geteuid() { // who trusts us, too
		make = newEventBell
	}
	bell, theirs, err := make()
	if err != nil {
		return err
	}
	fds = append(fds, theirs...)
	if err := c.open(ctx, h.cfg.Wait, h.conn, bell, fds[1], fds[0]); err != nil {
		return err
	}
	if err := h.offer(uuid, fds); err != nil {
		_ = c.Close()
		return err
	}
	return c.watchPeer()
}

// offer sends the descriptors, and awaits the answer.
func (h *handshake) offer(uuid [16]byte, fds []int) error {
	h.doing = "offer"
	if err := handover.Send(h.conn, handover.Frame{Kind: handover.Connection, UUID: uuid}, fds...); err != nil {
		return err
	}
	h.doing = "await the answer"
	answer, came, err := handover.Receive(h.conn, handover.Answer)
	handover.Close(came)
	switch {
	case err != nil:
		return err
	case len(came) != 0:
		return fmt.Errorf("%w: %d came with an answer", handover.ErrFiles, len(came))
	case answer.Status != handover.Taken:
		return fmt.Errorf("%w by the peer, which knows why", shmring.ErrRefused)
	case answer.UUID != uuid:
		return fmt.Errorf("%w: it is about another connection", handover.ErrFrame)
	}
	return nil
}

// dial is the dialer's side.
func (h *handshake) dial(ctx context.Context, c *Conn) error {
	h.doing = "await an offer"
	offer, fds, err := handover.Receive(h.conn, handover.Connection)
	if err != nil {
		if err == io.EOF {
			err = fmt.Errorf("%w: it closed the connection: perhaps it does not allow us (Config.AllowUIDs there)", err)
		}
		return err
	}
	answer := handover.Frame{Kind: handover.Answer, UUID: offer.UUID}
	err = h.take(ctx, c, fds)
	if err == nil {
		err = c.watchPeer()
	}
	if err != nil {
		answer.Status = handover.Refused
		_ = handover.Send(h.conn, answer) // it will see that we are gone
		return err
	}
	h.doing = "answer"
	if err := handover.Send(h.conn, answer); err != nil {
		_ = c.Close()
		return err
	}
	return nil
}

// take opens what was offered.
func (h *handshake) take(ctx context.Context, c *Conn, fds []int) error {
	h.doing = "take the offer"
	if n := len(fds); n != rings+1 && n != rings+2 {
		handover.Close(fds)
		return fmt.Errorf("%w: %d came, a connection has %d or %d", handover.ErrFiles, n, rings+1, rings+2)
	}
	defer handover.Close(fds[:rings])
	bell, err := bellOf(fds[rings:], h.trusted())
	if err != nil {
		return fmt.Errorf("%w: %w", shmring.ErrRefused, err)
	}
	if err := c.open(ctx, h.cfg.Wait, h.conn, bell, fds[0], fds[1]); err != nil {
		return err
	}
	for _, info := range []shmring.Info{c.in.handle.Info(), c.out.handle.Info()} {
		size := int64(info.Slots) * int64(info.SlotSize)
		if info.Kind == shmring.KindSPSC && info.MaxMessage > 0 && size <= int64(h.cfg.MaxBuffer) {
			continue
		}
		_ = c.Close()
		return fmt.Errorf("%w: a ring of kind %v and %d bytes, want spsc and at most %d (Config.MaxBuffer)",
			shmring.ErrRefused, info.Kind, size, h.cfg.MaxBuffer)
	}
	return nil
}

// open takes the roles: consumer of one ring, producer of another. It takes the bell of readers; after
// an error the socket is the caller's still.
func (c *Conn) open(ctx context.Context, wait Wait, socket *net.UnixConn, data bell, in, fd int) error {
	r, w := &c.in, &c.out
	r.c, w.c = c, c
	r.bell, w.bell = data, socketBell(socket)
	err := errors.Join(r.bell.open(r.armed, c.lose), w.bell.open(w.armed, c.lose))
	if err == nil {
		err = c.takeRoles(ctx, wait, in, fd)
	}
	if err != nil {
		r.bell.close()
	}
	return err
}

func (c *Conn) takeRoles(ctx context.Context, wait Wait, in, fd int) error {
	r, w := &c.in, &c.out
	// Who frees room rings for a writer, who writes for a reader.
	consumer, ring, err := inner.OpenConsumer(ctx, in, lot{bell: &w.bell})
	if err != nil {
		return err
	}
	r.handle, r.ring = consumer.(handle), ring
	producer, out, err := inner.OpenProducer(ctx, fd, lot{bell: &r.bell})
	if err != nil {
		return errors.Join(err, r.handle.Close())
	}
	w.handle, w.ring = producer.(handle), out
	sleeps := wait == WaitSleep || !spinsPay()
	r.start(sleeps)
	w.start(sleeps)
	return nil
}

// watchPeer is told when the peer is gone. After an error the connection is closed.
func (c *Conn) watchPeer() (err error) {
	if c.watch, err = watching.add(c.out.bell.raw, c.lose); err != nil {
		_ = c.Close()
	}
	return err
}

// spinsPay asks once for the process's quota.
var spinsPay = sync.OnceValue(func() bool { return inner.Spins() })

// eventBells is false in tests of the other kind.
var eventBells = true
