package main

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/fuzz/internal/machine"
)

func init() {
	roles["crowd"] = crowd
	roles["caller"] = caller
}

const (
	crowdSize   = 1000
	threadLimit = 150
)

func crowdRing(base string, i int) string { return fmt.Sprintf("%s-%d", base, i) }

// crowd blocks in Receive on many rings at a time.
func crowd(ctx context.Context, a args, lab *line) error {
	ctx, cancel := context.WithTimeout(ctx, 3*labs.Patience)
	defer cancel()
	all := make([]*shmring.Consumer, a.Count)
	for i := range all {
		o := a.options()
		o.Mode, o.SlotSize = shmring.ModeOpenOrCreate, shmring.NoPayload
		var err error
		if all[i], err = shmring.OpenConsumer(ctx, crowdRing(a.Ring, i), o); err != nil {
			return err
		}
	}
	var wg sync.WaitGroup
	var received atomic.Uint64
	errs := make(chan error, len(all))
	for i, c := range all {
		wg.Go(func() {
			buf := make([]byte, 64)
			n, err := c.Receive(ctx, buf)
			if err == nil {
				err = due(buf[:n], i)
			}
			if err != nil {
				errs <- fmt.Errorf("ring %d of %d: %w", i, len(all), err)
				return
			}
			received.Add(1)
		})
	}
	for _, c := range all {
		for c.Stats().Sleeps == 0 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
	}
	time.Sleep(300 * time.Millisecond)
	most := machine.Process("self").Threads
	lab.send("asleep", []int{most, runtime.NumGoroutine()})
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
	}
	lab.send("done", []int{max(most, machine.Process("self").Threads), int(received.Load())})
	lab.recv()
	for _, c := range all {
		if err := c.Close(); err != nil {
			return err
		}
	}
	return nil
}

// caller sends one message to each of them.
func caller(ctx context.Context, a args, lab *line) error {
	for i := range a.Count {
		o := a.options()
		o.SlotSize = shmring.NoPayload
		p, err := shmring.OpenProducer(ctx, crowdRing(a.Ring, i), o)
		if err != nil {
			return err
		}
		if err := p.Send(ctx, number(i)); err != nil {
			return err
		}
		if err := p.Close(); err != nil {
			return err
		}
	}
	lab.send("done", nil)
	lab.recv()
	return nil
}

func threads(l *lab) {
	for _, w := range l.ways() {
		a := args{Role: "crowd", Ring: l.ring(), Way: w, Kind: shmring.KindSPSC, Count: crowdSize}
		c, ok := l.spawn(a, nil)
		if !ok {
			return
		}
		var asleep, done []int
		if !c.expect("asleep", 4*labs.Patience, &asleep) {
			return
		}
		a.Role = "caller"
		p, ok := l.spawn(a, nil)
		if !ok || !p.expect("done", 4*labs.Patience, nil) || !c.expect("done", 4*labs.Patience, &done) ||
			!p.finish() || !c.finish() {
			return
		}
		l.r.add("messages", uint64(done[1]))
		l.r.Note("%s: %d goroutines blocked on %d rings: %d threads, %d after the messages came", w.name, asleep[1],
			crowdSize, asleep[0], done[0])
		limit := threadLimit
		if w == byPoll {
			limit *= 2 // a nap takes no thread; looking after the dead, a thousand at a time, takes some
		}
		if most := max(asleep[0], done[0]); most >= limit {
			l.r.fault("%s: %d threads, the limit is %d", w.name, most, limit)
		}
		if done[1] != crowdSize {
			l.r.fault("%s: %d of %d received their message", w.name, done[1], crowdSize)
		}
	}
}
