package ring

import (
	"context"
	"io"
	"iter"
	"time"
)

// TryReceive copies the next message into buf and returns its length. Where buf is
// too short it returns the length needed and io.ErrShortBuffer, and the message stays
// next. Coming back for another releases the ones before. It never blocks, never
// allocates and makes no system call except to wake a producer that waits for room
// and to judge whether the end of one stream was the last; it does not look after the
// dead, see [Consumer.Check]. Errors: ErrEmpty, io.EOF (the stream has ended; a later
// call waits for another), *PeerDeadError, ErrClosed, *CorruptError.
func (c *Consumer) TryReceive(buf []byte) (int, error) {
	if !c.enter() {
		return 0, c.why()
	}
	n, err := c.receive(buf)
	if err != nil {
		c.settle()
	}
	c.leave()
	return n, err
}

// Receive is TryReceive that waits while the ring is empty, until ctx ends the wait.
// Errors: those of TryReceive other than ErrEmpty, a *ContextError, and whatever
// Config.Check returns.
func (c *Consumer) Receive(ctx context.Context, buf []byte) (int, error) {
	if !c.enter() {
		return 0, c.why()
	}
	for turn := 0; ; turn++ {
		n, err := c.receive(buf)
		if err != nil {
			if err = c.again(ctx, err, turn); err == nil {
				continue
			}
		}
		c.leave()
		return n, err
	}
}

func (c *Consumer) receive(buf []byte) (int, error) {
	if !c.leased {
		c.handle(c.auto)
	}
	var m Message
	if err := c.peek(&m); err != nil {
		return 0, err
	}
	if len(m.data) > len(buf) {
		return len(m.data), io.ErrShortBuffer
	}
	n := move(buf, m.data)
	c.take(&m)
	c.auto = m.end
	return n, nil
}

// TryNext returns the next message in place. Several may be out at once; they are
// released in order, see [Message.Release]. While one is out, nothing that Receive or
// Drain handled is released either: better not to mix them. Errors: those of
// TryReceive.
func (c *Consumer) TryNext() (Message, error) {
	if !c.enter() {
		return Message{}, c.why()
	}
	var m Message
	err := c.lease(&m)
	if err != nil {
		c.settle()
	}
	c.leave()
	return m, err
}

// Next is TryNext that waits while the ring is empty. Errors: those of Receive.
func (c *Consumer) Next(ctx context.Context) (Message, error) {
	if !c.enter() {
		return Message{}, c.why()
	}
	for turn := 0; ; turn++ {
		var m Message
		err := c.lease(&m)
		if err != nil {
			if err = c.again(ctx, err, turn); err == nil {
				continue
			}
		}
		c.leave()
		return m, err
	}
}

// patience is how many turns of a blocking call may bring nothing although something
// was ready (claims that were aborted, or whose owner is dead) before the call looks
// at its context: data comes before the context's error, but a peer that feeds nothing
// but aborted claims must not keep us.
const patience = 64

// again turns the refusal of one turn of a blocking call into nil once it makes sense
// to try again.
func (c *Consumer) again(ctx context.Context, refusal error, turn int) error {
	if refusal != ErrEmpty {
		c.settle()
		return refusal
	}
	if !c.leased {
		c.handle(c.auto)
	}
	if turn > patience {
		c.settle()
		if err := c.interrupted(ctx, "receive", time.Time{}); err != nil {
			return err
		}
	}
	if c.cfg.SpinFor != 0 && c.soon() {
		return nil
	}
	return c.await(ctx, "receive", time.Time{}, c.ready, c.settle, c.upkeep)
}

func (c *Consumer) lease(m *Message) error {
	if !c.leased {
		c.handle(c.auto)
	}
	if err := c.peek(m); err != nil {
		*m = Message{}
		return err
	}
	c.take(m)
	c.handed++
	c.leased = true
	m.id = c.handed
	return nil
}

// release is Message.Release, of the message that Next handed out as number id.
func (c *Consumer) release(id, end uint64) {
	if !c.enter() {
		return // closed: the next consumer gets it again
	}
	if id <= c.freed {
		c.leave()
		return // released before, by itself or with a later one
	}
	c.freed = id
	if id == c.handed {
		c.leased = false
		end = c.pos // with it goes what was passed over behind it
	}
	c.handle(end)
	c.auto = c.owed
	c.leave()
}

// All returns a single-use iterator over messages in place. Each is valid for its
// round of the loop and released when that ends, by break too. It waits like Next. It
// ends silently at io.EOF, and after yielding any other error once.
func (c *Consumer) All(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for {
			m, err := c.Next(ctx)
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(Message{}, err)
				return
			}
			more := yield(m, nil)
			m.Release()
			if !more {
				return
			}
		}
	}
}
