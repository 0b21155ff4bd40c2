package main

import (
	"bytes"
	"context"
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
	return id, one + 1 + c.rng.IntN(g.MaxMessage()-one)
}

// produce makes one call, or two.
func (c *client) produce() error {
	most := min(mostOfBatch, spec.MaxIDs/spec.MaxClients-1-int(c.sent)-c.left) // there are names for so many
	soon := 12
	if c.Force {
		soon = 4 // claims stay open for long
	}
	switch n := c.rng.IntN(16); {
	case c.revoked && n < 12, c.claimed == 0 && c.Geometry.MPSC && n == 15:
		return c.rejoin()
	case c.claimed != 0 && (!c.Geometry.MPSC || n < soon):
		c.finishClaim()
	case c.claimed == 0 && (n < 5 || c.Force && n < 10):
		c.tryClaim()
	case n < 9 && most > 1:
		c.tryBatch(2 + c.rng.IntN(most-1))
	default:
		c.send(c.Waits && n < 12)
	}
	return nil
}

func (c *client) send(wait bool) {
	id, size := c.newMessage()
	m := c.buffer[:size]
	write(m, id)
	e := event{id: id, size: uint32(size)}
	if wait {
		c.begin(spec.Send, e)
		c.end(c.producer.Send(context.Background(), m), event{})
		return
	}
	c.begin(spec.TrySend, e)
	c.end(c.producer.TrySend(m), event{})
}

// tryBatch sends n messages. Half of the batches are of such that several go into a slot.
func (c *client) tryBatch(n int) {
	var e event
	var batch [][]byte
	left, small := c.buffer, c.rng.IntN(2) == 0
	for i := range n {
		id, size := c.newMessage()
		if size = min(size, len(left)/(n-i)); small {
			size = 1 + c.rng.IntN(c.Geometry.SlotSize*3/8)
		}
		if i == 0 {
			e.id = id
		}
		e.sizes[i] = uint32(size)
		batch, left = append(batch, left[:size]), left[size:]
		write(batch[i], id)
	}
	c.begin(spec.TrySendBatch, e)
	sent, err := c.producer.TrySendBatch(batch)
	c.end(err, event{number: uint16(sent)})
}

func (c *client) tryClaim() {
	id, size := c.newMessage()
	c.begin(spec.TryClaim, event{id: id, size: uint32(size)})
	claim, err := c.producer.TryClaim(size)
	c.end(err, event{})
	if err == nil {
		c.claim, c.claimed, c.claimLen = &claim, id, size
	}
}

// finishClaim fills the claim and commits it, or aborts it. It fills it late: the slots of a
// claim that was revoked meanwhile must be nobody else's.
func (c *client) finishClaim() {
	id, size := c.claimed, c.claimLen
	c.claimed = 0
	write(c.claim.Bytes(), id)
	if c.rng.IntN(4) == 0 {
		c.begin(spec.Abort, event{id: id, size: uint32(size)})
		c.claim.Abort()
		c.end(nil, event{})
		return
	}
	if c.rng.IntN(3) == 0 {
		size = 1 + c.rng.IntN(size)
		c.claim.Shorten(size)
	}
	c.begin(spec.Commit, event{id: id, size: uint32(size)})
	err := c.claim.Commit()
	c.end(err, event{})
}
