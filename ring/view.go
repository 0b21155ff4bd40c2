package ring

import (
	"context"
	"sync/atomic"
)

// View hands out messages in place, on an SPSC ring most of them without a call: Next is the short
// way to the next message and can be inlined, Wait is that and all else. Both are the consumer's
// goroutine's.
//
// Next does without the gate. It stores nothing that others see; Close takes the short way from
// under it, and assumes that one message more than it can see was handed out.
type View struct {
	c *Consumer
	window
	viewing bool   // a message was handed out, and nobody has come back since
	start   uint64 // position of the message that Wait has handed out
	about   about  // of that, but for its kind and length also of those behind it in the window
	index   uint32 // of that
	until   uint64 // as in short, of an MPSC ring
	first   uint64 // what that message takes in its batch
	guarded bool   // its consumer has a front
	measure bool   // and that one measures
	err     error
}

// View returns the one View of this consumer.
func (c *Consumer) View() *View {
	if c.behind != nil {
		v := c.behind.View()
		v.guarded, v.measure = true, c.measure != nil
		return v
	}
	c.view.c = c
	return &c.view
}

// Wait goes on to the next message like Next, and waits for it as Receive does; without a ctx,
// nil, it does not wait. Where it reports false, Err says why. A message is valid until the
// call of Wait after it.
func (v *View) Wait(ctx context.Context) bool {
	if v.guarded {
		return v.waitGuarded(ctx)
	}
	return v.wait(ctx)
}

// waitGuarded is Wait for who has a front. There is no window then, which nobody guards.
func (v *View) waitGuarded(ctx context.Context) (ok bool) {
	err := v.c.guardInside(func() {
		if ok = v.wait(ctx); ok && v.measure {
			v.c.measured(v.c.pos)
		}
	})
	if err != nil {
		v.err = err
		return false
	}
	return ok
}

func (v *View) wait(ctx context.Context) bool {
	c := v.c
	if !c.enter() {
		v.err = c.closeReason()
		return false
	}
	v.err = nil
	for try := 0; ; try++ {
		if v.takeShort() {
			break
		}
		if v.err = v.take(ctx); v.err == nil {
			break
		}
		if ctx == nil {
			c.flushReadPos()
		} else if v.err = c.awaitMessage(ctx, v.err, try); v.err == nil {
			continue
		}
		c.leave()
		return false
	}
	c.leave()
	return true
}

// Err is why Wait has last reported false: one of the errors of Receive, or without a ctx of
// TryReceive. It is nil after Wait has reported true.
func (v *View) Err() error { return v.err }

// takeShort is Wait's short way on an MPSC ring. That of an SPSC ring is Next.
func (v *View) takeShort() bool {
	c, pos := v.c, v.c.pos
	if !v.viewing || int64(v.until-pos) <= 0 {
		return false
	}
	d := c.descAt(pos)
	meta, ok := c.short.matches(d)
	if !ok {
		return false
	}
	n := int(uint32(meta))
	c.hold(d, meta)
	c.implicitAck = pos
	c.takeShort(n)
	c.pos = pos + c.short.slots
	v.start, v.about, v.index = pos, about(meta)&aboutText|c.short.about, 0
	v.hold(c.bytesAt(d, pos, n), 0)
	return true
}

// take is one try by the long way.
func (v *View) take(ctx context.Context) error {
	c := v.c
	if c.ackImplicit() {
		if err := c.chores(ctx); err != nil {
			return err
		}
	}
	var m found
	if err := c.peek(&m); err != nil {
		return err
	}
	v.viewing, v.start, v.about, v.index, v.until = true, m.start, m.about, m.index, c.pos
	rest := c.batch.rest
	c.take(&m)
	if c.batch.rest != nil && !v.guarded {
		v.first = uint64(entrySize(len(m.data)))
		v.hold(m.data, v.first)
		v.openInBatch(rest[:min(len(rest), choresBytes)])
		return nil
	}
	v.hold(m.data, m.end-m.start)
	c.openShort()
	switch {
	case c.mpsc:
		v.until = c.short.until
	case !v.guarded:
		v.openInLine(m.start)
	}
	c.endShort() // for all others, who have to come back first
	return nil
}

// Release says that what was handed out is handled, the last one too, without going on to the
// next.
func (v *View) Release() {
	if v.guarded { // a fault has closed the handle, and shows at its next call
		_ = v.c.guardInside(v.release)
		return
	}
	v.release()
}

func (v *View) release() {
	c := v.c
	if !c.enter() {
		return
	}
	if c.ackImplicit(); c.flushDue() {
		c.flushReadPos()
	}
	c.leave()
}

// closeView is what Close does about a View whose last message may be in work: that one goes to the
// next consumer, and if Next is at it just now, the one behind it may have been handed out too.
func (c *Consumer) closeView() {
	v := &c.view
	at := atomic.LoadUint64(&v.at)
	c.endView()
	if c.implicitAck = v.start; !c.mpsc {
		c.implicitAck += at
	}
	if w := c.load(c.pos); !c.mpsc && w != 0 {
		if end, ok := c.area.check(c.pos, w); ok && int64(c.mark-end) >= 0 {
			c.expose(end)
		}
	}
}

// Message is the message that Next or Wait went on to, with all that is known of it. Its Release
// does nothing.
func (v *View) Message() Message {
	m, c := found{data: v.Bytes(), start: v.start, index: v.index, about: v.about &^ about(1<<aboutKind-1)}, v.c
	switch {
	case v.at == 0:
	case c.mpsc:
		m.about &^= aboutText // in the window all are of kind 0
		m.index = c.batch.index - 1 + uint32(v.taken>>32)
	default:
		m.about = c.short.about
		m.start += v.at
	}
	return c.message(&m, 0)
}
