package shmrpc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/shmnet"
)

// Config of a [Client]. The zero value and nil are good defaults.
type Config struct {
	// Conn is how connections are made.
	Conn *shmnet.Config
	// MaxPayload is the longest reply that is taken, in bytes; a call that has a longer one returns an error
	// that matches ErrReplyTooLong. Zero: DefaultMaxPayload.
	MaxPayload int
	// Idempotent, if not nil, tells which methods may be carried out more than once. Calls of these
	// are made again, until their context ends, when the connection was lost, and wait for the
	// server to come back.
	Idempotent func(method uint32) bool
}

// Client makes calls to the server that listens at a path. All methods may be called by any
// goroutine at any time. It connects when it is needed: by the first call, and by the first after
// the connection was lost.
type Client struct {
	path string
	cfg  Config

	dialing chan struct{}        // a token: whoever has it may connect
	link    atomic.Pointer[link] // changed with mu only
	mu      sync.Mutex
	closed  bool
}

// NewClient returns a client. It makes no connection, and so cannot fail.
func NewClient(path string, c *Config) *Client {
	cl := &Client{path: path, dialing: make(chan struct{}, 1)}
	if c != nil {
		cl.cfg = *c
	}
	return cl
}

// Close closes the connection. Calls that wait return a [*LostError], and later ones
// shmring.ErrClosed. Closing again does nothing.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	l := c.link.Swap(nil)
	c.mu.Unlock()
	if l != nil {
		l.fail(shmring.ErrClosed)
	}
	return nil
}

// Call sends a copy of request and returns buf with the reply appended, as append would. It waits for
// room, and for the reply, until ctx ends, whose deadline the server is told, and which it is told of.
// Errors: an [*Error] of the handler, or one that matches ErrTooLong or ErrReplyTooLong; a [*LostError]; the context's
// error, which matches os.ErrDeadlineExceeded if it was a deadline; those of shmnet.Dial; shmring.ErrClosed; a
// *shmring.SizeError if a request is longer than 2 GiB.
func (c *Client) Call(ctx context.Context, method uint32, request, buf []byte) ([]byte, error) {
	k := calls.Get().(*call)
	k.request, k.buf = request, buf
	err := c.do(ctx, method, len(request), k)
	buf = k.buf
	k.put()
	return buf, err
}

// Do is Call in place. fill writes the request, n bytes at most, and returns how many there are; take
// gets the reply. Both get memory of the ring if one message takes so many bytes (shmnet's
// Conn.MaxMessage, less 32), which is valid until they return. take may be called by another goroutine
// that waits for a reply of its own, one at a time, so it should not take long, and must not make
// calls; it is not called any more when Do has returned. If it panics, so does Do. Errors: as Call, and those of
// fill and take.
func (c *Client) Do(ctx context.Context, method uint32, n int,
	fill func([]byte) (int, error), take func([]byte) error) error {
	k := calls.Get().(*call)
	k.fill, k.take = fill, take
	err := c.do(ctx, method, n, k)
	k.put()
	return err
}

