package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/fuzz/internal/machine"
)

func init() {
	roles["canceller"] = canceller
	roles["late-sender"] = lateSender
}

const (
	cancelLimit  = 5 * time.Millisecond // from the cancel to the return
	cancelAlone  = 20                   // of that many rounds one has its message come long after the cancel
	cancelLong   = 20 * time.Millisecond
	cancelWarmUp = 200 // rounds, after which goroutines and threads are counted
)

// cancelSpread is how long after the signal to send the context ends, and the message is
// sent, at most. In a process with one processor timers run late by up to a millisecond
// while goroutines are parked.
func (a args) cancelSpread() time.Duration {
	if a.Way.parked {
		return 3 * time.Millisecond
	}
	return 400 * time.Microsecond
}

// after calls f after a while; stop reports whether it does not, and else waits for it.
// Where there is a processor to spare
// it looks at the clock instead of using a timer, which is late.
func (a args) after(d time.Duration, f func()) (stop func() bool) {
	done := make(chan struct{})
	if a.Way.parked {
		timer := time.AfterFunc(d, func() {
			f()
			close(done)
		})
		return func() bool {
			if timer.Stop() {
				return true
			}
			<-done
			return false
		}
	}
	var stopped, called atomic.Bool
	end := machine.Monotonic() + int64(d)
	go func() {
		defer close(done)
		for machine.Monotonic() < end {
			if stopped.Load() {
				return
			}
		}
		called.Store(true)
		f()
	}()
	return func() bool {
		stopped.Store(true)
		<-done
		return !called.Load()
	}
}

// cancelled is what the canceller tells at its end.
type cancelled struct {
	Rounds, Cancelled int
	OverData          int              // the context's error although the message had been sent before it ended
	Late              []span           // longer than the limit
	Returns           [3]time.Duration // from the cancel: p50, p99, max
	Alone             time.Duration    // p50 where nothing but the cancel could end the sleep
	Before, After     machine.Footprint
	Goroutines        [2]int
}

// cancelMessage carries the round and when the message of the round before had been
// sent.
func cancelMessage(round int, sent int64) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(round))
	return binary.LittleEndian.AppendUint64(b, uint64(sent))
}

// lateSender answers each signal, which says after which time to send, with a message.
func lateSender(ctx context.Context, a args, lab *line) error {
	p, c, err := a.ends(ctx)
	if err != nil {
		return err
	}
	lab.watched()
	buf := make([]byte, 64)
	sent := int64(0)
	for i := range a.Count + cancelWarmUp {
		lab.step()
		if _, err := c.Receive(ctx, buf); err != nil {
			return err
		}
		at := int64(binary.LittleEndian.Uint64(buf))
		time.Sleep(time.Duration(at-machine.Monotonic()) - time.Millisecond)
		for machine.Monotonic() < at {
		}
		if err := p.Send(ctx, cancelMessage(i, sent)); err != nil {
			return err
		}
		sent = machine.Monotonic()
	}
	lab.send("done", nil)
	lab.recv()
	return errors.Join(c.Close(), p.Close())
}

func canceller(ctx context.Context, a args, lab *line) error {
	p, c, err := a.ends(ctx)
	if err != nil {
		return err
	}
	lab.watched()
	k := &cancelled{}
	rng := rand.New(rand.NewPCG(a.Seed, 0))
	var returns, alone machine.Times
	var before int64 // when the context of the last round ended that returned its error
	for i := range a.Count + cancelWarmUp {
		lab.step()
		if i == cancelWarmUp {
			k.Before, k.Goroutines[0] = machine.Process("self"), runtime.NumGoroutine()
		}
		r := cancelRound{a: a, ctx: ctx, p: p, c: c, rng: rng}
		if err := r.run(); err != nil {
			return fmt.Errorf("round %d: %w", i, err)
		}
		if got := int(binary.LittleEndian.Uint64(r.msg)); got != i {
			return fmt.Errorf("message %d comes in round %d", got, i)
		}
		if sent := int64(binary.LittleEndian.Uint64(r.msg[8:])); before != 0 && sent != 0 && sent < before {
			k.OverData++
		}
		before = 0
		if i < cancelWarmUp {
			continue
		}
		k.Rounds++
		if r.err != nil {
			k.Cancelled++
			before = r.ended.At
		}
		if r.ended.At != 0 && r.returned.At > r.ended.At {
			s := span{r.ended, r.returned}
			returns = append(returns, s.took())
			if r.alone {
				alone = append(alone, s.took())
			}
			if s.took() > cancelLimit {
				k.Late = append(k.Late, s)
			}
		}
	}
	if len(alone) > 0 {
		k.Alone = alone.At(50)
	}
	if len(returns) > 0 {
		k.Returns = [3]time.Duration{returns.At(50), returns.At(99), returns.At(100)}
	}
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		k.After, k.Goroutines[1] = machine.Process("self"), runtime.NumGoroutine()
		if k.Goroutines[1] <= k.Goroutines[0] {
			break
		}
	}
	lab.send("done", k)
	lab.recv()
	return errors.Join(c.Close(), p.Close())
}

