package ring

import (
	"context"
	"errors"
	"io"
	"iter"
	"runtime/debug"

	"github.com/shmring/shmring/layout"
)

// TryReceive copies the next message into buf and returns its length. Where buf is too
// short it returns the length needed and io.ErrShortBuffer, and the message stays next.
// Coming back for another releases the ones before. It never blocks, never allocates and
// makes no system call except to wake a producer that waits for room; it does not look for
// dead producers, see [Consumer.Check]. Errors: ErrEmpty, io.EOF (the stream has ended; a
// later call waits for another), *StreamError, ErrClosed, *CorruptError.
func (c *Consumer) TryReceive(buf []byte) (int, error) {
	// The ring is as empty as it was, nothing has come to be told, and the handle is open: nothing is
	// touched, so no gate is needed. (On an MPSC ring load finds 0.)
	if pos := c.pos; pos == c.short.dryAt && c.stopped.Load() == 0 && c.load(pos) == 0 && (!c.mpsc || c.isBlank(pos)) &&
		c.hot.News.Load() == c.fates.news && !c.busy.get() {
		return 0, ErrEmpty
	}
	return c.Receive(context.Context(nil), buf)
}

// tryReceive is TryReceive by the long way, inside enter.
func (c *Consumer) tryReceive(buf []byte) (int, error) {
	if c.isDry() {
		c.leave()
		return 0, ErrEmpty
	}
	n, err := c.receive(context.Context(nil), buf) // noWait, without its load
	if err != nil && c.acked != c.released {       // as flushReadPos would find out
		c.flushReadPos()
	}
	c.leave()
	return n, err
}

// isDry is the short way to ErrEmpty: nothing is next, there is nothing to tell, coming back
// releases nothing, and no chores are due.
func (c *Consumer) isDry() bool {
	switch {
	case c.batch.rest != nil, c.view.viewing, c.implicitAck != c.released, c.acked-c.looked >= c.flushAfter:
		return false
	case c.fates.more, c.hot.News.Load() != c.fates.news:
		return false
	case !c.isBlank(c.pos):
		return false
	}
	c.streak = 0
	if c.short.dryAt == c.pos {
		return true // as it was: behind a front, say
	}
	c.turn()
	c.endShort()
	c.openShort() // as in awaitMessage: what comes then need not go the long way
	c.short.dryAt = c.pos
	return true
}

// Receive is TryReceive that waits while the ring is empty, until ctx ends the wait; without a
// ctx, nil, it is TryReceive. What is the consumer's own is brought up to date before the copy:
// the message is not released before the next call, and less has to be kept meanwhile. While
// there are messages, a ctx that is done ends a loop over Receive after at most 64 more of
// them, or 4 KiB on an SPSC ring. Errors: those of TryReceive other than ErrEmpty, a *ContextError, and whatever
// Config.Check returns.
func (c *Consumer) Receive(ctx context.Context, buf []byte) (int, error) {
	for try := 0; ; try++ {
		// The short way of an SPSC ring, enter, admits and leave written out. Outside the word is only looked
		// at, if the handle is not known to be closed: a file that Check has refused may have lost its pages.
		if !c.mpsc {
			if c.stopped.Load() != 0 {
				goto long
			}
			pos, s := c.pos, &c.short
			at := c.word(pos)
			w := loadAt(at) // D2; once: a peer may rewrite it
			n := w.Length()
			end := layout.NextRecord(pos, n, s.align)
			if w.Like() != s.like || int64(s.until-end) < 0 || n > s.most || n > uint64(len(buf)) {
				goto long
			}
			if c.busy.get() { // apart: as the last of those above it costs two instructions
				goto long
			}
			if c.busy.set(true); c.stopped.Load() != 0 {
				c.busy.set(false)
				goto long
			}
			c.takeShort(int(n))
			c.pos, c.implicitAck = end, end
			switch {
			case n-8 <= few:
				copyFew(first(buf), behind(at), n)
			case n-8 <= some:
				copySome(first(buf), behind(at), n)
			default:
				copy(buf, c.bodyAt(pos, n))
			}
			c.leave()
			return int(n), nil
		}
	long:
		if !c.enter() {
			return c.receiveClosed(ctx, buf)
		}
		if c.mpsc && int64(c.short.until-c.pos) > 0 {
			pos, d := c.pos, c.descAt(c.pos)
			meta, ok := c.short.matches(d)
			if n := uint64(uint32(meta)); ok && n <= uint64(len(buf)) {
				c.hold(d, meta)
				c.fetchSoon(d)
				c.takeShort(int(n))
				c.pos = pos + c.short.slots
				c.implicitAck = c.pos
				switch {
				case n-8 <= few:
					copyFew(first(buf), &d.Inline[0], n)
				case n-8 <= layout.InlineSize-8:
					copySome(first(buf), &d.Inline[0], n)
				default:
					copy(buf, c.bytesAt(d, pos, int(n)))
				}
				c.leave()
				return int(n), nil
			}
		}
		if ctx == nil {
			return c.tryReceive(buf)
		}
		if n, err := c.receiveOrWait(ctx, buf, try); err != errAgain {
			return n, err
		}
		c.leave()
	}
}

