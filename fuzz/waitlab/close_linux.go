package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/fuzz/internal/machine"
)

func init() { roles["closer"] = closer }

const (
	closeRings   = 100 // with a blocked Receive each
	closeHandles = 10  // producers of one full ring
	closeSenders = 10  // blocked in Send of each
	closeLimit   = 5 * time.Millisecond
)

// blockedCall is one handle and the calls that are blocked in it.
type blockedCall struct {
	asleep func() bool
	close  func() error
	call   func() error
	calls  int

	closed chan error
}

// closed is what closer tells of a round.
type closedCalls struct {
	Calls  int
	Wrong  []string
	Single machine.Times // from Close, with everybody else left alone, to the end of the blocked call
	Owned  machine.Times // without waiting for a processor
	All    time.Duration // from the first to the last, when all are closed at once
}

func closer(ctx context.Context, a args, lab *line) error {
	lab.watched()
	for range a.Count {
		lab.step()
		k, err := closeRound(ctx, a)
		if err != nil {
			return err
		}
		lab.send("round", k)
	}
	lab.send("done", nil)
	lab.recv()
	return nil
}

// blocked opens everything and blocks.
func blocked(ctx context.Context, a args) (all []*blockedCall, err error) {
	for i := range closeRings {
		o := a.options()
		o.Mode, o.Kind = shmring.ModeOpenOrCreate, shmring.KindSPSC
		c, err := shmring.OpenConsumer(ctx, fmt.Sprintf("%s-%d", a.Ring, i), o)
		if err != nil {
			return nil, err
		}
		all = append(all, &blockedCall{calls: 1, close: c.Close,
			asleep: func() bool { return c.Stats().Sleeps > 0 },
			call:   func() error { _, err := c.Receive(ctx, nil); return err }})
	}
	for range closeHandles {
		o := a.options()
		o.Kind, o.MaxProducers = shmring.KindMPSC, closeHandles
		p, err := shmring.OpenProducer(ctx, a.Ring, o)
		if err != nil {
			return nil, err
		}
		for err == nil {
			err = p.TrySend(nil)
		}
		if !errors.Is(err, shmring.ErrFull) {
			return nil, err
		}
		all = append(all, &blockedCall{calls: closeSenders, close: p.Close,
			asleep: func() bool { return p.Stats().Sleeps >= closeSenders },
			call:   func() error { return p.Send(ctx, nil) }})
	}
	return all, nil
}

// closeRound closes a few handles one after the other, and then the rest at once.
func closeRound(ctx context.Context, a args) (*closedCalls, error) {
	all, err := blocked(ctx, a)
	if err != nil {
		return nil, err
	}
	k := &closedCalls{}
	var mu sync.Mutex
	var ends sync.WaitGroup
	wrong := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		k.Wrong = append(k.Wrong, fmt.Sprintf(format, args...))
	}
	for _, b := range all {
		b.closed = make(chan error, b.calls)
		for range b.calls {
			ends.Go(func() {
				err := b.call()
				if !errors.Is(err, shmring.ErrClosed) {
					wrong("a blocked call returned %v", err)
				}
				b.closed <- err
			})
		}
	}
	for _, b := range all {
		for end := time.Now().Add(labs.Patience); !b.asleep(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				return nil, fmt.Errorf("calls do not block within %v", labs.Patience)
			}
		}
	}
	time.Sleep(300 * time.Millisecond) // sleeps are long then
	few := slices.Concat(all[:8], all[closeRings:closeRings+2])
	for _, b := range few {
		begin := machine.Here()
		if err := b.close(); err != nil {
			wrong("close: %v", err)
		}
		for range b.calls {
			<-b.closed
		}
		took, owned := begin.Until(machine.There())
		k.Single, k.Owned = append(k.Single, took), append(k.Owned, owned)
	}
	begin := time.Now()
	for _, b := range all {
		if !slices.Contains(few, b) {
			ends.Go(func() {
				if err := b.close(); err != nil {
					wrong("close: %v", err)
				}
			})
		}
	}
	ends.Wait()
	k.All = time.Since(begin)
	for _, b := range all {
		k.Calls += b.calls
		if err := b.close(); err != nil {
			wrong("close: %v", err)
		}
		if err := b.call(); !errors.Is(err, shmring.ErrClosed) {
			wrong("a call after Close returned %v", err)
		}
	}
	return k, nil
}

func closes(l *lab) {
	n := choose(l, 50, 3)
	for _, w := range l.ways() {
		c, ok := l.spawn(args{Role: "closer", Ring: l.ring(), Way: w, Count: n}, nil)
		if !ok {
			return
		}
		var single, owned, all machine.Times
		for range n {
			var k closedCalls
			if !c.expect("round", 4*labs.Patience, &k) {
				return
			}
			l.r.add("calls ended", uint64(k.Calls))
			for _, text := range k.Wrong {
				l.r.fault("%s: %s", w.name, text)
			}
			single, owned, all = append(single, k.Single...), append(owned, k.Owned...), append(all, k.All)
		}
		if !c.expect("done", labs.Patience, nil) || !c.finish() {
			return
		}
		l.r.Note(
			"%s: from Close to the end of the calls blocked in it: %v; without waiting for a processor: %v; of all at once: %v",
			w.name,
			single,
			owned,
			all,
		)
		if half := owned.At(50); half > closeLimit && w != byPoll {
			l.r.fault("%s: half of the closes took longer than %v, the limit is %v", w.name, half, closeLimit)
		}
	}
}
