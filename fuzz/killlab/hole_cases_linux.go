package main

import (
	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/machine"
)

// next is the next victim, with its claim open: the successor, if there is one. It attaches
// in the slot of the victim before, for there is no other.
func (h *holes) next() (c *child, k shmring.SkippedClaim, ok bool) {
	c, h.successor, ok = h.successor, nil, true
	if c == nil {
		c, ok = h.start(nil)
	}
	if !ok || !h.enter(c) {
		return c, k, false
	}
	k, ok = h.hold(c)
	return c, k, ok
}

// wait starts the next victim, which has to wait until its slot is free.
func (h *holes) wait() (ok bool) {
	h.successor, ok = h.start(nil)
	return ok && h.l.reach(h.successor, running)
}

// noticed notes how long after the kill the first message behind the claim came.
func (h *holes) noticed(killed machine.Moment, heard int64) {
	took, owned := killed.To(heard)
	h.times = append(h.times, took)
	if h.receiver.c.Info().SpinFor >= 0 {
		h.l.r.latencyOf(took)
		*h.all = append(*h.all, owned)
	} else if owned > behindMax {
		h.fault(&h.l.r.Other, "the first message behind the claim came after %v, the limit is %v", owned, behindMax)
	}
}

// over waits for what is behind a dead producer's claim, which must have been passed.
func (h *holes) over(killed machine.Moment, c *child, k shmring.SkippedClaim) bool {
	first, ok := h.rest()
	c.retire()
	if !ok {
		return false
	}
	h.noticed(killed, first)
	return h.passed(k)
}

// behind: others have messages behind the claim. The successor comes early, or late,
// or tries before the consumer has looked.
func (h *holes) behind(i int) bool {
	c, k, ok := h.next()
	if !ok {
		return false
	}
	late := i%4 == 3
	if !late {
		h.receiver.begin()
	}
	for range 1 + h.rng(3) {
		if !h.send(messageHeader + h.rng(fixtureSlot)) {
			return false
		}
	}
	if i%2 == 0 && !h.wait() {
		return false
	}
	killed := h.kill(c)
	if late {
		_ = c.Wait()
		if !h.refused() {
			return false
		}
	}
	first, ok := h.rest()
	c.retire()
	if !ok {
		return false
	}
	if !late {
		h.noticed(killed, first)
	}
	return h.passed(k)
}

// full: no slot is free behind the claim, and another producer waits for one.
func (h *holes) full(int) bool {
	c, k, ok := h.next()
	if !ok {
		return false
	}
	h.receiver.begin()
	for h.at < k.Position.Record+fixtureSlots {
		if !h.send(smallest) {
			return false
		}
	}
	slept := h.near.Stats().Sleeps
	msg := nearby.made(h.seq, smallest)
	blocked := make(chan error, 1)
	go func() { blocked <- h.near.Send(h.l.Ctx, msg) }()
	if !h.l.until("a producer that waits for room", func() bool { return h.near.Stats().Sleeps > slept }) {
		return false
	}
	h.seq++
	killed := h.kill(c)
	first, ok := h.rest()
	c.retire()
	if !ok {
		return false
	}
	h.noticed(killed, first)
	h.place(smallest)
	return h.l.must(<-blocked) && h.passed(k)
}

// lapEnd: the claim ends where a lap does, or needed padding there, or its neighbour
// needs it.
func (h *holes) lapEnd(i int) bool {
	slots := 2 + h.rng(3)
	at := [...]int{fixtureSlots - slots, fixtureSlots - 1, fixtureSlots - slots - 1}[i%3]
	c, ok := h.start(func(a *args) { a.Number = slots * fixtureSlot })
	if !ok || !h.enter(c) {
		return false
	}
	for h.at%fixtureSlots != uint64(at) {
		if !h.send(smallest) {
			return false
		}
		if _, ok := h.rest(); !ok {
			return false
		}
	}
	k, ok := h.hold(c)
	if !ok {
		return false
	}
	h.receiver.begin()
	if !h.send(2 * fixtureSlot) {
		return false
	}
	killed := h.kill(c)
	return h.over(killed, c, k)
}

// row: two or three producers die together whose claims are neighbours. Every other
// time the last of them is the newest claim.
func (h *holes) row(i int) bool {
	var victims []*child
	for range 2 + h.rng(2) {
		c, ok := h.start(nil)
		if !ok || !h.enter(c) {
			return false
		}
		victims = append(victims, c)
	}
	h.receiver.begin()
	var claims []shmring.SkippedClaim
	for _, c := range victims {
		k, ok := h.hold(c)
		if !ok {
			return false
		}
		claims = append(claims, k)
	}
	if i%2 == 0 && !h.send(smallest) {
		return false
	}
	killed := h.kill(victims...)
	first, ok := h.rest()
	for _, c := range victims {
		c.retire()
	}
	if !ok {
		return false
	}
	if i%2 == 0 {
		h.noticed(killed, first)
	} else {
		h.receiver.begin()
	}
	return h.drainedOf(claims...)
}

// newest: nobody writes behind the claim, so nobody but the consumer puts it on
// record. A message that is sent later arrives.
func (h *holes) newest(int) bool {
	c, k, ok := h.next()
	if !ok {
		return false
	}
	h.receiver.begin()
	killed := h.kill(c)
	if !h.drainedOf(k) {
		return false
	}
	took, _ := killed.To(monotonic())
	h.times = append(h.times, took)
	c.retire()
	if !h.send(smallest) {
		return false
	}
	_, ok = h.rest()
	return ok
}

// drainedOf waits until those claims were passed over and the ring is empty.
func (h *holes) drainedOf(claims ...shmring.SkippedClaim) bool {
	h.receiver.begin()
	return h.drained() && h.passed(claims...)
}

// single: what the producer of an SPSC ring had committed comes, then the news of its
// death, and its successor goes on. Every other time the consumer makes no
// call before the death.
func (h *holes) single(i int) bool {
	c, ok := h.start(func(a *args) { a.Count = uint64(1 + h.rng(6)) })
	if !ok {
		return false
	}
	late := i%2 == 1
	if !late && !h.enter(c) || late && !h.l.reach(c, entered) {
		return false
	}
	if _, ok := h.hold(c); !ok {
		return false
	}
	if !late {
		h.receiver.begin()
	}
	killed := h.kill(c)
	pid := c.PID()
	if late {
		_ = c.Wait()
		if i%4 == 3 && !h.l.must(h.receiver.c.Check()) { // finds the death; the messages go first
			return false
		}
		if !h.enter(c) {
			return false
		}
	}
	e, ok := h.lost(pid)
	c.retire()
	if !ok {
		return false
	}
	if took, owned := killed.To(e.at); !late {
		h.times = append(h.times, took)
		if owned > behindMax {
			return h.fault(&h.l.r.Other, "the death was reported after %v, the limit is %v", owned, behindMax)
		}
	}
	return h.passed()
}

// asleep: the consumer never spins and has been seen to sleep in front of the claim.
func (h *holes) asleep(int) bool {
	c, k, ok := h.next()
	if !ok {
		return false
	}
	h.receiver.begin()
	if !h.send(smallest) {
		return false
	}
	slept := h.receiver.c.Stats().Sleeps
	if !h.l.until("a consumer asleep", func() bool { return h.receiver.c.Stats().Sleeps >= slept+2 }) {
		return false
	}
	killed := h.kill(c)
	return h.over(killed, c, k)
}
