package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/fuzz/internal/machine"
)

// way is one call, of so many ways.
type way[H any] struct {
	name string
	f    func(ctx context.Context, h H) error
}

var senders = []way[*shmring.Producer]{
	{"Send", func(ctx context.Context, p *shmring.Producer) error { return p.Send(ctx, make([]byte, 200)) }},
	{"Claim", func(ctx context.Context, p *shmring.Producer) error {
		c, err := p.Claim(ctx, 100)
		if err != nil {
			return err
		}
		return c.Commit()
	}},
	{"SendBatch", func(ctx context.Context, p *shmring.Producer) error {
		_, err := p.SendBatch(ctx, make([][]byte, 9))
		return err
	}},
	{"TrySend", func(_ context.Context, p *shmring.Producer) error { return p.TrySend(make([]byte, 20)) }},
}

var receivers = []way[*shmring.Consumer]{
	{"Receive", func(ctx context.Context, c *shmring.Consumer) error {
		_, err := c.Receive(ctx, make([]byte, 200))
		return err
	}},
	{"Next", func(ctx context.Context, c *shmring.Consumer) error {
		m, err := c.Next(ctx)
		m.Release()
		return err
	}},
	{"Drain", func(ctx context.Context, c *shmring.Consumer) error {
		sum := byte(0)
		_, err := c.Drain(ctx, 0, func(m shmring.Message) error {
			for _, b := range m.Bytes() {
				sum += b
			}
			return nil
		})
		return err
	}},
	{"TryReceive", func(_ context.Context, c *shmring.Consumer) error {
		_, err := c.TryReceive(make([]byte, 200))
		return err
	}},
}

var doorbells = []shmring.Doorbell{shmring.DoorbellFutex, shmring.DoorbellSysV, shmring.DoorbellPoll}

// ways is in how many ways messages are received: the last is by a Poller.
const ways = 5

// cases is how many rounds differ: which calls, who makes any, the kind of ring, how it ends, the
// doorbell, and the locks.
const cases = ways * 3 * 2 * 2 * 3 * 2

// rounds uses one ring after the other, each of which is attacked once.
func (r *report) rounds(a arguments) error {
	files := 0
	for ; r.Rounds < a.Rounds && !r.tooMuch(); r.Rounds++ {
		if err := r.round(a, r.Rounds); err != nil {
			return fmt.Errorf("ring %d: %w", r.Rounds, err)
		}
		open := footprintNow().descriptors
		switch {
		case r.Rounds == cases: // each has been there once
			files = open
		case r.Rounds > cases && open > files+machine.DescriptorSlack:
			return fmt.Errorf("%d descriptors are open, %d were", open, files)
		}
	}
	return nil
}

// round is the life of one ring that is attacked.
func (r *report) round(a arguments, i int) error {
	calls, who, kind, checks := i%ways, i/ways%3, shmring.Kind(i/15%2)+shmring.KindSPSC, i/30%2 == 0
	o := &shmring.Options{Dir: a.Dir, Kind: kind, Slots: 64, Doorbell: doorbells[i/60%3], Untrusted: true}
	if err := os.Setenv(shmring.EnvLocks, []string{"ofd", "flock"}[i/180%2]); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), labs.Patience)
	defer cancel()
	// Whoever is attacked so early that it cannot attach says so.
	p, err := shmring.OpenProducer(ctx, attacked, o)
	if err != nil {
		r.opening(err)
		return r.remove(a)
	}
	c, err := shmring.OpenConsumer(ctx, attacked, o)
	if err != nil {
		r.opening(err)
		r.close(p.Close)
		return r.remove(a)
	}
	var all sync.WaitGroup
	var seen atomic.Bool
	calling := func(name string, call func() error) { all.Go(func() { r.callOn(name, call, &seen) }) }
	send := senders[calls%len(senders)]
	receive, done, err := receiver(calls, c)
	if err != nil {
		return err
	}
	defer done()
	if who != 1 { // else the other side waits
		calling(send.name, func() error { return send.f(ctx, p) })
	}
	if who != 2 {
		calling(receive.name, func() error {
			if checks && seen.Load() {
				return r.check(c.Check, a)
			}
			return receive.f(ctx, c)
		})
	}
	var over atomic.Bool
	all.Go(func() { r.lookOn(a, &over) })
	if err := attackSeen(a.Files, p.Info().Path); err != nil {
		return err
	}
	if seen.Store(true); checks {
		begin := time.Now()
		if err := r.check(p.Check, a); err != nil {
			r.told("Check", err, time.Since(begin))
			r.end("Check", err)
		}
	}
	over.Store(true)
	if !checks && who == 1 {
		r.next(send.name, func() error { return send.f(ctx, p) })
	} else if !checks && who == 2 {
		r.next(receive.name, func() error { return receive.f(ctx, c) })
	}
	r.close(p.Close)
	r.close(c.Close)
	ended := make(chan struct{})
	go func() { all.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(labs.Patience):
		return errors.New("a call does not end")
	}
	return r.remove(a)
}

