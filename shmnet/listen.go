package shmnet

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Listener accepts connections: a net.Listener. All methods may be called by any goroutine at any
// time.
type Listener struct {
	addr   Addr
	cfg    Config
	socket *net.UnixListener
	unlink func() error
	ready  chan *Conn    // made, and not accepted yet
	slots  chan struct{} // one for each that is being made, or waits in ready
	conns  chan struct{} // one for each that is open; nil: there is no limit
	ctx    context.Context
	cancel context.CancelFunc
	all    sync.WaitGroup
	once   sync.Once
	err    error
	failed atomic.Pointer[error] // why run ended
}

var _ net.Listener = (*Listener)(nil)

// Listen listens for connections at a path, where it makes a Unix socket. A socket that is left there
// of a process that died is replaced. A path that begins with @ is an abstract one, of which nothing
// is in the file system. It has at most 107 bytes. Connections are made in the background, whether
// Accept is called or not.
// Errors come as *net.OpError: syscall.EADDRINUSE where somebody listens there, or something else has
// that name; a *shmring.OptionError; what the system said; shmring.ErrUnsupported on systems other
// than Linux.
func Listen(path string, c *Config) (*Listener, error) {
	cfg, err := c.resolve(path)
	if err != nil {
		return nil, opError("listen", path, err)
	}
	socket, unlink, err := listenAt(path, cfg.Perm)
	if err != nil {
		return nil, opError("listen", path, err)
	}
	l := &Listener{
		addr: Addr{path}, cfg: cfg, socket: socket, unlink: unlink,
		ready: make(chan *Conn, cfg.Backlog), slots: make(chan struct{}, cfg.Backlog),
	}
	if cfg.MaxConns > 0 {
		l.conns = make(chan struct{}, cfg.MaxConns)
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.all.Go(l.run)
	return l, nil
}

// shortPause is how long one waits where the process has no descriptors left, or no memory.
const shortPause = 50 * time.Millisecond

// run accepts sockets until the listener is closed.
func (l *Listener) run() {
	for {
		if !l.take(l.slots) {
			return
		}
		if !l.take(l.conns) {
			return
		}
		conn, err := l.socket.AcceptUnix()
		switch {
		case err == nil:
			l.all.Go(func() { l.make(conn) })
			continue
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM),
			errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ECONNABORTED):
			l.give(l.slots)
			l.give(l.conns)
			select {
			case <-time.After(shortPause):
			case <-l.ctx.Done():
			}
		default:
			l.failed.Store(&err)
			l.cancel()
			return
		}
	}
}

// take waits for a place; false: the listener is closed. There is always one where nobody counts.
func (l *Listener) take(places chan struct{}) bool {
	if places == nil {
		return true
	}
	select {
	case places <- struct{}{}:
		return true
	case <-l.ctx.Done():
		return false
	}
}

func (l *Listener) give(places chan struct{}) {
	if places != nil {
		<-places
	}
}

// make makes a connection of a socket. Who fails is told nothing, and nobody is told of it: it may
// be a stranger.
func (l *Listener) make(conn *net.UnixConn) {
	c, err := accept(l.ctx, l.addr.Path, conn, l.cfg)
	if err != nil {
		l.give(l.slots)
		l.give(l.conns)
		return
	}
	c.done = func() { l.give(l.conns) }
	l.ready <- c // never waits: who has a place of slots has one there
}

// Accept waits for the next connection. It returns net.ErrClosed when the listener is closed.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.AcceptConn()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// AcceptConn is Accept with the type that it returns.
func (l *Listener) AcceptConn() (*Conn, error) {
	if l.ctx.Err() == nil {
		select {
		case c := <-l.ready:
			l.give(l.slots)
			return c, nil
		case <-l.ctx.Done():
		}
	}
	err := net.ErrClosed
	if failed := l.failed.Load(); failed != nil && !errors.Is(*failed, net.ErrClosed) {
		err = *failed
	}
	return nil, opError("accept", l.addr.Path, err)
}

// Close ends listening and removes the socket. Connections that were not accepted are closed, those that were
// stay. Calls of Accept that wait return net.ErrClosed, and so does closing again.
func (l *Listener) Close() error {
	again := true
	l.once.Do(func() {
		again = false
		err := l.unlink()
		l.cancel()
		err = errors.Join(err, l.socket.Close())
		l.all.Wait()
		for {
			select {
			case c := <-l.ready:
				_ = c.Close()
				continue
			default:
			}
			break
		}
		if err != nil && !errors.Is(err, net.ErrClosed) {
			l.err = opError("close", l.addr.Path, err)
		}
	})
	if again {
		return opError("close", l.addr.Path, net.ErrClosed)
	}
	return l.err
}

// Addr returns the [Addr] at which it listens.
func (l *Listener) Addr() net.Addr { return l.addr }

// Dial connects to a listener of this package at a path. ctx and Config.Timeout bound that, not the
// life of the connection. Like net.Dial it fails where nobody listens. Errors come as *net.OpError:
// what connecting said (fs.ErrNotExist, syscall.ECONNREFUSED), a *[HandshakeError], which matches
// shmring.ErrRefused where the peer may not be there or offers what is no connection, and
// os.ErrDeadlineExceeded or the context's error; a *shmring.OptionError; shmring.ErrUnsupported on
// systems other than Linux.
func Dial(ctx context.Context, path string, c *Config) (*Conn, error) {
	cfg, err := c.resolve(path)
	if err != nil {
		return nil, opError("dial", path, err)
	}
	conn, err := dial(ctx, path, cfg)
	if err != nil {
		return nil, opError("dial", path, err)
	}
	return conn, nil
}