// receiveClosed is Receive of a handle that is closed, or a front.
func (c *Consumer) receiveClosed(ctx context.Context, buf []byte) (n int, err error) {
	if c.behind == nil {
		return 0, c.closeReason()
	}
	defer c.behind.caught(&err, debug.SetPanicOnFault(true))
	n, err = c.behind.Receive(ctx, buf)
	if c.measure != nil && err == nil {
		c.behind.measured(c.behind.pos)
	}
	return n, err
}

// errAgain: what was waited for is there.
var errAgain = errors.New("again")

// receiveOrWait is one try by the long way, inside enter, and the wait after it.
func (c *Consumer) receiveOrWait(ctx context.Context, buf []byte, try int) (int, error) {
	n, err := c.receive(ctx, buf)
	if err != nil {
		if err = c.awaitMessage(ctx, err, try); err == nil {
			return 0, errAgain
		}
	}
	c.leave()
	return n, err
}

// receive is one try.
func (c *Consumer) receive(ctx context.Context, buf []byte) (int, error) {
	if c.ackImplicit() {
		if err := c.chores(ctx); err != nil {
			return 0, err
		}
	}
	var m found
	if err := c.peek(&m); err != nil {
		return 0, err
	}
	if len(m.data) > len(buf) {
		return len(m.data), io.ErrShortBuffer
	}
	n := copyIn(buf, m.data)
	c.take(&m)
	c.implicitAck = m.end
	c.openShort()
	return n, nil
}

// TryNext returns the next message in place. Several may be out at once; they are released
// in order, see [Message.Release]. While one is out, nothing that Receive or Drain handled
// is released either. Errors: those of TryReceive.
func (c *Consumer) TryNext() (Message, error) { return c.Next(context.Context(nil)) }

// tryNext is TryNext by the long way, inside enter.
func (c *Consumer) tryNext() (Message, error) {
	if c.isDry() {
		c.leave()
		return Message{}, ErrEmpty
	}
	m, err := c.borrow(context.Context(nil)) // as in TryReceive
	if err != nil && c.acked != c.released { // as flushReadPos would find out
		c.flushReadPos()
	}
	c.leave()
	return m, err
}

// Next is TryNext that waits as Receive does; without a ctx, nil, it is TryNext. Errors: those of
// Receive.
func (c *Consumer) Next(ctx context.Context) (Message, error) {
	if !c.enter() {
		return c.nextClosed(ctx)
	}
	pos, s := c.pos, &c.short
	if c.mpsc {
		if m, ok := c.nextShortMPSC(pos); ok {
			return m, nil
		}
		return c.next(ctx)
	}
	w := c.load(pos) // D2; once: a peer may rewrite it
	n := w.Length()
	end := layout.NextRecord(pos, n, s.align)
	if w.Like() == s.like && int64(s.until-end) >= 0 && n <= s.most { // admits, written out
		c.takeShort(int(n))
		c.pos = end
		c.newest, c.outstanding = Position{pos, 0}, true
		c.leave()
		return Message{c, pos, c.bodyOffset(pos), about(w)&aboutText | s.about | loaned}, nil
	}
	return c.next(ctx)
}

// nextShortMPSC is the short way of Next on an MPSC ring. It leaves if it returns a message.
func (c *Consumer) nextShortMPSC(pos uint64) (Message, bool) {
	if int64(c.short.until-pos) <= 0 {
		return Message{}, false
	}
	d := c.descAt(pos)
	meta, ok := c.short.matches(d)
	if !ok {
		return Message{}, false
	}
	n := int(uint32(meta))
	c.hold(d, meta)
	c.fetchSoon(d)
	c.takeShort(n)
	c.pos = pos + c.short.slots
	c.newest, c.outstanding = Position{pos, 0}, true
	c.leave()
	return Message{c, pos, c.bytesOffset(pos, n), about(meta)&aboutText | c.short.about | loaned}, true
}

