package shmrpc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/shmring/shmring/shmnet"
)

// DefaultMaxPayload is the default of Server.MaxPayload and Config.MaxPayload.
const DefaultMaxPayload = 16 << 20

// DefaultMaxRunning is that of Server.MaxRunning.
const DefaultMaxRunning = 64

// Handler carries out one request. ctx ends with the request's deadline, when the client has cancelled
// it, and when the client is gone. If it returns nil without a reply the reply is empty; an error goes
// to the client as an [*Error].
type Handler func(ctx context.Context, r *Request) error

// Server serves requests. Its fields are set before Serve; its methods may be called by any
// goroutine at any time.
type Server struct {
	Handler Handler
	// InPlace calls the handler on the goroutine that reads the client's connection: requests of a client
	// are carried out one after the other, the request's bytes are in shared memory, and nobody
	// sees a cancellation meanwhile. It is for handlers that do not wait. A request that came in
	// pieces, or with a deadline, has a little more cost.
	InPlace bool
	// MaxRunning is how many requests of one client are carried out at a time; its others wait in
	// its ring, and then so does the client. Zero: DefaultMaxRunning.
	MaxRunning int
	// MaxPayload is the longest request that is taken, in bytes; of a longer one its client gets an error that
	// matches ErrTooLong, when all of it was sent, and passed over. Zero: DefaultMaxPayload.
	MaxPayload int

	mu     sync.Mutex
	open   map[stopper]struct{} // listeners and sessions
	closed bool
	all    sync.WaitGroup
}

// ErrServerClosed is what Serve returns after Close.
var ErrServerClosed = errors.New("shmrpc: server closed")

// Serve serves the clients that connect to l, until that is closed, or the server. The error is never nil:
// ErrServerClosed, or what Accept said. It panics where there is no Handler.
func (s *Server) Serve(l *shmnet.Listener) error {
	if s.Handler == nil {
		panic("shmrpc: Server.Handler is nil")
	}
	own := listening{l}
	if !s.add(own) {
		_ = l.Close()
		return ErrServerClosed
	}
	defer s.remove(own)
	for {
		c, err := l.AcceptConn()
		if err != nil {
			if s.isClosed() {
				return ErrServerClosed
			}
			return err
		}
		n := s.session(c)
		if !s.add(n) {
			_ = c.Close()
			n.cancel()
			return ErrServerClosed
		}
		go func() {
			n.serve()
			s.remove(n)
		}()
	}
}

// stopper is what Close stops.
type stopper interface{ stop() }

type listening struct{ *shmnet.Listener }

func (l listening) stop() { _ = l.Close() }

// add notes what Close is to close; false: it is too late.
func (s *Server) add(c stopper) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.open == nil {
		s.open = map[stopper]struct{}{}
	}
	s.open[c] = struct{}{}
	s.all.Add(1)
	return true
}

func (s *Server) remove(c stopper) {
	s.mu.Lock()
	delete(s.open, c)
	s.mu.Unlock()
	s.all.Done()
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// Close closes the listeners and the connections, ends the contexts of the handlers, and waits until
// they have returned. Calls that have no reply return a [*LostError]. Closing again does nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	open := slices.Collect(maps.Keys(s.open))
	s.mu.Unlock()
	for _, c := range open {
		c.stop()
	}
	s.all.Wait()
	return nil
}

// session is one client's connection.
type session struct {
	s       *Server
	c       *shmnet.Conn
	ctx     context.Context
	cancel  context.CancelFunc
	sending sync.Mutex // the frames of one payload follow each other
	running chan struct{}
	in      assembly // who reads has it
	request Request  // InPlace: the one that is carried out
	all     sync.WaitGroup

	mu      sync.Mutex
	cancels map[uint64]context.CancelFunc
}

func (s *Server) session(c *shmnet.Conn) *session {
	n := &session{
		s: s, c: c, running: make(chan struct{}, orDefault(s.MaxRunning, DefaultMaxRunning)),
		in:      assembly{most: orDefault(s.MaxPayload, DefaultMaxPayload)},
		cancels: map[uint64]context.CancelFunc{},
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	return n
}

// stop ends the reading of requests, and replies that wait. What a handler has of the connection stays
// until it has returned.
func (n *session) stop() {
	_ = n.c.SetDeadline(time.Unix(1, 0))
	n.cancel() // whoever returns because of that does not get to say so
}

func (n *session) serve() {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		<-n.c.Done()
		n.cancel()
	}()
	for err := error(nil); err == nil; {
		err = n.c.ReadMessage(func(b []byte) error {
			h, payload, whole, err := n.in.add(b)
			if err != nil || !whole {
				return err
			}
			return n.take(h, payload)
		})
	}
	_ = n.c.Close() // who replies is told, and who carries something out
	<-gone
	n.all.Wait()
}

