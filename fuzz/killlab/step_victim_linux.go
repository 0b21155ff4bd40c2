package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
)

func init() { roles["step"] = stepVictim }

// Further phases of the role step.
const (
	begun = 3 // the operation's first instruction is near
	ended = 4 // it has returned
)

// Sizes of messages on a ring with slots of 64 bytes: in the descriptor, of two slots,
// and so that three in one record take two slots.
const (
	smallMessage = 40
	largeMessage = 100
	batchMessage = 32
)

// stepOp is what is being stepped through.
type stepOp struct {
	name     string
	consumer bool // the victim is the consumer
	attach   bool // the victim has no role before
	sends    int  // messages
	rings    bool // ends with somebody being woken if anybody sleeps
	run      func(*stepped) error
}

var stepOps = []stepOp{
	{name: "Send", sends: 1, rings: true, run: (*stepped).send},
	{name: "SendBatch", sends: 3, rings: true, run: (*stepped).sendBatch},
	{name: "Claim+Commit", sends: 1, rings: true, run: (*stepped).commit},
	{name: "Claim+Abort", run: (*stepped).abort},
	{name: "CloseSend", rings: true, run: (*stepped).closeSend},
	{name: "Receive", consumer: true, rings: true, run: (*stepped).receive},
	{name: "Next+Release", consumer: true, rings: true, run: (*stepped).next},
	{name: "OpenProducer", attach: true, run: (*stepped).openProducer},
	{name: "OpenConsumer", attach: true, consumer: true, run: (*stepped).openConsumer},
	{name: "Producer.Close", rings: true, run: (*stepped).closeProducer},
	{name: "Consumer.Close", consumer: true, rings: true, run: (*stepped).closeConsumer},
}

// stepState is what the operation meets.
type stepState int

const (
	empty stepState = iota
	full
	wrapping
	contended
	states
)

func (s stepState) String() string {
	return [states]string{"empty", "full", "wrapping", "contended"}[s]
}

// stepped is the process that is killed.
type stepped struct {
	op    stepOp
	state stepState
	o     shmring.Options
	ring  string
	ctx   context.Context
	msgs  [][]byte
	buf   [2 * largeMessage]byte
	p     *shmring.Producer
	c     *shmring.Consumer
	j     *journal
}

// stepVictim is the role of the victim.
func stepVictim(ctx context.Context, a args, j *journal) error {
	// Nothing of the runtime's own shall come in between.
	debug.SetGCPercent(-1)
	runtime.MemProfileRate = 0
	return aside(func() error { return stepOnce(ctx, a, j) })
}

// aside runs f on a thread of its own that is not the first of the process, for which
// a tracer cannot wait as for others.
func aside(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			done <- aside(f) // this goroutine keeps the first thread busy meanwhile
			return
		}
		done <- f()
	}()
	return <-done
}

// stepOnce does its operation once, between two marks in the journal.
func stepOnce(ctx context.Context, a args, j *journal) error {
	v := &stepped{op: stepOps[a.Number], ring: a.Ring, ctx: ctx, j: j, o: *a.options()}
	if _, err := fmt.Sscan(a.Text, (*int)(&v.state)); err != nil {
		return err
	}
	v.o.WaitPolicy = shmring.WaitSleep // a wait goes straight to sleep
	if v.state == full {
		v.o.KeepStream = true // or Close would wait for room
	}
	for i := range max(1, v.op.sends) {
		v.msgs = append(v.msgs, a.source().made(uint64(i), v.messageSize()))
	}
	if err := v.warmUp(a); err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
	if err := v.prepare(); err != nil {
		return err
	}
	if v.op.name == "CloseSend" && v.state == full {
		gone, cancel := context.WithCancel(ctx)
		cancel()
		v.ctx = gone
	}
	j.put(extra, uint64(unix.Gettid()))
	j.set(phase, attached)
	if !j.await(command, 1, labs.ChildLimit) {
		return errors.New("nobody traces")
	}
	runtime.Gosched() // a new time slice: else the runtime may want to end the old one in the middle
	runtime.Breakpoint()
	j.put(phase, begun)
	err := v.op.run(v)
	j.put(phase, ended)
	if want := v.refusal(); !errors.Is(err, want) {
		return fmt.Errorf("returned %v, want %v", err, want)
	}
	return nil
}

