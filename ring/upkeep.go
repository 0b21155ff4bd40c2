package ring

import (
	"time"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// stalledCap bounds sleeps while an unfinished claim is next: its owner may die, and
// nobody rings for that.
const stalledCap = time.Millisecond

// ready tells whether peek has something to say.
func (c *Consumer) ready() bool {
	h := c.pos
	return layout.Ctl(c.desc[h&c.mask].Ctl.Load()).Done(layout.LapOf(h, c.shift)) // D2
}

// upkeep is what the consumer does before it sleeps and whenever a sleep brought
// nothing: it gives back what it owes, and looks after the dead. The error is what there
// is to tell instead of a message.
func (c *Consumer) upkeep() error {
	if err := c.lookAround(); err != nil {
		return err
	}
	if c.batch.rest != nil || c.ready() {
		return nil
	}
	err := ErrEmpty
	switch {
	case c.lost != nil:
		err = c.nothing()
	case c.ending:
		err = c.judgeEnd()
	}
	if err == ErrEmpty {
		return nil
	}
	return err
}

// lookAround is upkeep without telling: that is left to the next call, due says whether
// there is anything.
func (c *Consumer) lookAround() error {
	c.settle()
	c.flush()
	if c.batch.rest != nil {
		return nil
	}
	if err := c.liftFences(); err != nil {
		return err
	}
	if !c.shared {
		return c.findLoss()
	}
	if err := c.unblock(); err != nil {
		return err
	}
	if c.ending && !c.ready() {
		var err error
		c.overNow, err = c.over()
		return err
	}
	return nil
}

// due tells whether the next call has something to say.
func (c *Consumer) due() bool {
	return c.batch.rest != nil || c.ready() || c.lookEnd || c.overNow || c.lost != nil || c.halt.Load() != 0
}

// findLoss finds the death of an SPSC ring's producer. The lock was taken (L2), so
// everything that producer committed is visible now: if there is any, it goes first.
func (c *Consumer) findLoss() error {
	const i = 1
	if !c.streaming(i) {
		return nil
	}
	m := &c.members[i]
	lost := &PeerDeadError{PID: int(m.PID.Load()), Epoch: m.Epoch.Load()}
	gone, err := c.dead(i)
	if gone && err == nil && !c.told(lost.Epoch) {
		c.lost = lost
	}
	return err
}

// unblock deals with an unfinished claim at the head of an MPSC ring: it puts it on
// record if it is not, and turns it into one to pass over if its owner is dead. A
// live owner is waited for, however long it takes.
func (c *Consumer) unblock() error {
	h := c.pos
	c.stalled = false
	v, found, err := c.claimAt(h)
	if err != nil {
		return c.poisonWith(err)
	}
	if !found {
		return nil
	}
	owner := int(v.Owner())
	gone, err := c.dead(owner)
	if err != nil {
		return err
	}
	if !gone {
		c.stalled = true
		return c.meetStall(h, v)
	}
	if !c.skip(h, v) {
		return nil // it had committed before it died
	}
	c.count(layout.Skipped, 1)
	if c.cfg.OnSkip != nil {
		k := SkippedClaim{Position: h, Slots: int(v.Slots()), PID: int(c.members[owner].PID.Load())}
		return c.callOut(func() { c.cfg.OnSkip(k) })
	}
	return nil
}

// claimAt returns the control word of the claim that begins at h, a position between
// ReadPos and Tail at which a record begins, if it is unfinished. A claim that is not
// on record is put there. Its owner is a producer's index.
func (c *core) claimAt(h uint64) (v layout.Ctl, found bool, err error) {
	lap := layout.LapOf(h, c.shift)
	ctl := &c.desc[h&c.mask].Ctl
	if v = layout.Ctl(ctl.Load()); !v.On(lap) {
		w := layout.Tail(c.hot.Tail.Load())
		claimed := w.Pos(h) - h
		switch {
		case claimed == 0:
			return v, false, nil // empty
		case claimed > c.slots:
			return v, false, &CorruptError{"distance from ReadPos to Tail", h, claimed}
		case claimed == w.Slots():
			c.record(w)
		}
		// Either we put the claim at h on record, or Tail has moved on and somebody else
		// had to before (H1).
		if v = layout.Ctl(ctl.Load()); !v.On(lap) {
			return v, false, &CorruptError{"control word of a claim", h, uint64(v)}
		}
	}
	if v.State() != layout.Claimed {
		return v, false, nil
	}
	if owner := int(v.Owner()); owner == layout.ConsumerIndex || owner >= len(c.members) {
		return v, false, &CorruptError{"claim owner", h, uint64(owner)}
	}
	return v, true, nil
}

// skip makes an unfinished claim one to pass over; false: it was finished meanwhile.
func (c *core) skip(h uint64, v layout.Ctl) bool {
	skip := layout.PackCtl(v.Lap(), v.Slots(), v.Owner(), layout.Discarded)
	won := c.desc[h&c.mask].Ctl.CompareAndSwap(uint64(v), uint64(skip))
	killpoint.At(killpoint.ClaimDiscarded)
	return won
}
