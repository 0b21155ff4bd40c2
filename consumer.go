package shmring

import (
	"context"
	"iter"
	"sync"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// Consumer receives the messages of a ring.
//
// A Consumer is for one goroutine at a time, and that includes the release of its messages.
// Close, Info, MaxMessage, Peers, Slots, Stats and Used may be called by any goroutine at any
// time.
//
// Delivery is at least once. A message is released after it was handled: by
// [Message.Release], by coming back for the next one (Receive, TryReceive), or by the
// handler's return (Drain, All). If the process is killed before, the next consumer gets
// the message again. Releases are gathered, so that may be up to 64 messages (fewer on
// rings of less than 512 slots) and the batches they belong to, or on an SPSC ring up to 4 KiB of
// records. With
// [DeliveryAtMostOnce] the next consumer passes over what this one may have seen.
type Consumer struct {
	ring    *ring.Consumer // for what moves messages: handle, or a front of it (Options.Untrusted, Options.MeasureEvery)
	handle  *ring.Consumer
	s       *segment
	final   finalStats
	closing sync.Once
	err     error
}

// OpenConsumer attaches the consumer to the named ring and goes on behind the last message
// that was released. Unless Options.Mode says otherwise it waits for the ring to be
// created. ctx bounds waiting for the ring or for the role, not the life of the consumer.
// Errors: [ErrBusy], naming the holder, when the ring has a live consumer, and those listed
// at [ErrFull] and its neighbours.
func OpenConsumer(ctx context.Context, name string, o *Options) (*Consumer, error) {
	return openConsumer(ctx, o, byName(name, ModeOpenWait))
}

func openConsumer(ctx context.Context, o *Options, open opening) (*Consumer, error) {
	c := &Consumer{}
	o = o.orDefault()
	take := func(v *layout.View, cfg ring.Config) (att ring.Attachment, err error) {
		cfg.Facade = c
		if c.handle, err = ring.NewConsumer(v, cfg); err != nil {
			return att, err
		}
		return c.handle.Attachment(), nil
	}
	s, err := join(ctx, o, open, RoleConsumer, take)
	if err != nil {
		return nil, err
	}
	c.s, s.guard = s, c.handle.Guard
	switch c.ring = c.handle; {
	case o.MeasureEvery > 0:
		c.ring = c.handle.Measured()
	case o.Untrusted:
		c.ring = c.handle.Guarded()
	}
	s.attend(o, peersEvery, nil)
	return c, nil
}

// Receive copies the next message into buf and returns its length. It waits while the ring
// is empty, until ctx ends the wait. While there are messages, a ctx that is done ends a loop
// over Receive after at most 64 more of them. Coming back for another message releases the
// ones before. Errors: those of TryReceive except [ErrEmpty]; a [*ContextError]; [ErrOrphaned].
func (c *Consumer) Receive(ctx context.Context, buf []byte) (int, error) {
	return c.ring.Receive(ctx, buf)
}

// TryReceive is Receive that does not wait. If buf is too short, it returns the length that
// is needed and io.ErrShortBuffer, and the message stays next. It never blocks, never
// allocates and makes no system call except to wake a producer that waits for room; it does
// not look after the dead, see Check. On an MPSC ring it may return ErrEmpty although a Send
// has returned: while another producer is inside a call, or holds a claim, that comes before.
// Errors: [ErrEmpty]; io.EOF behind the end of a stream (the next call waits for another
// stream); a [*StreamError] behind a stream that died or failed (likewise); [ErrClosed];
// [*CorruptError].
func (c *Consumer) TryReceive(buf []byte) (int, error) {
	return c.ring.TryReceive(buf)
}

// Next returns the next message in place, without a copy. It waits, and heeds ctx, as Receive
// does. Several messages may be out at once; they are released in order,
// see [Message.Release]. While one is out, nothing that Receive or Drain handled is
// released either. Errors: those of Receive.
func (c *Consumer) Next(ctx context.Context) (Message, error) {
	m, err := c.ring.Next(ctx)
	return Message(m), err
}

// TryNext is Next that does not wait. Errors: those of TryReceive.
func (c *Consumer) TryNext() (Message, error) {
	m, err := c.ring.Next(context.Context(nil)) // ring.TryNext, but inlined
	return Message(m), err
}

// Drain handles what is there: it waits for one message, then calls f for it and for those
// behind it that are there already, at most max of them (max ≤ 0: as many as the ring has
// slots). A message is released when f returns nil, many of them with one store, which
// makes this, beside [Consumer.View], the fastest way to receive. When f returns an error, Drain
// returns it and that message stays next. n is how many were handled; it can be above 0 together with an error.
// The message is valid until f returns or the consumer is closed, which f may do; f calls
// nothing else of the consumer. A ctx that is done ends a loop over Drain after at most 64
// messages or one more Drain. Errors: those of Receive, and those of f.
func (c *Consumer) Drain(ctx context.Context, max int, f func(Message) error) (n int, err error) {
	return c.ring.Drain(ctx, max, ringHandler(f))
}

// TryDrain is Drain that does not wait: [ErrEmpty] when there is nothing.
func (c *Consumer) TryDrain(max int, f func(Message) error) (n int, err error) {
	return c.ring.TryDrain(max, ringHandler(f))
}

// All returns a single-use iterator over messages in place. Each is valid for its round of
// the loop and is released when that ends, by break too. All waits, and heeds ctx, like
// Next. It ends silently at io.EOF, and after yielding any other error once, except that it
// goes on behind a [*StreamError]: others may still send.
func (c *Consumer) All(ctx context.Context) iter.Seq2[Message, error] {
	return sequence(c.ring.All(ctx))
}

// Check looks after the dead and at the ring's file, as calls that wait do by themselves
// now and then: it passes over the claim of a dead producer that stands at the head of the
// ring, and finds producers that died. It is for programs that use the Try
// calls only. It makes a few system calls. Errors: [*StreamError]; io.EOF; [ErrClosed];
// [*CorruptError]; [ErrOrphaned]; an error that says that the file was truncated.
func (c *Consumer) Check() error { return c.s.guarded(c.handle.Check) }

// MaxMessage returns how many bytes the longest message may have.
func (c *Consumer) MaxMessage() int { return c.handle.MaxMessage() }

// Slots returns how many slots the ring has.
func (c *Consumer) Slots() int { return c.handle.Slots() }

// Used returns how many slots are taken: by messages that are not released yet, and by
// claims. The answer may be old when it arrives. On an SPSC ring Used costs some
// nanoseconds for each record.
func (c *Consumer) Used() (n int) {
	_ = c.s.guard(func() { n = c.handle.Used() })
	return n
}

// Stats returns what this consumer has counted, after Close as it was then, and the claim that
// holds it up. Others see its Messages and Bytes later: it writes them down before it sleeps,
// when it closes, and every few thousand messages.
func (c *Consumer) Stats() Stats { return c.final.or(c.stats) }

func (c *Consumer) stats() (s Stats) {
	_ = c.s.guard(func() { s = statsOf(c.handle.Stats()) })
	return s
}

// Peers returns who is attached to the ring, ourselves included: the consumer comes first. It
// takes no part in the ring and makes a system call for each. The error is ErrClosed, or what
// the system said.
func (c *Consumer) Peers() ([]Peer, error) { return c.s.peers() }

// Info returns what opening did and found.
func (c *Consumer) Info() Info { return c.s.info }

// Close wakes and ends a call that is blocked, and detaches. The ring stays. What Next
// returned and was not released goes to the next consumer; what Receive returned last
// counts as handled. Any goroutine may call Close at any time, also from inside a handler
// or a loop over All; calls after the first return what that returned.
func (c *Consumer) Close() error {
	c.closing.Do(func() {
		c.s.dismiss()
		_ = c.s.guard(func() { c.handle.Close() })
		c.final.keep(c.stats())
		c.err = c.s.detach(c.handle.Attachment(), FateLeft)
	})
	return c.err
}
