package ring

import (
	"context"
	"runtime/debug"

	"github.com/shmring/shmring/layout"
)

// Drain handles what is there: it waits for one message, then calls f for it and for
// those behind it that are there already, at most max of them (max ≤ 0: as many as
// the ring has slots). A message is released when f returns nil, many of them with
// one store, which makes this the fastest way to receive. When f returns an error,
// Drain returns it and that message stays next. n is how many were handled; it can be
// above 0 together with an error. The message is valid until f returns or the handle is
// closed, which f may do; it calls nothing else of the handle. A ctx that is done ends a
// loop over Drain after at most 64 messages or one more Drain. Errors: those of Receive, and
// those of f.
func (c *Consumer) Drain(ctx context.Context, max int, f func(Message) error) (n int, err error) {
	if max <= 0 {
		max = int(c.slots.count)
	}
	if !c.enter() {
		return c.drainClosed(ctx, max, f)
	}
	if c.ackImplicit() {
		if err := c.chores(ctx); err != nil {
			c.leave()
			return 0, err
		}
	}
	for try := 0; n < max; try++ {
		if int64(c.short.drain-c.pos) > 0 {
			handled, err := c.drainShort(max-n, f)
			if n += handled; err != nil || n >= max {
				if err == nil {
					c.leave()
				}
				return n, err
			}
		}
		var m found
		if err := c.peek(&m); err != nil {
			if err == ErrEmpty && n > 0 {
				break
			}
			if ctx == noWait {
				c.flushReadPos()
			} else if err = c.awaitMessage(ctx, err, try); err == nil {
				continue
			}
			c.leave()
			return n, err
		}
		if c.batch.rest != nil {
			handled, err := c.drainBatch(max-n, f)
			if n += handled; err != nil {
				return n, err
			}
			continue
		}
		c.expose(m.end)
		c.leave()
		if err := f(c.message(&m, 0)); err != nil {
			return n, err
		}
		if !c.enter() {
			return n, c.closeReason()
		}
		c.take(&m)
		if c.handled(m.end) {
			c.flushReadPos()
		}
		c.openShort()
		n++
	}
	c.leave()
	return n, nil
}

// drainClosed is Drain of a handle that is closed, or a front. After a fault it is not known how many
// were handled.
func (c *Consumer) drainClosed(ctx context.Context, max int, f func(Message) error) (n int, err error) {
	if c.behind == nil {
		return 0, c.closeReason()
	}
	defer c.behind.caught(&err, debug.SetPanicOnFault(true))
	if c.measure != nil {
		handle := f
		f = func(m Message) error {
			end := m.start
			if m.about&inner == 0 {
				end = c.behind.exposed
			}
			c.behind.measured(end)
			return handle(m)
		}
	}
	return c.behind.Drain(ctx, max, f)
}

// drainShort is Drain's loop while the short way lasts. It is inside enter; after an error it is
// not.
func (c *Consumer) drainShort(max int, f func(Message) error) (n int, err error) {
	if c.mpsc {
		return c.drainShortMPSC(max, f)
	}
	return c.drainShortSPSC(max, f)
}

func (c *Consumer) drainShortSPSC(max int, f func(Message) error) (n int, err error) {
	s := &c.short
	for pos := c.pos; n < max; n++ {
		w := c.load(pos) // D2; once: a peer may rewrite it
		size := w.Length()
		next := layout.NextRecord(pos, size, s.align)
		if !s.admits(w, next, s.drain) {
			return n, nil
		}
		c.expose(next)
		c.leave()
		if err := f(Message{c, pos, c.bodyOffset(pos), about(w)&aboutText | s.about}); err != nil {
			return n, err
		}
		if !c.enter() {
			return n, c.closeReason()
		}
		s.sender.add(int(size))
		c.pending++
		pos, c.pos = next, next
		if c.handled(next) {
			c.flushReadPos()
		}
	}
	return n, nil
}

func (c *Consumer) drainShortMPSC(max int, f func(Message) error) (n int, err error) {
	s := &c.short
	for pos := c.pos; n < max; n++ {
		if int64(s.drain-pos) <= 0 {
			return n, nil
		}
		d := c.descAt(pos)
		meta, ok := s.matches(d)
		if !ok {
			return n, nil
		}
		size := int(uint32(meta))
		c.hold(d, meta)
		c.fetchSoon(d)
		next := pos + s.slots
		c.expose(next)
		c.leave()
		if err := f(Message{c, pos, c.bytesOffset(pos, size), about(meta)&aboutText | s.about}); err != nil {
			return n, err
		}
		if !c.enter() {
			return n, c.closeReason()
		}
		s.sender.add(size)
		c.pending++
		pos, c.pos = next, next
		if c.handled(next) {
			c.flushReadPos()
		}
	}
	return n, nil
}

// noWait in place of a context makes Drain a TryDrain. (Drain is the loop itself, and not
// one of two wrappers, so that package shmring can inline its own.)
var noWait context.Context

// TryDrain is Drain that does not wait: ErrEmpty when there is nothing.
func (c *Consumer) TryDrain(max int, f func(Message) error) (n int, err error) {
	return c.Drain(noWait, max, f)
}

// drainBatch is Drain's loop while a batch lasts. It is inside enter; after an error it
// is not.
func (c *Consumer) drainBatch(max int, f func(Message) error) (n int, err error) {
	b := &c.batch
	c.expose(b.end)
	m := found{start: b.start, end: b.start}
	what := describe(b.from, c.mayBeSeen(b.start, c.slots.count))
	received := &c.received[b.from]
	for n < max {
		size, kind, ok := b.entry(c.maxMessage)
		if !ok {
			err = c.corruptEntry(size)
			c.leave()
			return n, err
		}
		m.data = b.rest[layout.EntryHeader : layout.EntryHeader+size : layout.EntryHeader+size]
		m.index, m.about = b.index, what|about(kind)<<aboutKind
		whole := entrySize(size)
		last := whole >= len(b.rest)
		if last {
			m.end = b.end
		} else {
			m.about |= inner
		}
		c.leave()
		if err := f(c.message(&m, 0)); err != nil {
			if n > 0 && c.enter() { // what stands before the batch is handled
				if c.handled(b.start) {
					c.flushReadPos()
				}
				c.leave()
			}
			return n, err
		}
		if !c.enter() {
			return n, c.closeReason()
		}
		received.add(size)
		c.pending++
		n++
		if last {
			b.rest = nil
			c.pos = m.end
			break
		}
		b.rest = b.rest[whole:]
		b.index++
	}
	if c.handled(m.end) {
		c.flushReadPos()
	}
	if n >= choresEvery || b.rest != nil {
		c.lookSoon()
	}
	return n, nil
}
