package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
)

// round is one ring or several, from their making to their end, in modes fates and ends.
type round struct {
	l      *lab
	sum    *fateSum
	rng    *rand.Rand
	what   string // for the report
	kind   shmring.Kind
	number int // what the consumers are: args.Number
	rings  []string
	mu     sync.Mutex // by
	by     []*history // by ring
}

// fateSum is what happened in all rounds of a mode.
type fateSum struct {
	verdict
	rounds, wrongs                int
	changed, recovered, forgotten int // of mode ends
}

// newRound makes rings without users.
func (l *lab) newRound(sum *fateSum, what string, kind shmring.Kind, rings, producers, number int,
	rng *rand.Rand) (*round, bool) {
	d := &round{l: l, sum: sum, rng: rng, what: fmt.Sprintf("%s, %v", what, kind), kind: kind, number: number}
	if number&toldLossy != 0 {
		d.what += ", at most once"
	}
	if n := number >> toldExpects; n > 0 {
		d.what += fmt.Sprintf(", %d expected", n)
	}
	for range rings {
		o := shmring.Options{Kind: kind, Slots: 64, SlotSize: 128, MaxMessage: 2000, Dir: l.Rings,
			Mode: shmring.ModeCreateOnly}
		if kind == shmring.KindMPSC {
			o.MaxProducers = producers
		}
		name := fmt.Sprintf("ring%d", l.names.Add(1))
		// A consumer makes it, so that it has no stream yet.
		c, err := shmring.OpenConsumer(l.Ctx, name, &o)
		if !l.must(err) || !l.must(c.Close()) {
			return nil, false
		}
		d.rings = append(d.rings, name)
		d.by = append(d.by, &history{mpsc: kind == shmring.KindMPSC, lossy: number&toldLossy != 0,
			unplaced: number&toldReceives != 0, expects: number >> toldExpects})
	}
	return d, true
}

// spawn starts a child that is nobody's yet.
func (d *round) spawn(role, ring string, lane, life uint32) (*child, bool) {
	d.mu.Lock()
	seed := d.rng.Uint64()
	d.mu.Unlock()
	c, err := d.l.spawn(args{Role: role, Ring: ring, Kind: d.kind, Lane: lane, Life: life, Seed: seed,
		Number: d.number}, nil)
	if !d.l.must(err) {
		return nil, false
	}
	return c, d.l.reach(c, running)
}

// wrote adds what a producer has noted that is over.
func (d *round) wrote(ring int, list []*stream) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.by[ring].streams = append(d.by[ring].streams, list...)
}

// listens begins with another consumer.
func (d *round) listens() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range d.by {
		h.heard = append(h.heard, nil)
	}
}

// hears takes over what the newest consumer has noted.
func (d *round) hears(c *child) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c.j.drain(func(e entry) {
		h := d.by[e.ring()]
		h.heard[len(h.heard)-1] = append(h.heard[len(h.heard)-1], e)
	})
}

// due is what must still come.
func (d *round) due() (list []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range d.by {
		list = append(list, h.judge().due...)
	}
	return list
}

// satisfied waits until nothing is due; look takes a step towards that.
func (d *round) satisfied(look func() bool) bool {
	pause, before := time.Duration(0), -1
	for end := time.Now().Add(labs.Patience); ; {
		if !look() {
			return false
		}
		due := d.due()
		if len(due) == 0 {
			return true
		}
		if time.Now().After(end) || d.l.Ctx.Err() != nil {
			d.l.fault(&d.l.r.Stuck, "%s: not within %v: %s", d.what, labs.Patience, strings.Join(due, "; "))
			return false
		}
		if pause = min(2*pause+100*time.Microsecond, 20*time.Millisecond); len(due) != before {
			pause, before = 0, len(due)
		}
		time.Sleep(pause)
	}
}

// end judges, and removes the rings. well: nothing has gone wrong so far.
func (d *round) end(well bool) bool {
	for _, h := range d.by {
		v := h.judge()
		r := d.l.r
		for heading, list := range map[*uint64][]string{&r.Lost: v.lost, &r.Duplicated: v.duplicated, &r.Torn: v.torn,
			&r.Disordered: v.disordered, &r.Wrong: v.wrong} {
			for _, text := range list {
				well = false
				d.l.fault(heading, "%s: %s", d.what, text)
			}
		}
		d.l.mu.Lock()
		d.sum.add(v)
		r.Delivered += v.delivered
		r.Repeated += v.repeated
		d.l.mu.Unlock()
	}
	for _, ring := range d.rings {
		err := shmring.Remove(context.Background(), ring, &shmring.AdminOptions{Dir: d.l.Rings})
		if err != nil {
			d.l.fault(&d.l.r.Leaked, "%s: %v", d.what, err)
			well = false
		}
	}
	return well
}

// add adds up what happened.
func (s *fateSum) add(v *verdict) {
	for f, n := range v.by {
		s.by[f] += n
	}
	s.once += v.once
	s.again += v.again
	s.together += v.together
	s.groups += v.groups
	s.ends += v.ends
	s.unknown += v.unknown
	s.consumers += v.consumers
	s.wrongs += len(v.wrong)
	s.rounds++
}

// note is the line for people.
func (s *fateSum) note(l *lab, begin time.Time) {
	l.r.Note("%d rings, %d kills in %.1f s, %d consumers, one after the other; streams: %d ended, %d left, %d failed, "+
		"%d died", s.rounds, l.r.Kills, time.Since(begin).Seconds(), s.consumers, s.by[shmring.FateEnded],
		s.by[shmring.FateLeft], s.by[shmring.FateFailed], s.by[shmring.FateDied])
	l.r.Note("told: %d once, %d again within the window, %d of them together in %d groups, %d wrong; %d were killed "+
		"while opening; io.EOF %d times", s.once, s.again, s.together, s.groups, s.wrongs, s.unknown, s.ends)
}