// do makes a call of n bytes at most, again where that is allowed. It does not return where fill or
// take panics: nobody uses k then any more.
func (c *Client) do(ctx context.Context, method uint32, n int, k *call) error {
	if n > math.MaxInt32 {
		return &shmring.SizeError{Size: n, Max: math.MaxInt32}
	}
	again := c.cfg.Idempotent != nil && c.cfg.Idempotent(method)
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		if err := ended(ctx); err != nil {
			return err
		}
		l, err := c.connect(ctx)
		if err == nil {
			err = l.call(ctx, method, n, k)
		}
		switch {
		case err == nil, ended(ctx) != nil, errors.Is(err, shmring.ErrClosed):
			return err
		case errors.Is(err, ErrLost) && (again || !mayBeDone(err)):
			continue // at once: it may have been restarted already
		case !again:
			return err
		case l != nil:
			return err // of the handler, of fill or take
		}
		select { // nobody listens: it is being restarted
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// mayBeDone tells whether the server may have carried out a call that was lost.
func mayBeDone(err error) bool {
	lost, ok := errors.AsType[*LostError](err)
	return !ok || lost.Sent
}

// ended is the error of a context.
func ended(ctx context.Context) error {
	switch err := ctx.Err(); err {
	case nil:
		return nil
	case context.DeadlineExceeded:
		return errDeadline
	default:
		return err
	}
}

// connect returns the connection, which it makes if there is none.
func (c *Client) connect(ctx context.Context) (*link, error) {
	if l := c.link.Load(); l != nil && l.isAlive() {
		return l, nil
	}
	if l, err := c.current(); l != nil || err != nil {
		return l, err
	}
	select {
	case c.dialing <- struct{}{}:
	case <-ctx.Done():
		return nil, ended(ctx)
	}
	defer func() { <-c.dialing }()
	if l, err := c.current(); l != nil || err != nil {
		return l, err
	}
	conn, err := shmnet.Dial(ctx, c.path, c.cfg.Conn)
	if err != nil {
		return nil, err
	}
	l := &link{
		conn: conn, sending: newToken(), reading: newToken(),
		in: assembly{most: orDefault(c.cfg.MaxPayload, DefaultMaxPayload)},
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = conn.Close()
		return nil, shmring.ErrClosed
	}
	c.link.Store(l)
	return l, nil
}

func (c *Client) current() (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, shmring.ErrClosed
	}
	if l := c.link.Load(); l != nil {
		if l.isAlive() {
			return l, nil
		}
		c.link.Store(nil)
		defer l.fail(shmring.ErrPeerDead) // outside of mu; whoever reads may not be there
	}
	return nil, nil
}

// link is one connection of a client.
type link struct {
	conn    *shmnet.Conn
	sending token    // the frames of one payload follow each other
	reading token    // of those who wait for replies, whoever has it reads
	in      assembly // whoever reads has it, and what follows
	own     *call    // of whoever reads
	came    bool     // the reply to that
	// unwanted is how many replies are to come that nobody waits for any more. (A server that breaks the rules can make
	// it less than that.)
	unwanted atomic.Int64

	mu      sync.Mutex
	last    uint64 // number of a request
	waiting waiting
	lost    error
	isLost  atomic.Bool // lost is set
}

// waiting is the calls that wait for a reply, by their numbers. Where few are under way each has a place of its own.
type waiting struct {
	places [64]*call
	rest   map[uint64]*call // whose place was taken
}

func (w *waiting) place(id uint64) **call { return &w.places[id%uint64(len(w.places))] }

func (w *waiting) add(k *call) {
	if p := w.place(k.id); *p == nil {
		*p = k
		return
	}
	if w.rest == nil {
		w.rest = map[uint64]*call{}
	}
	w.rest[k.id] = k
}

// take takes a call off, and returns it. nil: it is not there.
func (w *waiting) take(id uint64) *call {
	if p := w.place(id); *p != nil && (*p).id == id {
		k := *p
		*p = nil
		return k
	}
	k := w.rest[id]
	delete(w.rest, id)
	return k
}

// all takes all of them off.
func (w *waiting) all() (list []*call) {
	for i, k := range w.places {
		if k != nil {
			list, w.places[i] = append(list, k), nil
		}
	}
	for _, k := range w.rest {
		list = append(list, k)
	}
	w.rest = nil
	return list
}

// call is one call. What it sends is request, or what fill writes; its reply is appended to buf, or goes
// to take.
type call struct {
	id      uint64
	request []byte
	fill    func([]byte) (int, error)
	buf     []byte
	take    func([]byte) error
	refused error // of fill
	err     error
	panic   *takePanic // of take, on another goroutine
	// done has a token, once err stands and the reply has been taken, unless the call itself was reading: it sees came.
	done chan struct{}
}

var calls = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

// put gives k back, which nobody else has any more.
func (k *call) put() {
	*k = call{done: k.done}
	calls.Put(k)
}

// write writes the request.
func (k *call) write(b []byte) (n int, err error) {
	if k.fill == nil {
		return copy(b, k.request), nil
	}
	n, k.refused = k.fill(b)
	return n, k.refused
}

func (k *call) reply(b []byte) error {
	if k.take == nil {
		k.buf = append(k.buf, b...)
		return nil
	}
	return k.take(b)
}

// takenElsewhere is reply on the goroutine of another call, which goes on whatever take does.
func (k *call) takenElsewhere(b []byte) {
	defer func() {
		if v := recover(); v != nil {
			k.panic = &takePanic{v, debug.Stack()}
		}
	}()
	k.err = k.reply(b)
}

// result is what the call returns, or panics with as take did, once it has been given what it waits for.
func (k *call) result() error {
	if k.panic != nil {
		panic(k.panic)
	}
	return k.err
}

// token is held by one goroutine at a time. Where nobody else wants it, it costs less than one in a channel.
type token struct {
	taken  atomic.Bool
	asking atomic.Int32  // how many wait for it, or are about to
	free   chan struct{} // has something when it was given back while somebody asked
}

func newToken() token { return token{free: make(chan struct{}, 1)} }

func (t *token) take() bool { return t.taken.CompareAndSwap(false, true) }

// give gives it back. Who asks after that can take it, and who asked before is seen.
func (t *token) give() {
	t.taken.Store(false)
	if t.asking.Load() > 0 {
		select {
		case t.free <- struct{}{}:
		default: // somebody is being woken, and wakes the next
		}
	}
}

// await takes it when it is free, unless something comes from done, or from stop, before.
func (t *token) await(done, stop <-chan struct{}) (took, isDone bool) {
	t.asking.Add(1)
	defer t.asking.Add(-1)
	for {
		if t.take() {
			return true, false
		}
		select {
		case <-t.free:
		case <-done:
			return false, true
		case <-stop:
			return false, false
		}
	}
}

// isAlive tells whether the link is still of use.
func (l *link) isAlive() bool {
	select {
	case <-l.conn.Done():
		return false
	default:
		return !l.isLost.Load()
	}
}

// fail ends the link, and all calls that wait.
func (l *link) fail(err error) {
	l.mu.Lock()
	if l.lost == nil {
		l.lost = err
		l.isLost.Store(true)
	}
	waiting := l.waiting.all()
	l.mu.Unlock()
	_ = l.conn.Close()
	for _, k := range waiting {
		k.err = &LostError{true, err}
		k.done <- struct{}{}
	}
}

func (l *link) call(ctx context.Context, method uint32, n int, k *call) error {
	h := header{kind: kindRequest, method: method}
	if d, ok := ctx.Deadline(); ok {
		h.limit = uint64(max(1, time.Until(d)))
	}
	l.mu.Lock()
	l.last++
	h.id = l.last
	k.err, k.id = nil, h.id
	lost := l.lost
	if lost == nil {
		l.waiting.add(k)
	}
	l.mu.Unlock()
	if lost != nil {
		return &LostError{false, lost}
	}
	returns := false
	defer func() {
		if !returns { // fill panics
			l.forget(h.id)
		}
	}()
	err := l.exchange(ctx, h, n, k)
	returns = true
	return err
}

// exchange sends a request and waits for the reply.
func (l *link) exchange(ctx context.Context, h header, n int, k *call) error {
	if sent, err := l.send(ctx, h, n, k); err != nil {
		if !l.forget(h.id) {
			<-k.done // somebody has ended it meanwhile
		}
		if sent {
			err = &LostError{true, err}
		}
		return err
	}
	return l.await(ctx, h.id, k)
}

// forget takes a call off the list; false: somebody else has, and will leave a token.
func (l *link) forget(id uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting.take(id) != nil
}

// send sends a request. lost: the error is one of the connection.
func (l *link) send(ctx context.Context, h header, n int, k *call) (lost bool, err error) {
	if !l.sending.take() {
		if took, _ := l.sending.await(nil, ctx.Done()); !took {
			return false, ended(ctx)
		}
	}
	defer l.sending.give()
	if l.unwanted.Load() > 0 {
		defer l.readMeanwhile()()
	}
	stop := func() bool { return true }
	var over chan struct{}
	if ctx.Done() != nil {
		over = make(chan struct{})
		stop = context.AfterFunc(ctx, func() {
			_ = l.conn.SetWriteDeadline(time.Unix(1, 0))
			close(over)
		})
	}
	defer func() {
		if !stop() {
			<-over
			_ = l.conn.SetWriteDeadline(time.Time{})
		}
	}()
	k.refused = nil
	err = sendInPlace(l.conn, h, n, k.write)
	switch {
	case err == nil, k.refused != nil:
		return false, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		if !inOne(l.conn, n) {
			l.fail(err) // in the middle of a payload: nothing can follow
		}
		return false, ended(ctx)
	}
	l.fail(err)
	return true, err
}

// await waits for the reply, and reads for others meanwhile, if nobody does.
func (l *link) await(ctx context.Context, id uint64, k *call) error {
	for {
		reads, came := l.reading.take(), false
		if !reads {
			reads, came = l.reading.await(k.done, ctx.Done())
		}
		if came {
			return k.result()
		}
		if reads {
			mine, err := l.read(ctx, k)
			if mine {
				return k.result()
			}
			if err != nil {
				l.fail(err) // k is among those that end, or has ended
				<-k.done
				return k.result()
			}
		}
		if err := ended(ctx); err != nil {
			if !l.forget(id) {
				<-k.done // the reply is being taken
				return k.result()
			}
			l.unwanted.Add(1)
			l.cancel(id)
			return err
		}
	}
}

// read reads until the reply to k has come (mine), or ctx ends. The error is one of the connection. It
// gives the token back.
func (l *link) read(ctx context.Context, k *call) (mine bool, err error) {
	l.own, l.came = k, false
	defer func() {
		l.own = nil
		l.reading.give()
	}()
	if ctx.Done() != nil {
		over := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			_ = l.conn.SetReadDeadline(time.Unix(1, 0))
			close(over)
		})
		defer func() {
			if !stop() {
				<-over
				_ = l.conn.SetReadDeadline(time.Time{})
			}
		}()
	}
	select {
	case <-k.done: // whoever read before has it
		return true, nil
	default:
	}
	for {
		err := l.conn.ReadMessage(l.deliver)
		switch {
		case l.came:
			return true, nil
		case err == nil:
		case ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded):
			return false, nil
		default:
			return false, err
		}
	}
}

