package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/histories/spec"
	"github.com/shmring/shmring/fuzz/internal/machine"
)

const (
	smallSlot = 64
	largeSlot = 16 << 10 // copying takes some microseconds, so that calls take long
)

// startAfter is how long it takes, mostly, to wake all members, so that they begin together.
const startAfter = 500 * time.Microsecond

// places is for how many producers there is room: more than there are, because those that have
// left, or died, may keep theirs until the consumer has come to what they claimed.
const places = 24

// cast is who takes part in a history, and how it is with kills.
type cast struct {
	number  uint64
	options shmring.Options // of the ring
	members []*member
}

// member is a client of a history.
type member struct {
	part
	*worker
	successor *member // of a victim, or nil
	dead      int64
}

// plan draws a history.
func plan(number uint64, rng *rand.Rand, mpsc, kills bool, dir string) *cast {
	g := spec.Geometry{MPSC: mpsc, Slots: 8, SlotSize: smallSlot, InLine: !mpsc}
	if rng.IntN(4) == 0 && mpsc {
		g.Slots = 16
	}
	if rng.IntN(3) == 0 && mpsc {
		g.SlotSize = largeSlot
	}
	ring := fmt.Sprintf("r%d", number)
	h := &cast{number: number, options: shmring.Options{
		Dir: dir, Mode: shmring.ModeCreateOnly, Kind: shmring.KindSPSC, KeepStream: true,
		Slots: g.Slots, SlotSize: g.SlotSize, MaxMessage: g.MaxMessage(),
	}}
	producers, ops := 1, 18
	if mpsc {
		producers, ops = 3, 9
		h.options.Kind, h.options.MaxProducers = shmring.KindMPSC, places
	}
	slow := []int{1, 1, 3, 10}
	if rng.IntN(2) == 0 {
		slow = []int{0} // for all
	}
	force, waits := mpsc && rng.IntN(3) == 0, mpsc && rng.IntN(16) == 0
	if waits {
		slow = []int{100} // the ring has to be full for more than 5 ms
	}
	for i := range producers + 1 {
		h.members = append(h.members, &member{part: part{
			Dir: dir, Ring: ring, Geometry: g, Client: i, Consumer: i == producers, Seed: rng.Uint64(),
			Ops: ops, Slow: slow[rng.IntN(len(slow))], PauseAt: -1, KillAt: -1,
			AtMostOnce: i == producers && rng.IntN(3) == 0, Force: force, Waits: waits,
		}})
	}
	if kills {
		h.planKills(rng)
	}
	return h
}

// planKills makes one or two of the members victims, and gives them successors.
func (h *cast) planKills(rng *rand.Rand) {
	n := 1
	if rng.IntN(5) == 0 {
		n = 2
	}
	first := len(h.members)
	order := rng.Perm(first)
	if rng.IntN(3) == 0 {
		order[slices.Index(order, first-1)], order[0] = order[0], first-1 // the consumer, of whom there is one
	}
	for _, i := range order[:n] {
		v := h.members[i]
		v.KillAt = rng.IntN(v.Ops)
		v.KillAfter = 4_000 + int64(rng.IntN(10_000)) // starting the timer takes most of 4 µs
		if rng.IntN(2) == 0 {
			v.KillPoint = 1 + rng.IntN(8)
		}
		if !v.Consumer && rng.IntN(4) == 0 {
			continue
		}
		s := *v
		s.Client, s.Late, s.KillAt, s.Seed = len(h.members), true, -1, rng.Uint64()
		s.Ops = max(4, v.Ops-v.KillAt)
		s.AtMostOnce = v.Consumer && rng.IntN(2) == 0
		v.Ops, v.successor = min(v.Ops, v.KillAt+6), &s
		h.members = append(h.members, &s)
	}
	for _, m := range h.members[:first] {
		if m.KillAt < 0 && rng.IntN(4) > 0 {
			m.PauseAt = rng.IntN(m.Ops)
		}
	}
}

// perform lets the members do their parts with a new ring, and returns when all are over.
// After an error nothing can be said of where they are.
func (h *cast) perform(ctx context.Context, p *pool) (err error) {
	ring := h.members[0].Ring
	creator, err := shmring.OpenProducer(ctx, ring, &h.options)
	if err != nil {
		return err
	}
	if err := creator.Close(); err != nil {
		return err
	}
	for _, m := range h.members {
		if m.worker, err = p.get(); err != nil {
			return err
		}
		m.j.Put(logged, 0)
		if err := m.part.put(m.j); err != nil {
			return err
		}
		m.tell(h.number, phaseOpen)
	}
	if err := h.all(phaseOpen, func(*member) bool { return true }); err != nil {
		return err
	}
	at := uint64(0)
	if h.members[0].Slow == 0 {
		at = uint64(machine.Monotonic() + int64(startAfter))
	}
	for _, m := range h.members {
		m.j.Put(start, at)
		if !m.Late {
			m.tell(h.number, phaseRun)
		}
	}
	if err := h.followVictims(); err != nil {
		return err
	}
	if err := h.all(phaseRun, (*member).survives); err != nil {
		return err
	}
	for _, m := range h.members {
		if m.Consumer && m.survives() {
			m.tell(h.number, phaseEmpty)
			if err := m.reach(h.number, phaseEmpty); err != nil {
				return err
			}
		}
	}
	for _, m := range h.members {
		if m.survives() {
			m.tell(h.number, phaseClose)
		}
	}
	if err := h.all(phaseClose, (*member).survives); err != nil {
		return err
	}
	return shmring.Remove(ctx, ring, &shmring.AdminOptions{Dir: h.options.Dir})
}

func (m *member) survives() bool { return m.KillAt < 0 }

// all waits until some members have finished a phase.
func (h *cast) all(phase int, which func(*member) bool) error {
	for _, m := range h.members {
		if which(m) {
			if err := m.reach(h.number, phase); err != nil {
				return err
			}
		}
	}
	return nil
}

// followVictims waits for the death of each victim, and then lets its successor begin, and
// those who pause go on.
func (h *cast) followVictims() error {
	var all sync.WaitGroup
	errs := make(chan error, len(h.members))
	for _, m := range h.members {
		if m.survives() {
			continue
		}
		all.Go(func() {
			if err := m.awaitDeath(); err != nil {
				errs <- err
			}
			m.dead = machine.Monotonic()
			if m.successor != nil {
				m.successor.tell(h.number, phaseRun)
			}
			for _, o := range h.members {
				o.j.Set(resume, h.number)
			}
		})
	}
	all.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// giveBack puts the members' children back into the pool, or others for those that died.
func (h *cast) giveBack(p *pool) {
	for _, m := range h.members {
		if m.survives() {
			p.idle <- m.worker
		} else {
			p.replace(m.worker)
		}
	}
}
