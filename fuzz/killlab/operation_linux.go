package main

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
)

// Further phases of a victim.
const (
	begun    = attached + 1 // stepped: the operation's first instruction is near
	operated = begun + 1    // the operation has returned
)

// operation is something during which a victim dies: at every kill point (mode points),
// or between any two instructions (mode step).
type operation struct {
	name       string
	victim     string // producer, consumer, admin
	kinds      string // of rings for which it makes sense
	states     string // those in which it makes sense
	stepped    string // those of them in which it is stepped through
	attaches   bool   // it attaches by itself
	rings      bool   // it ends with a wake-up for whoever sleeps
	refusal    error  // what it returns instead of waiting, if it is stepped
	sizes      []int  // of the messages that it sends
	redelivers int    // so many messages that it handled may come again
	run        func(v *victim, ctx context.Context) error
}

// States of the ring when the operation begins.
//
//	empty      nothing is in it
//	full       nothing fits; for a consumer, the producer sleeps because of that; broadcast: what comes overwrites
//	           the oldest
//	wrapping   the next record of two slots needs padding at the end of the lap
//	contended  mpsc, producer: the newest claim is another's and not on record;
//	           mpsc, consumer: a dead producer's claim is next, and the ring is full behind it;
//	           spsc: the other side sleeps
//	over       the peer has sent a message, ended its stream and left
//	renewal    the lap is one in which inner descriptors are renewed
//	wrecked    everybody is dead, with claims open
//	stalled    a live producer's claim is next
//	sysv       empty, or for remove and resize wrecked, with SysV semaphores for a doorbell
//	sysv-lost  likewise, and the semaphores are not there
//
// For a victim that is stepped through nobody sleeps, because whoever woke up would
// change the ring in the middle: the bell says so all the same. Nor does it wait itself.
// What it waits for otherwise is refused.
const (
	usual       = "empty full wrapping contended"
	forSender   = usual + " renewal"
	forAttacher = usual + " wrecked sysv-lost"
)

// Kinds of rings.
const (
	consumed = "spsc mpsc"
	anyKind  = consumed + " broadcast"
)

// Sizes of messages, on slots of 64 bytes.
const (
	inlineSize = 40
	slotSized  = 60
	twoSlots   = 100
)

var operations = []operation{
	{name: "create", victim: "producer", kinds: anyKind, states: "absent", attaches: true,
		run: func(v *victim, ctx context.Context) error { return v.open(ctx, shmring.ModeCreateOnly) }},
	{name: "attach", victim: "producer", kinds: anyKind, states: forAttacher, stepped: usual + " wrecked", attaches: true,
		run: func(v *victim, ctx context.Context) error { return v.open(ctx, shmring.ModeOpenOnly) }},
	{name: "send", victim: "producer", kinds: anyKind, states: forSender, stepped: "empty", rings: true,
		sizes: []int{inlineSize}, run: (*victim).send},
	{name: "send-two", victim: "producer", kinds: anyKind, states: "empty wrapping", stepped: "empty", rings: true,
		sizes: []int{inlineSize, inlineSize}, run: (*victim).sendEach},
	{name: "send-slot", victim: "producer", kinds: anyKind, states: "empty wrapping", rings: true,
		sizes: []int{slotSized}, run: (*victim).send},
	{name: "send-long", victim: "producer", kinds: anyKind, states: forSender, stepped: "full wrapping contended",
		rings: true, refusal: shmring.ErrFull, sizes: []int{twoSlots}, run: (*victim).send},
	{name: "batch", victim: "producer", kinds: anyKind, states: forSender, stepped: usual, rings: true,
		refusal: shmring.ErrFull, sizes: []int{messageHeader, inlineSize, messageHeader}, run: (*victim).batch},
	{name: "commit", victim: "producer", kinds: anyKind, states: forSender, stepped: usual, rings: true,
		refusal: shmring.ErrFull, sizes: []int{twoSlots}, run: (*victim).commit},
	{name: "shorten", victim: "producer", kinds: anyKind, states: "empty wrapping contended", rings: true,
		sizes: []int{inlineSize}, run: (*victim).commit},
	{name: "commit-two", victim: "producer", kinds: anyKind, states: "empty wrapping", stepped: "empty", rings: true,
		sizes: []int{inlineSize, inlineSize}, run: (*victim).commitEach},
	{name: "abort", victim: "producer", kinds: anyKind, states: forSender, stepped: "empty wrapping contended",
		sizes: []int{twoSlots}, run: (*victim).abort},
	{name: "close-send", victim: "producer", kinds: anyKind, states: usual, stepped: usual, rings: true,
		run: (*victim).closeSend},
	{name: "close", victim: "producer", kinds: anyKind, states: usual, stepped: usual, rings: true,
		run: func(v *victim, _ context.Context) error { return v.p.Close() }},
	{name: "attach", victim: "consumer", kinds: consumed, states: forAttacher, stepped: usual + " wrecked", attaches: true,
		run: (*victim).listen},
	{name: "receive", victim: "consumer", kinds: consumed, states: usual + " sysv sysv-lost", stepped: usual, rings: true,
		refusal: shmring.ErrEmpty, redelivers: 1, run: (*victim).receive},
	{name: "next", victim: "consumer", kinds: consumed, states: usual, stepped: usual, rings: true,
		refusal: shmring.ErrEmpty, redelivers: 1, run: (*victim).next},
	{name: "hear", victim: "consumer", kinds: consumed, states: "over", redelivers: 1, run: (*victim).hear},
	{name: "drain", victim: "consumer", kinds: consumed, states: usual, redelivers: scenarioSlots, run: (*victim).drain},
	{name: "check", victim: "consumer", kinds: consumed, states: usual,
		run: func(v *victim, _ context.Context) error { return v.c.Check() }},
	{name: "close", victim: "consumer", kinds: consumed, states: usual, stepped: usual, rings: true,
		run: func(v *victim, _ context.Context) error { return v.c.Close() }},
	{name: "recover", victim: "admin", kinds: anyKind, states: "empty wrecked", attaches: true,
		run: func(v *victim, ctx context.Context) error {
			_, err := shmring.Recover(ctx, v.a.Ring, &shmring.AdminOptions{Dir: v.a.Dir})
			return err
		}},
	{name: "remove", victim: "admin", kinds: anyKind, states: "wrecked sysv", attaches: true,
		run: func(v *victim, ctx context.Context) error {
			return shmring.Remove(ctx, v.a.Ring, &shmring.AdminOptions{Dir: v.a.Dir})
		}},
	{name: "resize", victim: "admin", kinds: consumed, states: "empty wrecked sysv", attaches: true,
		run: func(v *victim, ctx context.Context) error {
			_, err := shmring.Resize(ctx, v.a.Ring, shmring.Geometry{Slots: 2 * scenarioSlots},
				&shmring.AdminOptions{Dir: v.a.Dir})
			return err
		}},
	{name: "force-skip", victim: "admin", kinds: "mpsc", states: "stalled", attaches: true,
		run: func(v *victim, ctx context.Context) error {
			_, err := shmring.ForceSkip(ctx, v.a.Ring, shmring.Position{Record: v.a.Count},
				&shmring.AdminOptions{Dir: v.a.Dir})
			return err
		}},
}