func orDefault(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}

// take begins what a client asks for. Its error ends the connection.
func (n *session) take(h header, payload []byte) error {
	switch h.kind {
	case kindCancel:
		n.mu.Lock()
		cancel := n.cancels[h.id]
		n.mu.Unlock()
		if cancel != nil {
			cancel()
		}
		return nil
	case kindRequest:
	default:
		return badFrame("kind %d comes from a client", h.kind)
	}
	var refused *Error
	if !n.in.takes(h) {
		refused = &Error{CodeTooLong, fmt.Sprintf(
			"shmrpc: a request of %d bytes, and the server takes %d at most (Server.MaxPayload)", h.size, n.in.most)}
	}
	if n.s.InPlace {
		n.request = Request{Method: h.method, Bytes: payload, n: n, id: h.id, refused: refused}
		ctx := n.ctx
		if h.limit > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, limit(h.limit))
			defer cancel()
		}
		return n.request.run(ctx)
	}
	r := &Request{Method: h.method, Bytes: append([]byte(nil), payload...), n: n, id: h.id, refused: refused}
	var ctx context.Context
	var cancel context.CancelFunc
	if h.limit > 0 {
		ctx, cancel = context.WithTimeout(n.ctx, limit(h.limit))
	} else {
		ctx, cancel = context.WithCancel(n.ctx)
	}
	n.mu.Lock()
	_, taken := n.cancels[h.id]
	if !taken {
		n.cancels[h.id] = cancel
	}
	n.mu.Unlock()
	if taken {
		cancel()
		return badFrame("two requests have the number %d", h.id)
	}
	select {
	case n.running <- struct{}{}: // others wait
	case <-n.ctx.Done():
		cancel()
		return n.ctx.Err()
	}
	n.all.Go(func() {
		_ = r.run(ctx) // the connection is lost: who reads is told
		cancel()
		n.mu.Lock()
		delete(n.cancels, h.id)
		n.mu.Unlock()
		<-n.running
	})
	return nil
}

// limit is the time until a deadline, at most a hundred years.
func limit(nanoseconds uint64) time.Duration {
	return time.Duration(min(nanoseconds, uint64(100*365*24*time.Hour)))
}

// Request is one request, for its handler only.
type Request struct {
	Method uint32
	// Bytes is the request. It is valid until the handler returns. With Server.InPlace it is in shared
	// memory: a client that breaks the rules can change it meanwhile.
	Bytes   []byte
	n       *session
	id      uint64
	refused *Error // in place of what the handler would say
	replied bool
}

// run carries a request out. Its error is one of the connection.
func (r *Request) run(ctx context.Context) error {
	if e := r.refused; e != nil {
		return r.reply(header{kind: kindError, method: e.Code}, []byte(e.Text))
	}
	err := r.n.s.Handler(ctx, r)
	switch {
	case r.replied:
		return nil
	case err != nil:
		e := errorOf(err)
		return r.reply(header{kind: kindError, method: e.Code}, []byte(e.Text))
	}
	return r.reply(header{kind: kindReply}, nil)
}

func (r *Request) reply(h header, b []byte) error {
	r.replied, h.id = true, r.id
	r.n.beginReply()
	defer r.n.endReply()
	return send(r.n.c, h, b)
}

// Reply sends the reply, a copy of b. It waits while the client's ring is full. A handler replies
// once; more panics. The error is one of the connection: the client is gone.
func (r *Request) Reply(b []byte) error {
	r.once()
	return r.reply(header{kind: kindReply}, b)
}

// ReplyInPlace sends a reply of n bytes at most, which fill writes, in shared memory if one message
// takes so many, and returns how many there are. After an error of fill, which it returns, nothing is
// sent, and the handler may return that error.
func (r *Request) ReplyInPlace(n int, fill func([]byte) (int, error)) error {
	r.once()
	r.n.beginReply()
	defer r.n.endReply()
	var refused error
	err := sendInPlace(r.n.c, header{kind: kindReply, id: r.id}, n, func(b []byte) (int, error) {
		var k int
		k, refused = fill(b)
		return k, refused
	})
	r.replied = refused == nil
	return err
}

// beginReply keeps the frames of other replies from coming between those of one, until endReply. In place no
// other request is carried out meanwhile.
func (n *session) beginReply() {
	if !n.s.InPlace {
		n.sending.Lock()
	}
}

func (n *session) endReply() {
	if !n.s.InPlace {
		n.sending.Unlock()
	}
}

func (r *Request) once() {
	if r.replied {
		panic("shmrpc: a second reply to one request")
	}
}