// receiver is how a consumer receives, and what is to be done at the end.
func receiver(calls int, c *shmring.Consumer) (w way[*shmring.Consumer], done func(), err error) {
	if calls < len(receivers) {
		return receivers[calls], func() {}, nil
	}
	poller, err := shmring.NewPoller(nil)
	if err == nil {
		err = poller.Add(c)
	}
	wait := func(ctx context.Context, _ *shmring.Consumer) error {
		c, err := poller.Wait(ctx)
		if err == nil {
			_, err = c.TryReceive(make([]byte, 200))
		}
		return err
	}
	return way[*shmring.Consumer]{"Poller.Wait", wait}, poller.Close, err
}

// lookOn looks at the ring from outside, as others do who take no part in it.
func (r *report) lookOn(a arguments, over *atomic.Bool) {
	k := r.caller(a, uint64(r.Rounds))
	defer k.done()
	for !over.Load() {
		look := onlookers[k.chance.IntN(len(onlookers))]
		_ = k.do(look.name, 20*time.Millisecond, func(ctx context.Context) error { return look.f(ctx, k, config{}) })
	}
}

// callOn makes one call after the other, until one tells of the attack. Where it begins when all of the
// file is gone it has to tell at once, if it meets the file at all.
func (r *report) callOn(name string, call func() error, seen *atomic.Bool) {
	for {
		late, begin := seen.Load(), time.Now()
		err := call()
		if err == nil || err == shmring.ErrFull || err == shmring.ErrEmpty || err == shmring.ErrContended {
			if late {
				r.untold(name)
			}
			continue
		}
		if late {
			r.told(name, err, time.Since(begin))
		}
		r.end(name, err)
		return
	}
}

// next makes the next call on a handle that nobody has used so far.
func (r *report) next(name string, call func() error) {
	begin := time.Now()
	if err := call(); err != nil {
		r.told(name, err, time.Since(begin))
	}
}

// told counts a call that began behind the attack and tells of it.
func (r *report) told(name string, err error, took time.Duration) {
	if !errors.Is(err, shmring.ErrTruncated) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.took = append(r.took, took)
	if r.Told++; took < soon {
		r.ToldSoon++
	} else {
		r.ToldLate[name]++
	}
}

// untold counts a call that began behind the attack and had what it wanted, or did not wait for it.
func (r *report) untold(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Untold[name]++
}

// soon is within what a call that begins behind the attack is to tell of it, if it waits.
const soon = 10 * time.Millisecond

// check looks from outside, after the attack.
func (r *report) check(check func() error, a arguments) error {
	err := check()
	if err == nil && a.Always {
		r.wrong("ring %d: Check is nil", r.Rounds)
	}
	return err
}

func (r *report) opening(err error) {
	if errors.Is(err, shmring.ErrCorrupt) || errors.Is(err, shmring.ErrTruncated) ||
		errors.Is(err, shmring.ErrFormat) {
		r.mu.Lock()
		r.Ends["refused to be opened"]++
		r.mu.Unlock()
		return
	}
	r.wrong("opening: %v", err)
}

// close closes a handle, in time.
func (r *report) close(stop func() error) {
	begin := time.Now()
	done := make(chan error, 1)
	go func() { done <- stop() }()
	select {
	case err := <-done:
		if err != nil {
			r.end("close", err)
		}
	case <-time.After(labs.Patience):
		r.wrong("Close does not return")
		os.Exit(4)
	}
	r.closed(time.Since(begin))
}

func (r *report) remove(a arguments) error {
	return shmring.Remove(context.Background(), attacked, &shmring.AdminOptions{Dir: a.Dir})
}