// publishes tells whether it is a producer's that publishes what a consumer takes.
func (o *operation) publishes(kind shmring.Kind) bool {
	return len(o.sizes) > 0 && kind != shmring.KindBroadcast
}

func (o *operation) String() string { return o.victim + " " + o.name }

// receipts is how many messages a stepped victim has handled: to write down which would
// take more instructions than the operation.
const receipts = extra + 2

// ends is 1 when the victim was told of the end of the stream, 2 when it has made another
// call since.
const ends = extra + 3

// victim is a child that does one operation.
type victim struct {
	a       args
	j       *journal
	op      *operation
	state   string
	stepped bool
	msgs    [][]byte
	buf     [scenarioSlots * 64]byte
	p       *shmring.Producer
	c       *shmring.Consumer
}

// newVictim finds the operation of a.Text, which is VICTIM OPERATION/STATE.
func newVictim(a args, j *journal) *victim {
	name, state, _ := strings.Cut(a.Text, "/")
	for i := range operations {
		if operations[i].String() == name {
			v := &victim{a: a, j: j, op: &operations[i], state: state}
			for seq, size := range v.op.sizes {
				v.msgs = append(v.msgs, a.source().made(uint64(seq), size))
			}
			return v
		}
	}
	panic("killlab: no operation " + a.Text)
}

// prepare attaches, unless that is what the operation is about.
func (v *victim) prepare(ctx context.Context) error {
	switch {
	case v.op.attaches:
		return nil
	case v.op.victim == "producer":
		return v.open(ctx, shmring.ModeOpenOnly)
	}
	return v.listen(ctx)
}

func (v *victim) options() *shmring.Options {
	o := v.a.options()
	if v.stepped {
		o.WaitPolicy = shmring.WaitSleep // a wait goes straight to sleep
	}
	return o
}

func (v *victim) open(ctx context.Context, m shmring.Mode) (err error) {
	o := v.options()
	o.Mode, o.WaitForRole = m, m == shmring.ModeOpenOnly
	if m == shmring.ModeCreateOnly {
		creating(o, v.a.Kind)
	}
	v.p, err = shmring.OpenProducer(ctx, v.a.Ring, o)
	return err
}

func (v *victim) listen(ctx context.Context) (err error) {
	v.c, err = shmring.OpenConsumer(ctx, v.a.Ring, v.options())
	return err
}

// refused tells whether the operation would have to wait, and must not.
func (v *victim) refused() bool {
	switch {
	case !v.stepped || v.a.Kind == shmring.KindBroadcast:
		return false
	case v.op.victim == "consumer":
		return v.state == "empty" || v.state == "contended"
	}
	return v.state == "full"
}

// trying notes what the operation is about to send.
func (v *victim) trying() {
	if !v.refused() {
		v.j.Put(tried, uint64(len(v.msgs)))
	}
}

// done notes how much was sent.
func (v *victim) done(n int, err error) error {
	if !v.refused() {
		v.j.Put(sent, uint64(n))
	}
	return err
}