// cancelRound is one Receive whose context ends at about the time when the message is
// sent.
type cancelRound struct {
	a   args
	ctx context.Context
	p   *shmring.Producer
	c   *shmring.Consumer
	rng *rand.Rand

	alone    bool // nothing but the cancel can end the sleep
	msg      []byte
	err      error          // of the call with the context
	ended    machine.Moment // when the context ended, unless the call returned before
	returned machine.Moment
}

func (r *cancelRound) run() error {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	spread := int64(r.a.cancelSpread())
	at := machine.Monotonic() + r.rng.Int64N(spread)
	if r.rng.IntN(cancelAlone) == 0 {
		r.alone = true
		at += int64(cancelLong)
	}
	if err := r.p.Send(r.ctx, number(at)); err != nil {
		return err
	}
	var ended machine.Moment
	stop := r.a.after(time.Duration(r.rng.Int64N(spread)), func() {
		ended = machine.Here()
		cancel()
	})
	buf := make([]byte, 64)
	n, err := r.c.Receive(ctx, buf)
	r.returned = machine.There()
	if !stop() {
		r.ended = ended
	}
	if r.err = err; err != nil {
		if !errors.Is(err, context.Canceled) {
			return err
		}
		// The message is not lost: it comes with the next call.
		late, cancel := context.WithTimeout(r.ctx, labs.Patience)
		defer cancel()
		if n, err = r.c.Receive(late, buf); err != nil {
			return fmt.Errorf("after a cancelled Receive: %w", err)
		}
	}
	if r.msg = buf[:n]; n != 16 {
		return fmt.Errorf("a message of %d bytes", n)
	}
	return nil
}

func cancels(l *lab) {
	n := choose(l, 20_000, 500)
	for _, w := range l.ways() {
		there, back := l.ring(), l.ring()
		a, ok := l.spawn(args{Role: "canceller", Ring: there, Back: back, Way: w, Kind: shmring.KindSPSC, Count: n}, nil)
		if !ok {
			return
		}
		// The sender spins until it is time to send, so it needs more than one processor.
		b, ok := l.spawn(
			args{Role: "late-sender", Ring: back, Back: there, Way: w.unparked(), Kind: shmring.KindSPSC, Count: n},
			nil,
		)
		if !ok {
			return
		}
		var k cancelled
		if !a.expect("done", labs.Patience+time.Duration(n)*10*time.Millisecond, &k) ||
			!b.expect("done", labs.Patience, nil) ||
			!a.finish() ||
			!b.finish() {
			return
		}
		l.judgeCancels(w, k)
	}
}

func (l *lab) judgeCancels(w way, k cancelled) {
	r := l.r
	r.add("rounds", uint64(k.Rounds))
	r.add("cancelled", uint64(k.Cancelled))
	settle()
	late := uint64(0)
	for _, s := range k.Late {
		if own := l.owned(s); own > cancelLimit {
			late++
			r.fault("%s: returned %v after the cancel, %v without waiting for a processor, the limit is %v", w.name,
				s.took(), own, cancelLimit)
		}
	}
	r.add("late", late)
	r.Note("%s: %d rounds, %d cancelled before the message came; %d over data; from the cancel to the return "+
		"p50 %v, p99 %v, max %v; %d longer than %v, of which %d not for want of a processor", w.name, k.Rounds,
		k.Cancelled, k.OverData, k.Returns[0], k.Returns[1], k.Returns[2], len(k.Late), cancelLimit, late)
	r.Note("%s: %d goroutines before, %d after; %d threads before, %d after (up to %d more are the runtime's)",
		w.name, k.Goroutines[0], k.Goroutines[1], k.Before.Threads, k.After.Threads, machine.ThreadSlack)
	if k.Alone > cancelLimit/2 {
		r.fault("%s: half of the calls that only the cancel could end took longer than %v", w.name, k.Alone)
	}
	if k.Cancelled < k.Rounds/20 || k.Cancelled > k.Rounds*19/20 {
		r.fault("%s: %d of %d rounds were cancelled: the mode does not test what it should", w.name, k.Cancelled, k.Rounds)
	}
	// Between the last look at the ring and the look at the context a thread may lose its
	// processor: that is rare.
	if k.OverData > 2+k.Rounds/500 {
		r.fault("%s: %d times the context's error came although the message had been sent before the context ended",
			w.name, k.OverData)
	}
	if k.Goroutines[1] > k.Goroutines[0] {
		r.fault("%s: %d goroutines, %d before", w.name, k.Goroutines[1], k.Goroutines[0])
	}
	for _, leak := range k.After.Grown(k.Before) {
		r.fault("%s: left behind: %s", w.name, leak)
	}
}