// next is Next by the long way, inside enter.
func (c *Consumer) next(ctx context.Context) (Message, error) {
	if ctx == nil {
		return c.tryNext()
	}
	for try := 0; ; try++ {
		if m, err := c.nextOrWait(ctx, try); err != errAgain {
			return m, err
		}
	}
}

// nextClosed is Next of a handle that is closed, or a front.
func (c *Consumer) nextClosed(ctx context.Context) (m Message, err error) {
	if c.behind == nil {
		return m, c.closeReason()
	}
	defer c.behind.caught(&err, debug.SetPanicOnFault(true))
	m, err = c.behind.Next(ctx)
	if err == nil {
		m.c = c // so that its release is guarded too
		if c.measure != nil {
			c.behind.measured(c.behind.pos)
		}
	}
	return m, err
}

// nextOrWait is receiveOrWait in place.
func (c *Consumer) nextOrWait(ctx context.Context, try int) (m Message, err error) {
	if m, err = c.borrow(ctx); err != nil {
		if err = c.awaitMessage(ctx, err, try); err == nil {
			return m, errAgain
		}
	}
	c.leave()
	return m, err
}

// borrow is receive in place.
func (c *Consumer) borrow(ctx context.Context) (Message, error) {
	if c.ackImplicit() {
		if err := c.chores(ctx); err != nil {
			return Message{}, err
		}
	}
	var m found
	if err := c.peek(&m); err != nil {
		return Message{}, err
	}
	c.take(&m)
	c.openShort()
	c.newest, c.outstanding = Position{m.start, m.index}, true
	return c.message(&m, loaned), nil
}

// All returns a single-use iterator over messages in place. Each is valid for its round of
// the loop and released when that ends, by break too. It waits like Next. It ends silently
// at io.EOF, and after yielding any other error once, except that it goes on behind a
// *StreamError: other producers may still send.
func (c *Consumer) All(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for {
			m, err := c.Next(ctx)
			if err == io.EOF {
				return
			}
			if err != nil {
				// By what it matches: Config.Wrap may have made another type of it.
				goesOn := errors.Is(err, ErrPeerDead) || errors.Is(err, ErrFailed)
				if !yield(Message{}, err) || !goesOn {
					return
				}
				continue
			}
			more := yield(m, nil)
			c.returnLoan(m)
			if !more {
				return
			}
		}
	}
}

// triesBeforeInterrupt is how many tries of a blocking call may bring nothing although
// something was ready (claims that were aborted, or whose owner is dead) before the call
// looks at its context: data comes before the context's error, but a peer that feeds
// nothing but aborted claims must not keep us.
const triesBeforeInterrupt = 64

// awaitMessage turns the refusal of one try of a blocking call into nil once it makes
// sense to try again.
func (c *Consumer) awaitMessage(ctx context.Context, refusal error, try int) error {
	if refusal != ErrEmpty {
		c.flushReadPos()
		return refusal
	}
	if c.ackImplicit(); c.flushDue() {
		c.flushReadPos()
	}
	w := wait{h: &c.handle, ctx: ctx, op: "receive"}
	if try > triesBeforeInterrupt {
		c.flushReadPos()
		if err := w.interrupted(); err != nil {
			return err
		}
	}
	c.openShort() // for what comes then
	if c.cfg.SpinFor != 0 && c.awaitAtOnce() {
		return nil
	}
	return w.await(c.isDue, c.flushReadPos, c.maintain)
}

// HasNews tells whether the next call has something to say: a message, the end of a stream, or
// that the handle is closed. It is for the consumer's goroutine.
func (c *Consumer) HasNews() bool { return c.hasNews() }

// Arm announces somebody who sleeps in a way of its own until Config.ParkingLot of the producer is
// called, and looks once more (B2). true: the next call has something to say, and nobody is
// announced. The announcement stays until a producer has answered it, so whoever gets up by
// itself is woken once for nothing. It is for the consumer's goroutine.
func (c *Consumer) Arm() bool {
	if !c.enter() {
		return true
	}
	defer c.leave()
	c.ackImplicit()
	c.flushReadPos()
	c.count(layout.Sleeps, 1)
	key := c.announce(layout.BellParked)
	if !c.lookAgain(c.hasNews) { // B2
		return false
	}
	c.withdraw(key)
	return true
}
