package main

import (
	"context"
	"time"

	"github.com/shmring/shmring"
)

// operated is the phase of a victim whose operation has returned.
const operated = 3

// victim is a child that does one operation. a.Text is OPERATION/STATE.
type victim struct {
	a   args
	j   *journal
	s   *sender
	seq uint64
	c   *shmring.Consumer
}

// operation is something whose every point, or instruction, is killed at.
type operation struct {
	name     string
	victim   string // producer, consumer, admin
	kinds    string // spsc, mpsc or both
	states   string // those in which it makes sense
	attaches bool   // it attaches by itself
	run      func(v *victim, ctx context.Context) error
}

// States of the ring when the operation begins.
//
//	empty      nothing is in it
//	full       nothing fits; for a consumer, the producer sleeps because of that
//	wrapping   the next record of two slots needs padding at the end of the lap
//	contended  mpsc, producer: the newest claim is another's and not on record;
//	           mpsc, consumer: a dead producer's claim is next, and the ring is full behind it;
//	           spsc: the other side sleeps
//	renewal    the lap is one in which inner descriptors are renewed
//	wrecked    everybody is dead, with claims open
//	stalled    a live producer's claim is next
//	sysv       empty, or for remove wrecked, with SysV semaphores for a doorbell
//	sysv-lost  likewise, and the semaphores are not there
const (
	forSender   = "empty full wrapping contended renewal"
	forReceiver = "empty full wrapping contended"
)

// Sizes of messages, on slots of 64 bytes.
const (
	inlineSize = 40
	slotSized  = 60
	twoSlots   = 100
)

var operations = []operation{
	{"create", "producer", "both", "absent", true, func(v *victim, ctx context.Context) error {
		return v.open(ctx,
			shmring.ModeCreateOnly)
	}},
	{"attach", "producer", "both", "empty wrapping contended wrecked sysv-lost", true, func(v *victim,
		ctx context.Context) error {
		return v.open(ctx, shmring.ModeOpenOnly)
	}},
	{"send", "producer", "both", forSender, false, func(v *victim, ctx context.Context) error {
		return v.send(ctx,
			inlineSize)
	}},
	{"send-slot", "producer", "both", "empty wrapping", false, func(v *victim,
		ctx context.Context) error {
		return v.send(ctx, slotSized)
	}},
	{"send-long", "producer", "both", forSender, false, func(v *victim, ctx context.Context) error {
		return v.send(ctx,
			twoSlots)
	}},
	{"batch", "producer", "both", forSender, false, (*victim).batch},
	{"commit", "producer", "both", forSender, false, func(v *victim, ctx context.Context) error {
		return v.claimed(ctx,
			twoSlots, twoSlots)
	}},
	{"shorten", "producer", "both", "empty wrapping contended", false, func(v *victim,
		ctx context.Context) error {
		return v.claimed(ctx, twoSlots, inlineSize)
	}},
	{"abort", "producer", "both", forSender, false, func(v *victim, ctx context.Context) error {
		return v.claimed(ctx,
			twoSlots, -1)
	}},
	{"close-send", "producer", "both", "empty wrapping contended", false, func(v *victim,
		ctx context.Context) error {
		return v.s.p.CloseSend(ctx)
	}},
	{"close", "producer", "both", "empty wrapping contended", false, func(v *victim,
		ctx context.Context) error {
		return v.s.p.Close()
	}},
	{"attach", "consumer", "both", "empty full wrapping contended wrecked sysv-lost", true, func(v *victim,
		ctx context.Context) error {
		return v.listen(ctx)
	}},
	{"receive", "consumer", "both", forReceiver + " sysv sysv-lost", false, (*victim).receive},
	{"next", "consumer", "both", forReceiver, false, (*victim).next},
	{"drain", "consumer", "both", forReceiver, false, (*victim).drain},
	{"check", "consumer", "both", forReceiver, false, func(v *victim, ctx context.Context) error { return v.c.Check() }},
	{"close", "consumer", "both", forReceiver, false, func(v *victim, ctx context.Context) error { return v.c.Close() }},
	{"recover", "admin", "both", "empty wrecked", true, func(v *victim, ctx context.Context) error {
		_, err := shmring.Recover(ctx, v.a.Ring, &shmring.AdminOptions{Dir: v.a.Dir})
		return err
	}},
	{"remove", "admin", "both", "wrecked sysv", true, func(v *victim, ctx context.Context) error {
		return shmring.Remove(ctx, v.a.Ring, &shmring.AdminOptions{Dir: v.a.Dir})
	}},
	{"force-skip", "admin", "mpsc", "stalled", true, func(v *victim, ctx context.Context) error {
		_, err := shmring.ForceSkip(ctx, v.a.Ring, shmring.Position{Record: v.a.Count},
			&shmring.AdminOptions{Dir: v.a.Dir})
		return err
	}},
}

func (v *victim) open(ctx context.Context, m shmring.Mode) error {
	o := v.a.options()
	o.Mode, o.WaitForRole = m, m == shmring.ModeOpenOnly
	if m == shmring.ModeCreateOnly {
		o.Kind, o.Slots, o.SlotSize, o.MaxMessage, o.MaxProducers = v.a.Kind, trialSlots, 64, trialSlots*64, 2
	}
	p, err := shmring.OpenProducer(ctx, v.a.Ring, o)
	if err == nil {
		v.s = &sender{p: p, a: v.a, j: v.j}
	}
	return err
}

func (v *victim) listen(ctx context.Context) (err error) {
	v.c, err = shmring.OpenConsumer(ctx, v.a.Ring, v.a.options())
	return err
}

// send sends one message, and waits for room if there is none.
func (v *victim) send(ctx context.Context, size int) error {
	v.j.put(tried, v.seq+1)
	err := v.s.p.Send(ctx, v.a.source().made(v.seq, size))
	if err == nil {
		v.seq++
		v.j.put(sent, v.seq)
	}
	return err
}

func (v *victim) batch(ctx context.Context) error {
	v.j.put(tried, v.seq+3)
	n, err := v.s.p.SendBatch(ctx, [][]byte{v.a.source().made(v.seq, 24), v.a.source().made(v.seq+1, inlineSize),
		v.a.source().made(v.seq+2, 24)})
	v.j.put(sent, v.seq+uint64(n))
	return err
}

// claimed claims n bytes and commits some of them, or with a negative number none.
func (v *victim) claimed(ctx context.Context, n, some int) error {
	c, err := v.s.p.Claim(ctx, n)
	if err != nil {
		return err
	}
	copy(c.Bytes(), v.a.source().made(v.seq, n))
	if some < 0 {
		c.Abort()
		return nil
	}
	copy(c.Bytes(), v.a.source().made(v.seq, some))
	if some < n {
		c.Shorten(some)
	}
	v.j.put(tried, v.seq+1)
	if err = c.Commit(); err == nil {
		v.j.put(sent, v.seq+1)
	}
	return err
}

// brief bounds a wait that may be in vain.
func brief(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 2*time.Second)
}

func (v *victim) receive(ctx context.Context) error {
	ctx, cancel := brief(ctx)
	defer cancel()
	buf := make([]byte, v.c.MaxMessage())
	n, err := v.c.Receive(ctx, buf)
	for ; err == nil; n, err = v.c.TryReceive(buf) {
		v.j.add(hear(buf[:n]))
	}
	return expected(err)
}

func (v *victim) next(ctx context.Context) error {
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
