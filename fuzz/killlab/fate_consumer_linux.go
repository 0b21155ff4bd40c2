package main

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"

	"github.com/shmring/shmring"
)

func init() { roles["told"] = told }

// What a consumer is, in args.Number. The rest is Options.ExpectedProducers.
const (
	toldLossy    = 1 << iota // DeliveryAtMostOnce
	toldPolls                // it waits in a Poller
	toldReceives             // by Receive and TryReceive only, so that positions are not known
	toldExpects  = 8         // shift
)

// audience is the consumer of one ring or several, and keeps its journal right.
type audience struct {
	a      args
	j      *journal
	rng    *rand.Rand
	cs     []*shmring.Consumer
	poller *shmring.Poller
	held   []shmring.Message
	holds  int // whose they are
	buf    []byte
	now    bool   // the call in progress was told something
	due    []bool // by ring: the next call says that the user has come back
}

func newAudience(a args, j *journal) *audience {
	return &audience{a: a, j: j, rng: rand.New(rand.NewPCG(a.Seed, uint64(a.Life))), buf: make([]byte, 4096)}
}

// attach opens all rings.
func (h *audience) attach(ctx context.Context) error {
	for i, ring := range strings.Fields(h.a.Ring) {
		o := h.a.options()
		o.ExpectedProducers = h.a.Number >> toldExpects
		if h.a.Number&toldLossy != 0 {
			o.Delivery = shmring.DeliveryAtMostOnce
		}
		o.OnStreamEnd = func(s shmring.StreamEnd) {
			h.now = true
			h.add(i, toldEntry(entryTold, s))
		}
		c, err := shmring.OpenConsumer(ctx, ring, o)
		if err != nil {
			return err
		}
		h.cs, h.due = append(h.cs, c), append(h.due, false)
	}
	if h.a.Number&toldPolls == 0 {
		return nil
	}
	var err error
	if h.poller, err = shmring.NewPoller(nil); err != nil {
		return err
	}
	for _, c := range h.cs {
		if err := h.poller.Add(c); err != nil {
			return err
		}
	}
	return nil
}

func (h *audience) add(ring int, e entry) {
	e.flags |= uint32(ring) << ringShift
	h.j.add(e)
}

// calls notes that the user comes back from what it was told.
func (h *audience) calls(ring int) {
	if h.due[ring] {
		h.add(ring, entry{at: monotonic(), flags: entryCalled})
	}
}

// returned notes that a call has returned, if anything depends on that. What it was told
// instead of a message is no error.
func (h *audience) returned(ring int, err error) error {
	e, said := returnedEntry(err)
	if h.now || said || h.due[ring] {
		h.add(ring, e)
	}
	h.now, h.due[ring] = false, said
	return expectedFate(err)
}

func expectedFate(err error) error {
	if errors.Is(err, shmring.ErrFailed) {
		return nil
	}
	return expected(err)
}

// noWait in place of a context makes a call a Try call.
var noWait context.Context

// next takes one message in place and holds it; noWait: without waiting.
func (h *audience) next(ctx context.Context, ring int) error {
	var m shmring.Message
	var err error
	h.calls(ring)
	if ctx == noWait {
		m, err = h.cs[ring].TryNext()
	} else {
		m, err = h.cs[ring].Next(ctx)
	}
	if err == nil {
		e := noted(m)
		e.flags |= entryHeld
		h.add(ring, e)
		h.held = append(h.held, m)
		h.holds = ring
	}
	return h.returned(ring, err)
}

// release gives back what is held.
func (h *audience) release() {
	if n := len(h.held); n > 0 {
		h.held[n-1].Release()
		h.held = nil
		h.add(h.holds, entry{at: monotonic(), flags: entryReleased})
	}
}

// receive takes one message; noWait: without waiting.
func (h *audience) receive(ctx context.Context, ring int) error {
	var n int
	var err error
	h.calls(ring)
	if ctx == noWait {
		n, err = h.cs[ring].TryReceive(h.buf)
	} else {
		n, err = h.cs[ring].Receive(ctx, h.buf)
	}
	if err == nil {
		h.add(ring, hear(h.buf[:n]))
	}
	return h.returned(ring, err)
}

// drain takes some messages; noWait: without waiting.
func (h *audience) drain(ctx context.Context, ring, most int) error {
	f := func(m shmring.Message) error {
		h.add(ring, noted(m))
		return nil
	}
	var err error
	h.calls(ring)
	if ctx == noWait {
		_, err = h.cs[ring].TryDrain(most, f)
	} else {
		_, err = h.cs[ring].Drain(ctx, most, f)
	}
	return h.returned(ring, err)
}

// all ranges over some messages.
func (h *audience) all(ctx context.Context, ring, most int) error {
	n, over := 0, true
	h.calls(ring)
	for m, err := range h.cs[ring].All(ctx) {
		if err == nil {
			h.add(ring, noted(m))
		}
		if err = h.returned(ring, err); err != nil {
			return err
		}
		if n++; n >= most {
			over = false
			break
		}
		h.calls(ring)
	}
	if over && ctx.Err() == nil {
		return h.returned(ring, io.EOF)
	}
	return nil
}

// check looks after the dead.
func (h *audience) check(ring int) error {
	h.calls(ring)
	return h.returned(ring, h.cs[ring].Check())
}

// poll waits for any ring and takes from it what there is, in turns.
func (h *audience) poll(ctx context.Context) error {
	c, err := h.poller.Wait(ctx)
	if err != nil {
		return expectedFate(err)
	}
	for ring := range h.cs {
		if h.cs[ring] == c {
			return h.some(noWait, ring)
		}
	}
	return errors.New("the Poller has handed out a consumer of somebody else's")
}

// some takes one message or a few, somehow.
func (h *audience) some(ctx context.Context, ring int) error {
	most := 1 + h.rng.IntN(holdMost)
	if h.a.Number&toldReceives != 0 {
		return h.receive(ctx, ring)
	}
	switch h.rng.IntN(6) {
	case 0, 1:
		return h.drain(ctx, ring, 1+h.rng.IntN(100))
	case 2:
		if ctx != noWait {
			return h.all(ctx, ring, most)
		}
		return h.check(ring)
	case 3:
		if h.a.Number&toldLossy == 0 {
			return h.several(ctx, ring, most)
		}
	}
	err := h.next(ctx, ring)
	h.release()
	return err
}

// several holds some messages, while news may come, and then releases them.
func (h *audience) several(ctx context.Context, ring, most int) error {
	defer h.release()
	for i := range most {
		wait := ctx
		if i > 0 {
			wait = noWait
		}
		if err := h.next(wait, ring); err != nil {
			return err
		}
	}
	return nil
}

// close leaves all rings.
func (h *audience) close() error {
	if h.poller != nil {
		h.poller.Close()
	}
	for i, c := range h.cs {
		h.calls(i)
		if err := c.Close(); err != nil {
			return err
		}
		h.add(i, entry{at: monotonic(), flags: entryClosed})
	}
	return nil
}

// told receives by every way there is, until it is told to stop.
func told(ctx context.Context, a args, j *journal) error {
	h := newAudience(a, j)
	ctx = j.until(ctx, 1)
	j.Set(phase, running)
	if err := h.attach(ctx); err != nil {
		return cancelled(err)
	}
	j.Set(phase, attached)
	for j.Get(command) == 0 {
		var err error
		if h.poller != nil {
			err = h.poll(ctx)
		} else {
			err = h.some(ctx, 0)
		}
		if cancelled(err) != nil {
			return err
		}
	}
	return h.close()
}
