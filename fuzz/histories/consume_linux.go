package main

import (
	"context"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/histories/spec"
	"github.com/shmring/shmring/fuzz/internal/machine"
)

// consume makes one call, or some.
func (c *client) consume() error {
	nothing := c.nothing
	c.nothing = false
	switch n := c.rng.IntN(16); {
	case c.Force && nothing && n < 12:
		c.checkAndSkip()
	case n < 5:
		c.tryReceive()
	case n < 8:
		c.tryNext()
	case n < 11 && len(c.loans) > 0:
		// Any, so also one that is not the oldest, and one that is released already.
		loan := len(c.loans) - c.rng.IntN(min(3, len(c.loans)))
		c.begin(spec.Release, event{number: uint16(loan)})
		c.loans[loan-1].Release()
		c.end(nil, event{})
	case n < 13:
		_ = c.tryDrain(1 + c.rng.IntN(4))
	case n < 14:
		c.drain(1 + c.rng.IntN(4))
	case n < 15 && c.rng.IntN(2) == 0:
		return c.reopen()
	default:
		_ = c.check()
	}
	return nil
}

// reopen closes a consumer's handle and opens another.
func (c *client) reopen() error {
	c.askDropped()
	c.begin(spec.Stop, event{})
	if err := c.consumer.Close(); err != nil {
		return err
	}
	c.end(nil, event{})
	c.loans = nil
	return c.openLate()
}

// askDropped asks how many records this handle has passed over.
func (c *client) askDropped() {
	c.begin(spec.Dropped, event{})
	n := c.consumer.Stats().Dropped
	c.end(nil, event{number: uint16(n)})
}

// checkAndSkip skips the claim that holds the consumer up, if that is one.
func (c *client) checkAndSkip() {
	_ = c.check()
	if s := c.consumer.Stats().Stalled; s != nil && c.rng.IntN(4) > 0 {
		c.forceSkip(s.Position.Record)
	}
}

func (c *client) tryReceive() {
	c.begin(spec.TryReceive, event{})
	n, err := c.consumer.TryReceive(c.buffer)
	at := machine.Monotonic()
	if err != nil {
		c.endAt(at, err, event{})
		return
	}
	c.endAt(at, nil, seen(c.buffer[:n]))
}

func (c *client) tryNext() {
	c.begin(spec.TryNext, event{})
	m, err := c.consumer.TryNext()
	at := machine.Monotonic()
	if err != nil {
		c.endAt(at, err, event{})
		return
	}
	c.loans = append(c.loans, m)
	c.endAt(at, nil, placed(&m))
}

func (c *client) tryDrain(most int) error {
	c.begin(spec.TryDrain, event{number: uint16(most)})
	_, err := c.consumer.TryDrain(most, c.handle)
	c.end(err, event{})
	return err
}

// handle is the handler of a drain.
func (c *client) handle(m shmring.Message) error {
	at := machine.Monotonic()
	e := placed(&m)
	e.what, e.at = handed, at
	c.j.add(e)
	return nil
}

// drain waits for as long as a call takes, or some.
func (c *client) drain(most int) {
	limit := time.Duration(1 + c.rng.IntN(50_000*(1+min(c.Slow, 10))))
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	c.begin(spec.Drain, event{number: uint16(most)})
	_, err := c.consumer.Drain(ctx, most, c.handle)
	c.end(err, event{})
}

func (c *client) check() error {
	c.begin(spec.Check, event{})
	err := c.consumer.Check()
	c.end(err, event{})
	return err
}

// empty takes what is left. Twice nothing is the end: Check passes only a claim of the dead
// that is next, not one behind what was aborted.
func (c *client) empty() {
	for rounds, nothing := 0, 0; rounds < 8 && nothing < 2; rounds++ {
		if c.check() == nil && c.tryDrain(c.Geometry.Slots+1) == shmring.ErrEmpty {
			nothing++
		} else {
			nothing = 0
		}
	}
	c.askDropped()
}

// seen is what an event says of a message.
func seen(b []byte) event {
	e := event{size: uint32(len(b)), flags: hasMessage}
	if len(b) > 0 {
		e.id = b[0]
	}
	if !isWhole(b) {
		e.flags |= isTorn
	}
	return e
}

func placed(m *shmring.Message) event {
	e := seen(m.Bytes())
	e.position, e.index = m.Position().Record, uint8(m.Position().Index)
	e.flags |= isPlaced
	if m.Redelivered() {
		e.flags |= isRedelivered
	}
	return e
}
