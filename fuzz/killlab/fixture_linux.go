package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/fuzz/internal/machine"
)

// fixture is a ring whose every record the lab knows: where it lies, whose it is and
// when it is due. On an MPSC ring the lab itself is one of the producers.
type fixture struct {
	l        *lab
	what     string // what is being tried, for the report
	kind     shmring.Kind
	ring     string
	receiver *receiver
	near     *shmring.Producer // the lab's own, of an MPSC ring
	seq      uint64            // its next message
	due      uint64            // the oldest of its messages that was not heard
	at       uint64            // where the next claim of an MPSC ring will lie
	life     uint32            // newest life that was begun
	rng      func(n int) int
	killed   map[uint32]int // by process id, as it sees itself: whose deaths were not told yet
}

const (
	fixtureSlots = 16
	fixtureSlot  = 64 // bytes
)

// nearby is the lab's own messages' source.
var nearby = source{lane: 1 << 16}

// newFixture makes a ring that admits exactly that many producers, the lab included, and
// has no consumer yet.
func (l *lab) newFixture(what string, kind shmring.Kind, producers int) (*fixture, bool) {
	o := shmring.Options{Kind: kind, Slots: fixtureSlots, SlotSize: fixtureSlot, MaxMessage: fixtureSlots * fixtureSlot}
	if kind == shmring.KindMPSC {
		o.MaxProducers = producers
	}
	ring, ok := l.createRing(o)
	if !ok {
		return nil, false
	}
	t := &fixture{l: l, what: what, kind: kind, ring: ring, rng: l.Rand.IntN, killed: map[uint32]int{}}
	if kind == shmring.KindMPSC {
		near, err := shmring.OpenProducer(l.Ctx, ring, &shmring.Options{Dir: l.Rings, Mode: shmring.ModeOpenOnly,
			KeepStream: true})
		if !l.must(err) {
			return nil, false
		}
		t.near = near
	}
	return t, true
}

// close gives everything back. If all went well so far, it looks at what is left:
// nobody may use the ring any more.
func (t *fixture) close(well bool) bool {
	if well {
		t.receiver.begin()
		well = t.drained() && t.receiver.count()
	}
	if t.receiver != nil {
		t.receiver.close(well)
	}
	if t.near != nil {
		well = t.l.must(t.near.Close()) && well
	}
	if well {
		well = t.l.must(shmring.Remove(context.Background(), t.ring, &shmring.AdminOptions{Dir: t.l.Rings}))
	}
	return well
}

// drained waits until the ring is empty.
func (t *fixture) drained() bool {
	return t.near == nil || t.l.until(t.what+": an empty ring", func() bool { return t.near.Used() == 0 })
}

func (t *fixture) fault(heading *uint64, format string, args ...any) bool {
	t.l.fault(heading, t.what+": "+format, args...)
	return false
}

// place is where a claim of that many bytes lies that is made now.
func (t *fixture) place(bytes int) uint64 {
	k := uint64(max(1, (bytes+fixtureSlot-1)/fixtureSlot))
	if left := fixtureSlots - t.at%fixtureSlots; k > left {
		t.at += left // padding
	}
	pos := t.at
	t.at += k
	return pos
}

// send sends a message of the lab's own. There must be room for it, as soon as the
// consumer has given back what it handled.
func (t *fixture) send(bytes int) bool {
	ctx, cancel := context.WithTimeout(t.l.Ctx, labs.Patience)
	defer cancel()
	if err := t.near.Send(ctx, nearby.made(t.seq, bytes)); err != nil {
		return t.fault(&t.l.r.Other, "send: %v", err)
	}
	t.place(bytes)
	t.seq++
	return true
}

// start begins a life: a child with the role claim that sends one message or as many
// as change says.
func (t *fixture) start(change func(*args)) (*child, bool) {
	t.life++
	a := args{Role: "claim", Ring: t.ring, Kind: t.kind, Lane: 1, Life: t.life, Count: 1,
		Number: messageHeader + t.rng(4*fixtureSlot-messageHeader)}
	if change != nil {
		change(&a)
	}
	c, err := t.l.spawn(a, nil)
	return c, t.l.must(err)
}

// enter waits until a child has sent its messages, and for them to come.
func (t *fixture) enter(c *child) bool {
	t.receiver.begin() // the slot of a dead producer is free when the consumer has come back for more
	if !t.l.reach(c, entered) {
		return false
	}
	for seq := range c.args.Count {
		t.place(smallest)
		if _, ok := t.message(c.args.source(), seq); !ok {
			return false
		}
	}
	return true
}

// hold lets a child open its claim, and says how it would be reported if it died.
func (t *fixture) hold(c *child) (shmring.SkippedClaim, bool) {
	k := shmring.SkippedClaim{Position: shmring.Position{Record: t.place(c.args.Number)}, Slots: (c.args.Number +
		fixtureSlot - 1) / fixtureSlot, PID: int(c.j.Get(ownPID))}
	c.j.Set(turns, 1)
	return k, t.l.reach(c, holding)
}

