package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/fuzz/internal/machine"
)

// random kills producers, then consumers, of both kinds of ring, each n times.
func random(l *lab, n int) {
	for _, kind := range []shmring.Kind{shmring.KindSPSC, shmring.KindMPSC} {
		for _, victim := range []string{"produce", "consume"} {
			if l.over() {
				return
			}
			before := l.r.Kills
			b, ok := newSetup(l, kind)
			if !ok {
				return
			}
			begin := time.Now()
			if victim == "produce" {
				b.killProducers(n)
			} else {
				b.killConsumers(n)
			}
			b.end()
			l.r.Note("%s %s: %d kills in %.1f s", kind, victim, l.r.Kills-before, time.Since(begin).Seconds())
		}
	}
}

// createRing makes a ring with nobody attached to it.
func (l *lab) createRing(o shmring.Options) (string, bool) {
	name := fmt.Sprintf("ring%d", l.names.Add(1))
	o.Dir, o.Mode, o.KeepStream = l.Rings, shmring.ModeCreateOnly, true
	p, err := shmring.OpenProducer(l.Ctx, name, &o)
	if !l.must(err) {
		return "", false
	}
	return name, l.must(p.Close())
}

// setup is one ring with producers and a consumer of which somebody is being killed.
type setup struct {
	l        *lab
	kind     shmring.Kind
	ring     string
	lanes    []*succession
	consumer *succession
	check    *checker
	done     chan struct{}
	drain    sync.WaitGroup
	mu       sync.Mutex // the consumer's newest life
}

// succession is one place in the ring, held by one child after the other.
type succession struct {
	b    *setup
	role string
	lane uint32
	seed uint64
	now  *child
	past []past
}

// past is what a dead producer's journal said.
type past struct {
	who         source
	tried, sent uint64
}

func newSetup(l *lab, kind shmring.Kind) (*setup, bool) {
	ring, ok := l.createRing(shmring.Options{Kind: kind, Slots: 64, SlotSize: 128, MaxMessage: 2000})
	if !ok {
		return nil, false
	}
	b := &setup{l: l, kind: kind, ring: ring, check: newChecker(l.r, unreleased), done: make(chan struct{})}
	b.consumer = &succession{b: b, role: "consume", seed: l.Rand.Uint64()}
	producers := 1
	if kind == shmring.KindMPSC {
		producers = 3
	}
	for i := range producers {
		b.lanes = append(b.lanes, &succession{b: b, role: "produce", lane: uint32(i + 1), seed: l.Rand.Uint64()})
	}
	if !b.consumer.next() {
		return nil, false
	}
	b.drain.Add(1)
	go b.follow()
	for _, s := range b.lanes {
		if !s.next() {
			return nil, false
		}
	}
	return b, true
}

// next starts the next life.
func (s *succession) next() bool {
	a := args{Role: s.role, Ring: s.b.ring, Kind: s.b.kind, Lane: s.lane, Seed: s.seed}
	if s.now != nil {
		a.Life = s.now.args.Life + 1
	}
	c, err := s.b.l.spawn(a, nil)
	if !s.b.l.must(err) {
		return false
	}
	s.now = c
	return true
}

// retire notes what a dead producer had sent.
func (s *succession) retire() {
	c := s.now
	s.past = append(s.past, past{c.args.source(), c.j.Get(tried), c.j.Get(sent)})
	c.forget()
}

// follow hands to the checker what the consumer handles, and notices when nothing
// moves any more.
func (b *setup) follow() {
	defer b.drain.Done()
	moved := time.Now()
	for {
		b.mu.Lock()
		if b.hear() {
			moved = time.Now()
		}
		b.mu.Unlock()
		if time.Since(moved) > labs.Patience {
			b.l.fault(&b.l.r.Stuck, "%s: no message for %v", b.kind, labs.Patience)
			moved = time.Now()
		}
		select {
		case <-b.done:
			return
		case <-time.After(300 * time.Microsecond):
		}
	}
}

// hear hands what the consumer has handled to the checker, and reports whether that was
// anything new.
func (b *setup) hear() bool {
	b.l.mu.Lock()
	defer b.l.mu.Unlock()
	before := b.l.r.Delivered
	b.consumer.now.j.drain(b.check.handled)
	return b.l.r.Delivered != before
}

// randomDelay is from the begin of a victim's main to its death: enough for some to
// die before they are attached and for others to go around the ring many times.
func randomDelay(rng *rand.Rand) time.Duration {
	return time.Duration(rng.IntN(3000)) * time.Microsecond
}

func (b *setup) killProducers(n int) {
	if !b.l.reach(b.consumer.now, attached) {
		return
	}
	survivor := machine.Process(b.consumer.now.PID())
	var left atomic.Int64
	left.Store(int64(n))
	var all sync.WaitGroup
	for _, s := range b.lanes {
		rng := rand.New(rand.NewPCG(s.seed, 1))
		all.Go(func() {
			for left.Add(-1) >= 0 && !b.l.over() {
				if !b.l.reach(s.now, running) {
					return
				}
				time.Sleep(randomDelay(rng))
				s.now.kill()
				s.retire()
				if !s.next() {
					return
				}
			}
		})
	}
	all.Wait()
	b.l.grown("the consumer", survivor, machine.Process(b.consumer.now.PID()))
}

func (b *setup) killConsumers(n int) {
	for _, s := range b.lanes {
		if !b.l.reach(s.now, attached) {
			return
		}
	}
	var survivors []machine.Footprint
	for _, s := range b.lanes {
		survivors = append(survivors, machine.Process(s.now.PID()))
	}
	for range n {
		if b.l.over() || !b.l.reach(b.consumer.now, running) {
			break
		}
		time.Sleep(randomDelay(b.l.Rand))
		b.mu.Lock()
		b.consumer.now.kill()
		b.hear()
		b.check.consumerDied()
		b.consumer.now.forget()
		ok := b.consumer.next()
		b.mu.Unlock()
		if !ok {
			break
		}
	}
	for i, s := range b.lanes {
		b.l.grown("a producer", survivors[i], machine.Process(s.now.PID()))
	}
}

// end lets everybody finish and compares what came with what was sent.
func (b *setup) end() {
	for _, s := range b.lanes {
		if b.l.reach(s.now, attached) {
			s.now.conclude()
		} else {
			s.now.kill()
		}
		s.retire()
	}
	b.consumer.now.conclude()
	close(b.done)
	b.drain.Wait()
	b.hear()
	b.consumer.now.forget()
	for _, s := range b.lanes {
		for _, p := range s.past {
			b.check.life(p.who, p.tried, p.sent)
		}
	}
	b.l.must(shmring.Remove(context.Background(), b.ring, &shmring.AdminOptions{Dir: b.l.Rings}))
}
