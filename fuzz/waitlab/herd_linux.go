package main

import (
	"context"
	"errors"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/fuzz/internal/machine"
)

func init() {
	roles["herd"] = herd
	roles["drain"] = drain
}

// herdSleeps are how long the herd has slept: on the doorbell, for 10 ms at a time, and
// parked, for longer.
var herdSleeps = []time.Duration{60 * time.Millisecond, 300 * time.Millisecond}

const herdLimit = 4 * time.Millisecond

// herd waits for room whenever it is told to, and says when it had it.
func herd(ctx context.Context, a args, lab *line) error {
	p, err := shmring.OpenProducer(ctx, a.Ring, a.fair())
	if err != nil {
		return err
	}
	for err == nil {
		err = p.TrySend(nil) // until it is full
	}
	if !errors.Is(err, shmring.ErrFull) {
		return err
	}
	lab.send("ready", nil)
	for lab.recv() == "go" {
		if err := p.Send(ctx, nil); err != nil {
			return err
		}
		lab.send("sent", machine.Now())
	}
	return p.Close()
}

// drain makes room for one message of each of the herd at a time, all at once.
func drain(ctx context.Context, a args, lab *line) error {
	c, err := shmring.OpenConsumer(ctx, a.Ring, a.fair())
	if err != nil {
		return err
	}
	lab.send("ready", nil)
	for lab.recv() == "go" {
		// What is released with the last message is everything before it.
		var last shmring.Message
		for range fairProducers {
			if last, err = c.Next(ctx); err != nil {
				return err
			}
		}
		begin := machine.Now()
		last.Release()
		lab.send("drained", begin)
	}
	return c.Close()
}

// herd: all who sleep for room get up when there is some, also those who sleep long.
func (l *lab) herd(w way, n int, sleep time.Duration) bool {
	a := args{Role: "drain", Ring: l.ring(), Way: w}
	c, ok := l.spawn(a, nil)
	if !ok || !c.expect("ready", labs.Patience, nil) {
		return false
	}
	var all []*child
	for range fairProducers {
		a.Role = "herd"
		p, ok := l.spawn(a, nil)
		if !ok || !p.expect("ready", labs.Patience, nil) {
			return false
		}
		all = append(all, p)
	}
	var took, owned machine.Times
	for range n {
		for _, p := range all {
			p.send("go")
		}
		time.Sleep(sleep)
		c.send("go")
		var begin, end machine.Moment
		if !c.expect("drained", labs.Patience, &begin) {
			return false
		}
		for _, p := range all {
			if !p.expect("sent", labs.Patience, &end) {
				return false
			}
			t, o := begin.Until(end)
			took, owned = append(took, t), append(owned, o)
		}
	}
	for _, p := range append(all, c) {
		if !p.finish() {
			return false
		}
	}
	l.r.Note(
		"%s: %d times %d asleep for room for %v, and room for each: back after %v; without waiting for a processor: %v",
		w.name,
		n,
		len(all),
		sleep,
		took,
		owned,
	)
	if late := owned.At(90); late > herdLimit && w != byPoll {
		l.r.fault(
			"%s: %d asleep for room for %v, and room for each: a tenth was back after more than %v, the limit is %v",
			w.name, len(all), sleep, late, herdLimit)
	}
	return true
}