// readMeanwhile reads while a request is being sent, until its result is called. A server that carries requests out
// where it reads them does not read while it replies; if nobody waits for that reply, and so nobody reads, neither
// would ever go on.
func (l *link) readMeanwhile() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		if took, _ := l.reading.await(nil, ctx.Done()); !took {
			return
		}
		if _, err := l.read(ctx, &call{}); err != nil { // for a call that has no reply
			l.fail(err)
		}
	}()
	return func() {
		cancel()
		<-over
	}
}

// deliver gives a frame to whom it is for.
func (l *link) deliver(b []byte) error {
	h, payload, whole, err := l.in.add(b)
	if err != nil || !whole {
		return err
	}
	if h.kind != kindReply && h.kind != kindError {
		return badFrame("kind %d comes from a server", h.kind)
	}
	l.mu.Lock()
	k, last := l.waiting.take(h.id), l.last
	l.mu.Unlock()
	if h.id > last {
		return badFrame("a reply to request %d, the last was %d", h.id, last)
	}
	if k == nil {
		l.unwanted.Add(-1)
		return nil // it was cancelled
	}
	if l.came = k == l.own; !l.came {
		k.err = &LostError{true, errTake}
		defer func() { k.done <- struct{}{} }()
	}
	switch {
	case !l.in.takes(h):
		k.err = &Error{CodeReplyTooLong, fmt.Sprintf(
			"shmrpc: a reply of %d bytes, and the client takes %d at most (Config.MaxPayload)", h.size, l.in.most)}
	case h.kind == kindError:
		k.err = &Error{h.method, string(payload[:min(len(payload), mostText)])}
	case !l.came:
		k.takenElsewhere(payload)
	default:
		k.err = k.reply(payload)
	}
	return nil
}

// errTake is what a call returns whose take has ended the goroutine of another (runtime.Goexit).
var errTake = errors.New("the goroutine that took the reply was ended by it")

// cancel tells the server that nobody waits any more. If there is no room for that it is not told: it is
// busy.
func (l *link) cancel(id uint64) {
	if !l.sending.take() {
		return
	}
	defer l.sending.give()
	_ = l.conn.SetWriteDeadline(time.Now().Add(cancelFor))
	_ = send(l.conn, header{kind: kindCancel, id: id}, nil)
	_ = l.conn.SetWriteDeadline(time.Time{})
}

// cancelFor is how long a call waits for room to say that it was cancelled.
const cancelFor = time.Millisecond