// messageSize is chosen so that the states mean something: what takes two slots needs
// padding in front of it at the end of a lap.
func (v *stepped) messageSize() int {
	switch {
	case v.op.sends == 3:
		return batchMessage
	case v.state == empty:
		return smallMessage
	}
	return largeMessage
}

// refusal is the error that the operation has to return.
func (v *stepped) refusal() error {
	switch {
	case v.op.consumer && !v.op.attach && v.op.name != "Consumer.Close" && v.state == empty:
		return shmring.ErrEmpty
	case v.state != full || v.op.consumer:
		return nil
	case v.op.name == "CloseSend":
		return context.Canceled
	case v.op.attach || v.op.name == "Producer.Close":
		return nil
	}
	return shmring.ErrFull
}

// warmUp does the operation once on a ring of its own, so that stacks have grown and
// what is found out once is known.
func (v *stepped) warmUp(a args) error {
	w := *v
	w.ring += "warm"
	w.state = empty
	w.o.Mode, w.o.Kind, w.o.Slots, w.o.SlotSize = shmring.ModeOpenOrCreate, a.Kind, 64, 64
	w.j = &journal{word: new([words]atomic.Uint64)}
	p, err := shmring.OpenProducer(w.ctx, w.ring, &w.o)
	if err != nil {
		return err
	}
	c, err := shmring.OpenConsumer(w.ctx, w.ring, &w.o)
	if err != nil {
		return err
	}
	if w.p, w.c = p, c; w.op.attach {
		if err := errors.Join(p.Close(), c.Close()); err != nil {
			return err
		}
	}
	if err := w.op.run(&w); err != nil && !errors.Is(err, shmring.ErrEmpty) {
		return err
	}
	return errors.Join(w.p.Close(), w.c.Close(), shmring.Remove(context.Background(), w.ring,
		&shmring.AdminOptions{Dir: w.o.Dir}))
}

// prepare takes the role, and as consumer handles one message.
func (v *stepped) prepare() error {
	switch {
	case v.op.attach:
		return nil
	case !v.op.consumer:
		return v.openProducer()
	}
	if err := v.openConsumer(); err != nil {
		return err
	}
	_, err := v.c.TryReceive(v.buf[:])
	return err
}

func (v *stepped) send() error {
	if v.state == full {
		return v.p.TrySend(v.msgs[0])
	}
	return v.p.Send(v.ctx, v.msgs[0])
}

func (v *stepped) sendBatch() (err error) {
	if v.state == full {
		_, err = v.p.TrySendBatch(v.msgs)
		return err
	}
	_, err = v.p.SendBatch(v.ctx, v.msgs)
	return err
}

func (v *stepped) claim() (shmring.Claim, error) {
	if v.state == full {
		return v.p.TryClaim(len(v.msgs[0]))
	}
	return v.p.Claim(v.ctx, len(v.msgs[0]))
}

func (v *stepped) commit() error {
	c, err := v.claim()
	if err != nil {
		return err
	}
	copy(c.Bytes(), v.msgs[0])
	return c.Commit()
}

func (v *stepped) abort() error {
	c, err := v.claim()
	if err != nil {
		return err
	}
	copy(c.Bytes(), v.msgs[0])
	c.Abort()
	return nil
}

func (v *stepped) closeSend() error { return v.p.CloseSend(v.ctx) }

func (v *stepped) receive() error {
	_, err := v.c.TryReceive(v.buf[:])
	return err
}

// next writes the effect of the message down before it gives the message back.
func (v *stepped) next() error {
	m, err := v.c.TryNext()
	if err != nil {
		return err
	}
	v.j.put(count, 1)
	m.Release()
	return nil
}

func (v *stepped) openProducer() (err error) {
	v.p, err = shmring.OpenProducer(v.ctx, v.ring, &v.o)
	return err
}

func (v *stepped) openConsumer() (err error) {
	v.c, err = shmring.OpenConsumer(v.ctx, v.ring, &v.o)
	return err
}

func (v *stepped) closeProducer() error { return v.p.Close() }

func (v *stepped) closeConsumer() error { return v.c.Close() }