// send sends one message, and waits for room if there is none.
func (v *victim) send(ctx context.Context) (err error) {
	v.trying()
	if v.refused() {
		err = v.p.TrySend(v.msgs[0])
	} else {
		err = v.p.Send(ctx, v.msgs[0])
	}
	if err != nil {
		return v.done(0, err)
	}
	return v.done(1, nil)
}

// sendEach sends more than one message: what is the first of a stream takes a way of its own.
func (v *victim) sendEach(ctx context.Context) error {
	v.trying()
	for i, msg := range v.msgs {
		if err := v.p.Send(ctx, msg); err != nil {
			return v.done(i, err)
		}
		v.j.Put(sent, uint64(i+1))
	}
	return nil
}

// commitEach is sendEach in place.
func (v *victim) commitEach(ctx context.Context) error {
	v.trying()
	for i, msg := range v.msgs {
		c, err := v.p.Claim(ctx, len(msg))
		if err != nil {
			return v.done(i, err)
		}
		copy(c.Bytes(), msg)
		if err := c.Commit(); err != nil {
			return v.done(i, err)
		}
		v.j.Put(sent, uint64(i+1))
	}
	return nil
}

func (v *victim) batch(ctx context.Context) error {
	v.trying()
	if v.refused() {
		return v.done(v.p.TrySendBatch(v.msgs))
	}
	return v.done(v.p.SendBatch(ctx, v.msgs))
}

// claim claims two slots.
func (v *victim) claim(ctx context.Context) (shmring.Claim, error) {
	if v.refused() {
		return v.p.TryClaim(twoSlots)
	}
	return v.p.Claim(ctx, twoSlots)
}

func (v *victim) commit(ctx context.Context) error {
	c, err := v.claim(ctx)
	if err != nil {
		return v.done(0, err)
	}
	v.trying()
	if n := copy(c.Bytes(), v.msgs[0]); n < twoSlots {
		c.Shorten(n)
	}
	if err := c.Commit(); err != nil {
		return v.done(0, err)
	}
	return v.done(1, nil)
}

func (v *victim) abort(ctx context.Context) error {
	c, err := v.claim(ctx)
	if err == nil {
		copy(c.Bytes(), v.msgs[0])
		c.Abort()
	}
	return err
}

func (v *victim) closeSend(context.Context) error { return v.p.CloseSend() }

// brief bounds a wait that may be in vain.
func brief(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 2*time.Second)
}

func (v *victim) receive(ctx context.Context) error {
	if v.stepped {
		_, err := v.c.TryReceive(v.buf[:])
		return err
	}
	ctx, cancel := brief(ctx)
	defer cancel()
	n, err := v.c.Receive(ctx, v.buf[:])
	for ; err == nil; n, err = v.c.TryReceive(v.buf[:]) {
		v.j.add(hear(v.buf[:n]))
	}
	return expected(err)
}

// hear receives to the end of the stream, and once more: then the end is told for good.
func (v *victim) hear(ctx context.Context) error {
	ctx, cancel := brief(ctx)
	defer cancel()
	for {
		m, err := v.c.Next(ctx)
		switch {
		case err == nil:
			v.j.add(noted(m))
			m.Release()
			continue
		case err == io.EOF:
			v.j.Put(ends, 1)
			if _, err = v.c.TryNext(); err == shmring.ErrEmpty {
				v.j.Put(ends, 2)
				return nil
			}
		}
		return err
	}
}

func (v *victim) next(ctx context.Context) error {
	if v.stepped {
		m, err := v.c.TryNext()
		if err == nil {
			v.j.Put(receipts, 1)
			m.Release()
		}
		return err
	}
	ctx, cancel := brief(ctx)
	defer cancel()
	m, err := v.c.Next(ctx)
	for ; err == nil; m, err = v.c.TryNext() {
		keep(v.j, m)
		m.Release()
	}
	return expected(err)
}

func (v *victim) drain(ctx context.Context) error {
	ctx, cancel := brief(ctx)
	defer cancel()
	_, err := v.c.Drain(ctx, 0, func(m shmring.Message) error {
		keep(v.j, m)
		return nil
	})
	return expected(err)
}

func init() { roles["crashed"] = beCrashed }

// beCrashed does something and then nothing, until it is killed.
func beCrashed(ctx context.Context, a args, j *journal) error {
	v := &victim{a: a, j: j, msgs: [][]byte{a.source().made(0, inlineSize)}}
	var err error
	switch a.Text {
	case "producer", "claim":
		if err = v.open(ctx, shmring.ModeOpenOnly); err == nil && a.Text == "producer" {
			err = v.send(ctx)
		}
		if err == nil {
			_, err = v.p.Claim(ctx, twoSlots)
		}
	case "consumer":
		if err = v.listen(ctx); err != nil {
			return err
		}
		var m shmring.Message
		if m, err = v.c.TryNext(); err == nil {
			keep(j, m)
		}
		err = expected(err)
	}
	if err != nil {
		return err
	}
	j.Set(phase, operated)
	j.Await(command, 1, labs.ChildLimit)
	return nil
}