// victim is start, enter and hold.
func (t *fixture) victim(change func(*args)) (c *child, k shmring.SkippedClaim, ok bool) {
	c, ok = t.start(change)
	if !ok || !t.enter(c) {
		return c, k, false
	}
	k, ok = t.hold(c)
	return c, k, ok
}

// kill returns when the signal was sent; retire is yet to come.
func (t *fixture) kill(victims ...*child) machine.Moment {
	m := machine.Now()
	for _, c := range victims {
		t.dies(c)
		c.Signal(unix.SIGKILL)
	}
	return m
}

// commit lets a child commit the claim that it holds.
func (t *fixture) commit(c *child) { c.j.Set(turns, c.j.Get(turns)+1) }

// message waits for the message that is due.
func (t *fixture) message(who source, seq uint64) (entry, bool) {
	e, ok := t.receiver.next()
	for ok && t.isNews(e) {
		e, ok = t.receiver.next()
	}
	r := t.l.r
	switch {
	case !ok:
		return e, t.fault(&r.Stuck, "message %d of %v does not come", seq, who)
	case e.flags&entryFailed != 0:
		return e, t.fault(&r.Other, "instead of message %d of %v: %v", seq, who, t.receiver.err)
	case e.flags&entryDead != 0:
		return e, t.fault(&r.Other, "producer %d said to be dead before message %d of %v", e.index, seq, who)
	case e.flags&entryTorn != 0:
		return e, t.fault(&r.Torn, "torn message instead of %d of %v", seq, who)
	case e.source != who || e.seq != seq:
		return e, t.fault(&r.Disordered, "%v comes when message %d of %v is due", e, seq, who)
	}
	t.l.mu.Lock()
	r.Delivered++
	t.l.mu.Unlock()
	return e, true
}

// isNews tells whether an entry is the death, told once, of a producer of an MPSC ring
// that was killed. It comes at some time behind the messages of that one.
func (t *fixture) isNews(e entry) bool {
	if e.flags&entryDead == 0 || t.kind != shmring.KindMPSC || t.killed[e.index] == 0 {
		return false
	}
	t.killed[e.index]--
	return true
}

// dies notes that a child that has attached is about to be killed.
func (t *fixture) dies(c *child) { t.killed[uint32(c.j.Get(ownPID))]++ }

// rest waits for those of the lab's own messages that were not heard yet, and returns
// when the first of them came.
func (t *fixture) rest() (first int64, ok bool) {
	for ; t.due < t.seq; t.due++ {
		e, ok := t.message(nearby, t.due)
		if !ok {
			return first, false
		}
		if first == 0 {
			first = e.at
		}
	}
	return first, true
}

// passed compares what was passed over since the last time with what should have been.
func (t *fixture) passed(want ...shmring.SkippedClaim) bool {
	if got := t.receiver.skipped(); !slices.Equal(got, want) {
		return t.fault(&t.l.r.Other, "passed over %v, want %v", got, want)
	}
	return true
}

// lost waits for the news that an SPSC ring's producer is dead.
func (t *fixture) lost(pid int) (entry, bool) {
	e, ok := t.receiver.next()
	r := t.l.r
	switch {
	case !ok:
		return e, t.fault(&r.Stuck, "the death of producer %d is not noticed", pid)
	case e.flags&entryDead == 0:
		return e, t.fault(&r.Disordered, "%v (%v) instead of the death of producer %d", e, t.receiver.err, pid)
	case int(e.index) != pid:
		return e, t.fault(&r.Other, "producer %d said to be dead, it was %d", e.index, pid)
	}
	return e, true
}

// refused makes sure that nobody gets the slot of a dead producer whose claim is still
// ahead of the consumer, which must be outside of all calls.
func (t *fixture) refused() bool {
	o := &shmring.Options{Dir: t.l.Rings, Mode: shmring.ModeOpenOnly, KeepStream: true}
	for limit := 4 * time.Millisecond; ; limit *= 2 {
		ctx, cancel := context.WithTimeout(t.l.Ctx, limit)
		p, err := shmring.OpenProducer(ctx, t.ring, o)
		cancel()
		var busy *shmring.BusyError
		switch {
		case err == nil:
			t.l.must(p.Close())
			return t.fault(&t.l.r.Other, "the slot of a dead producer was given away while its claim was ahead of the consumer")
		case errors.As(err, &busy) && busy.Draining > 0:
			return true
		case limit > labs.Patience:
			return t.fault(&t.l.r.Other, "attaching in a dead producer's slot: %v", err)
		}
		// Too late to find out, or another newcomer had the slot's lock for a moment.
	}
}
