package main

import (
	"context"
	"errors"
	"io/fs"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
)

// retire ends what is left of a round and looks at what happened in it.
func (d *contest) retire() {
	l := d.l
	complete := true
	for _, m := range d.all {
		// Those who were refused are on their way out; otherwise a fault ended the round.
		if m.gone || m.j.Get(phase) == holdRefused {
			if m.Ended(labs.Patience, nil) {
				continue
			}
		}
		complete = false
		m.end = monotonic()
		m.kill()
	}
	r := &review{contest: d, by: map[int]*contender{}}
	for _, m := range d.all {
		if m.end == 0 || !m.WasKilled() {
			m.accuse()
		}
		complete = complete && (m.end != 0 || m.Wait() == nil)
		end := m.end
		if end == 0 {
			end = monotonic()
		}
		r.by[m.PID()] = m
		r.list = append(r.list, incarnations(m.PID(), m.j.all(), end)...)
	}
	r.roles()
	if complete {
		r.stream()
	} else if l.r.Stuck+l.r.Other+l.r.Torn == 0 {
		l.fault(&l.r.Stuck, "%s: the round came to no end", d.kind)
	}
	for _, m := range d.all {
		m.forget()
	}
	if err := shmring.Remove(context.Background(), d.name, &shmring.AdminOptions{Dir: l.Rings}); err != nil &&
		(complete || !errors.Is(err, fs.ErrNotExist)) {
		l.fault(&l.r.Leaked, "everybody has left: %v", err)
	}
}

// review is a round seen from its end.
type review struct {
	*contest
	list []incarnation
	by   map[int]*contender // by pid
}

// roles checks who held what, and what they were told about it.
func (r *review) roles() {
	consumers := holdings(r.list, func(t *incarnation) bool { return t.consumer })
	producers := holdings(r.list, func(t *incarnation) bool { return !t.consumer })
	r.l.fewHolders("consumer", consumers, 1)
	r.l.fewHolders("producer", producers, contestProducers(r.kind))
	for i := range consumers {
		if i > 0 {
			r.handover(&consumers[i], &consumers[i-1])
		}
	}
	for i := range producers {
		for j := i - 1; j >= 0; j-- {
			if producers[j].slot == producers[i].slot {
				r.handover(&producers[i], &producers[j])
				break
			}
		}
	}
	for i := range r.list {
		switch t := &r.list[i]; {
		case t.refused:
			r.sum.refusals++
			r.refusal(t)
		case t.from != 0:
			r.recovery(t)
		}
	}
}

// handover checks Info.TookOver of somebody who came after before.
func (r *review) handover(t, before *incarnation) {
	r.sum.handovers++
	says := t.says&entryTookOver != 0
	if says {
		r.sum.tookOver++
	}
	switch {
	case says && !before.killed:
		r.l.fault(&r.l.r.Other, "%s: pid %d was told that its predecessor had died, which left in peace", r.kind, t.pid)
	case !says && before.killed:
		r.l.fault(&r.l.r.Other, "%s: pid %d (consumer: %v) was not told that its predecessor, pid %d, had died", r.kind,
			t.pid, t.consumer, before.pid)
	}
}

// recovery checks Info.Recovered.
func (r *review) recovery(t *incarnation) {
	says := t.says&entryRecovered != 0
	if says {
		r.sum.recovered++
	}
	if r.by[t.pid].solo {
		if !says || t.says&entryTookOver == 0 {
			r.l.fault(&r.l.r.Other, "%s: pid %d came when everybody was dead, and was told neither or only one of it: %b",
				r.kind, t.pid, t.says)
		}
		return
	}
	if !says {
		return
	}
	for i := range r.list {
		if o := &r.list[i]; o.pid != t.pid && o.covers(t.opening, t.from) {
			r.l.fault(&r.l.r.Other, "%s: pid %d was told that nobody else is alive, but pid %d is", r.kind, t.pid, o.pid)
			return
		}
	}
}

// refusal checks that somebody without labs.Patience was refused by a live holder, who is
// named if there is one only. While a role changes hands, the former holder may still be.
func (r *review) refusal(t *incarnation) {
	if r.kind == shmring.KindMPSC && !t.consumer && t.holder == 0 {
		return // of several holders none is named
	}
	var during, throughout []int
	for i := range r.list {
		o := &r.list[i]
		if o.consumer != t.consumer || o.pid == t.pid || o.from == 0 {
			continue
		}
		if o.covers(t.opening, t.to) {
			throughout = append(throughout, o.pid)
		}
		during = append(during, o.pid)
	}
	named := during
	if len(throughout) == contestProducers(r.kind) || t.consumer && len(throughout) > 0 {
		named = throughout
	}
	for _, pid := range named {
		if pid == t.holder {
			return
		}
	}
	r.l.fault(&r.l.r.Other, "%s: pid %d was refused in favour of pid %d, the holders are %v", r.kind, t.pid, t.holder,
		named)
}

// stream checks what came out of the ring: it is one stream, whoever received it.
func (r *review) stream() {
	producers := holdings(r.list, func(t *incarnation) bool { return !t.consumer })
	order := map[uint32]int{}
	for i := range producers {
		order[r.by[producers[i].pid].args.Lane] = i
	}
	check := newChecker(r.l.r, 0)
	last := 0
	left := false // the consumer before has left, and was not killed
	for _, t := range holdings(r.list, func(t *incarnation) bool { return t.consumer }) {
		for _, e := range t.heard {
			// A batch is released as a whole, so one who leaves in the middle of it leaves all
			// of it to its successor.
			again := shmring.Position{Record: e.record, Index: e.index}.Compare(check.last) <= 0
			if left && again && e.record == check.last.Record && e.flags&(entryTorn|entryRedelivered) == entryRedelivered {
				r.sum.halfBatch++
				continue
			}
			before := r.l.r.Delivered
			check.handled(e)
			if r.kind != shmring.KindSPSC || r.l.r.Delivered == before {
				continue
			}
			if now := order[e.source.lane]; now < last {
				r.l.fault(&r.l.r.Disordered, "lane %d comes after its successor", e.source.lane)
			} else {
				last = now
			}
		}
		check.consumerDied()
		check.bound = 0 // whoever leaves in peace has handled what it got
		left = !t.killed
		if t.killed {
			check.bound = unreleased
		}
	}
	for _, m := range r.all {
		if !m.consumer {
			check.life(m.args.source(), m.j.Get(tried), m.j.Get(sent))
		}
	}
}
