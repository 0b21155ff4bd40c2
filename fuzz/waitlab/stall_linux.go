package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/fuzz/internal/machine"
)

func init() {
	roles["neighbour"] = neighbour
	roles["metronome"] = metronome
}

const (
	stallTick  = time.Millisecond
	stallLimit = time.Millisecond // of the time by which 99 % of the ticks are late at most
	stallTries = 3                // what the machine is late with passes; a processor that is held does not
)

// neighbour counts how late a goroutine runs that wants to every millisecond, beside a
// consumer, or alone if it has no ring.
func neighbour(ctx context.Context, a args, lab *line) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	heard := make(chan error, 1)
	received := 0
	closing := func() error { return nil }
	if a.Ring != "" {
		o := a.options()
		o.Mode, o.WaitPolicy = shmring.ModeOpenOrCreate, shmring.WaitBalanced
		c, err := shmring.OpenConsumer(ctx, a.Ring, o)
		if err != nil {
			return err
		}
		closing = c.Close
		go func() {
			buf := make([]byte, 64)
			for {
				if _, err := c.Receive(ctx, buf); err != nil {
					heard <- err
					return
				}
				received++
			}
		}()
	} else {
		heard <- context.Canceled
	}
	lab.send("ready", nil)
	lab.recv()
	late := make(machine.Times, 0, a.Count)
	due := time.Now()
	for range a.Count {
		due = due.Add(stallTick)
		time.Sleep(time.Until(due))
		by := time.Since(due)
		late = append(late, by)
		if by > stallTick {
			due = time.Now() // those that were missed are not late too
		}
	}
	cancel()
	if err := <-heard; !errors.Is(err, context.Canceled) {
		return err
	}
	lab.send("done", lateness{late.At(50), late.At(99), late.At(100), received})
	lab.recv()
	return closing()
}

type lateness struct {
	P50, P99, Max time.Duration
	Messages      int
}

func (k lateness) String() string { return fmt.Sprintf("p50 %v, p99 %v, max %v", k.P50, k.P99, k.Max) }

// metronome sends a message every Number milliseconds.
func metronome(ctx context.Context, a args, lab *line) error {
	o := a.options()
	o.Mode = shmring.ModeOpenWait
	p, err := shmring.OpenProducer(ctx, a.Ring, o)
	if err != nil {
		return err
	}
	lab.send("ready", nil)
	end := make(chan struct{})
	go func() {
		lab.recv()
		close(end)
	}()
	tick := time.NewTicker(time.Duration(a.Number) * time.Millisecond)
	for {
		select {
		case <-tick.C:
			if err := p.TrySend(number(0)); err != nil && !errors.Is(err, shmring.ErrFull) {
				return err
			}
		case <-end:
			return p.Close()
		}
	}
}

// stall has a twin of the neighbour run at the same time, without a consumer: what is
// late there is late for other reasons.
func stall(l *lab) {
	for _, w := range l.ways() {
		if w == byFutex {
			continue // the neighbour has one processor, so that is the parking lot
		}
		for _, period := range []int{1, 10, 30} {
			over := ""
			for try := range stallTries {
				var ok bool
				if over, ok = l.stalled(w, period, choose(l, 10_000, 1000)); !ok {
					return
				}
				if over == "" {
					break
				}
				l.r.Note("%s: a message every %d ms, try %d of %d: %s", w.name, period, try+1, stallTries, over)
			}
			if over != "" {
				l.r.fault("%s: a message every %d ms, %d times running: %s", w.name, period, stallTries, over)
			}
		}
	}
}

// stalled measures once, and tells what is over the limit.
func (l *lab) stalled(w way, period, ticks int) (over string, ok bool) {
	name := l.ring()
	var pair [2]*child
	for i, ring := range []string{name, ""} {
		var ok bool
		if pair[i], ok = l.spawn(
			args{Role: "neighbour", Ring: ring, Way: w, Kind: shmring.KindSPSC, Single: true, Count: ticks},
			nil,
		); !ok {
			return "", false
		}
		if !pair[i].expect("ready", labs.Patience, nil) {
			return "", false
		}
	}
	m, ok := l.spawn(args{Role: "metronome", Ring: name, Way: w, Kind: shmring.KindSPSC, Number: period}, nil)
	if !ok || !m.expect("ready", labs.Patience, nil) {
		return "", false
	}
	var got [2]lateness
	for _, c := range pair {
		c.send("go")
	}
	for i, c := range pair {
		if !c.expect("done", labs.Patience+time.Duration(ticks)*10*stallTick, &got[i]) {
			return "", false
		}
	}
	for _, c := range []*child{m, pair[0], pair[1]} {
		if !c.finish() {
			return "", false
		}
	}
	beside, alone := got[0], got[1]
	l.r.add("ticks", uint64(ticks))
	l.r.add("messages", uint64(beside.Messages))
	l.r.Note("%s: a message every %d ms: a tick is late by %v; without the consumer by %v", w.name, period, beside,
		alone)
	if beside.Messages < ticks/period/4 {
		l.r.fault("%s: only %d messages came in %d ms", w.name, beside.Messages, ticks)
	}
	// Where the machine itself is late, a hundredth of the ticks is a few of them, and differs.
	if limit := max(stallLimit, alone.P99*3/2+stallLimit/2); beside.P99 > limit {
		over = fmt.Sprintf("1 %% of the ticks are late by more than %v, the limit is %v", beside.P99, limit)
	}
	return over, true
}
