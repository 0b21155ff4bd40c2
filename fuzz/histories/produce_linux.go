package main

import (
	"bytes"
	"math/rand/v2"

	"github.com/shmring/shmring/fuzz/histories/spec"
)

// noise is what messages are made of: that with an id is the id, and then noise from there.
var noise = func() []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, spec.MaxIDs+spec.MaxSlots*largeSlot)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}()

func write(b []byte, id uint8) {
	b[0] = id
	copy(b[1:], noise[id:])
}

func isWhole(b []byte) bool {
	return len(b) > 0 && bytes.Equal(b[1:], noise[b[0]:][:len(b)-1])
}

// newMessage chooses the next message.
func (c *client) newMessage() (id uint8, size int) {
	c.sent++
	g := &c.Geometry
	id = uint8(c.Client)*(spec.MaxIDs/spec.MaxClients) + c.sent
	one := max(48, g.SlotSize)
	switch n := c.rng.IntN(16); {
	case n < 10:
		return id, 1 + c.rng.IntN(one)
	case n < 15:
		return id, one + 1 + c.rng.IntN(2*g.SlotSize)
	}
	return id, one + 1 + c.rng.IntN(g.Slots*g.SlotSize-one)
}

// produce makes one call.
func (c *client) produce() {
	switch {
	case c.claimed != 0 && (!c.Geometry.MPSC || c.rng.IntN(4) > 0):
		c.finishClaim()
	case c.claimed == 0 && c.rng.IntN(5) < 2:
		c.tryClaim()
	default:
		id, size := c.newMessage()
		m := c.buffer[:size]
		write(m, id)
		c.begin(spec.TrySend, event{id: id, size: uint32(size)})
		err := c.producer.TrySend(m)
		c.end(err, event{})
	}
}

func (c *client) tryClaim() {
	id, size := c.newMessage()
	c.begin(spec.TryClaim, event{id: id, size: uint32(size)})
	claim, err := c.producer.TryClaim(size)
	c.end(err, event{})
	if err == nil {
		write(claim.Bytes(), id)
		c.claim, c.claimed, c.claimLen = &claim, id, size
	}
}

func (c *client) finishClaim() {
	e := event{id: c.claimed, size: uint32(c.claimLen)}
	c.claimed = 0
	if c.rng.IntN(4) == 0 {
		c.begin(spec.Abort, e)
		c.claim.Abort()
		c.end(nil, event{})
		return
	}
	c.begin(spec.Commit, e)
	err := c.claim.Commit()
	c.end(err, event{})
}
