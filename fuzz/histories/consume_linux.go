package main

import (
	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/histories/spec"
	"github.com/shmring/shmring/fuzz/internal/machine"
)

// consume makes one call.
func (c *client) consume() {
	switch n := c.rng.IntN(16); {
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
	case n < 14:
		_ = c.tryDrain(1 + c.rng.IntN(4))
	default:
		_ = c.check()
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
	_, err := c.consumer.TryDrain(most, func(m shmring.Message) error {
		at := machine.Monotonic()
		e := placed(&m)
		e.what, e.at = handed, at
		c.j.add(e)
		return nil
	})
	c.end(err, event{})
	return err
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
	e.position = m.Position().Record
	e.flags |= isPlaced
	if m.Redelivered() {
		e.flags |= isRedelivered
	}
	return e
}
