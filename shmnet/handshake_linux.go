package shmnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/internal/handover"
	"github.com/shmring/shmring/internal/inner"
)

// files is how many descriptors an offer has: the ring that the dialer reads, the one that it
// writes, and its end of the writers' bell.
const files = 3

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
	c := &Conn{addr: Addr{path}}
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

// accept is the listener's side.
func (h *handshake) accept(ctx context.Context, c *Conn) error {
	h.doing = "make the rings"
	var fds [files]int // what the dialer gets
	n := 0
	defer func() { handover.Close(fds[:n]) }()
	var uuid [16]byte
	for i := range 2 {
		r, err := shmring.NewSealed(ctx, "shmnet", h.cfg.ring())
		if err != nil {
			return err
		}
		if i == 0 {
			uuid = r.Info().UUID
		}
		fds[i], err = inner.Share(r)
		if err = errors.Join(err, r.Close()); err != nil {
			return err
		}
		n++
	}
	own, theirs, err := newBell()
	if err != nil {
		return err
	}
	fds[2] = theirs
	n++
	if err := c.open(ctx, h.cfg.Wait, h.conn, own, fds[1], fds[0]); err != nil {
		_ = own.Close()
		return err
	}
	if err := h.offer(uuid, fds[:]); err != nil {
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
	if len(fds) != files {
		handover.Close(fds)
		return fmt.Errorf("%w: %d came, a connection has %d", handover.ErrFiles, len(fds), files)
	}
	defer handover.Close(fds[:2])
	bell, err := socketOf(fds[2])
	if err != nil {
		return fmt.Errorf("%w: %w", shmring.ErrRefused, err)
	}
	if err := c.open(ctx, h.cfg.Wait, h.conn, bell, fds[0], fds[1]); err != nil {
		_ = bell.Close()
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

// open takes the roles: consumer of one ring, producer of another. After an error the sockets are
// the caller's still.
func (c *Conn) open(ctx context.Context, wait Wait, data, space *net.UnixConn, in, fd int) error {
	r, w := &c.in, &c.out
	r.c, w.c = c, c
	if err := r.bell.open(data, r.armed, c.lose); err != nil {
		return err
	}
	if err := w.bell.open(space, w.armed, c.lose); err != nil {
		return err
	}
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
	if c.watch, err = watching.add(c.in.bell.raw, c.lose); err != nil {
		_ = c.Close()
	}
	return err
}

// spinsPay asks once for the process's quota.
var spinsPay = sync.OnceValue(func() bool { return inner.Spins() })
