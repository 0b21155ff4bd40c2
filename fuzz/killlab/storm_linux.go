package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
)

// stormNames is how many rings the processes of a storm quarrel over.
const stormNames = 3

// storm has n processes create, open, use, leave and remove the same few rings, and
// die. Before it come two gentler experiments on creation alone.
func storm(l *lab, n int) {
	rounds, kills, length := 50, 300, time.Minute
	if l.Short {
		rounds, kills, length = 3, 20, 6*time.Second
	}
	rushing := length / 4
	if l.duration > 0 { // the lab's context ends soon after it
		rushing = l.duration / 4
		length = l.duration - rushing
	}
	l.races(n, rounds)
	l.halfCreated(kills)
	if l.over() {
		return
	}
	t := &stress{l: l, lives: map[uint64][]entry{}}
	t.run(args{Role: "storm", Count: rushers, Number: 1, Text: rush}, rushing)
	t.run(args{Role: "storm", Count: uint64(n), Number: stormNames}, length)
	t.judge()
	for i := range stormNames {
		ring, o := stormRing(i, l.Rings)
		l.usable(ring, o)
	}
	l.empty("after the storm")
}

// rushers is how many processes do nothing but create and remove one single ring, before
// the storm itself.
const rushers = 12

// run starts Count children and follows them until the time is over.
func (t *stress) run(a args, length time.Duration) {
	t.end = time.Now().Add(length)
	var all sync.WaitGroup
	for range a.Count {
		t.lanes++
		mine := a
		mine.Lane, mine.Seed = t.lanes, t.l.Rand.Uint64()
		all.Go(func() { t.place(mine) })
	}
	all.Wait()
}

// stress is what is known of a storm.
type stress struct {
	l     *lab
	end   time.Time
	lanes uint32
	mu    sync.Mutex
	held  []incarnation
	lives map[uint64][]entry // by ring: what its consumers received

	opened, created, removed, refused, deaths uint64
}

// place is held by one child after the other until the storm is over.
func (t *stress) place(a args) {
	rng := rand.New(rand.NewPCG(a.Seed, 0))
	for time.Now().Before(t.end) && !t.l.over() {
		a.Life++
		c, err := t.l.spawn(a, nil)
		if !t.l.must(err) {
			return
		}
		limit := min(time.Until(t.end), time.Duration(50+rng.IntN(2000))*time.Millisecond)
		kill := rng.IntN(4) > 0
		var log []entry
		take := func() { c.j.drain(func(e entry) { log = append(log, e) }) }
		end := int64(0)
		if !c.Ended(limit, take) {
			if kill {
				end = monotonic()
				c.kill()
			} else {
				c.dismiss(1, take)
			}
		}
		take()
		t.retire(c, log, end)
	}
}

// retire takes note of a life that is over. killed is when the lab sent the kill, if it
// did.
func (t *stress) retire(c *child, log []entry, killed int64) {
	end := int64(c.j.Get(died))
	switch {
	case killed == 0 && end == 0:
		c.accuse()
		if c.Wait() == nil && c.j.Get(command) == 0 {
			t.l.fault(&t.l.r.Other, "%s (lane %d) ended without being told to", c.args.Role, c.args.Lane)
		}
		end = monotonic()
	case !c.WasKilled() && c.Wait() != nil:
		c.accuse()
	}
	if killed != 0 && (end == 0 || killed < end) {
		end = killed
	}
	list := incarnations(c.PID(), log, end)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range list {
		if h.from != 0 {
			t.lives[h.uuid] = append(t.lives[h.uuid], h.heard...)
			h.heard = nil
			t.held = append(t.held, h)
		}
	}
	if killed == 0 && c.WasKilled() {
		t.deaths++
		t.l.killed()
	}
	for to, w := range map[*uint64]word{&t.opened: opens, &t.created: creates, &t.removed: removes, &t.refused: refuses} {
		*to += c.j.Get(w)
	}
	c.forget()
}

// judge looks at all that happened.
func (t *stress) judge() {
	l := t.l
	for i := range stormNames {
		ring, o := stormRing(i, "")
		mine := holdings(t.held, func(h *incarnation) bool { return h.name == uint32(i) })
		l.oneRing(ring, mine)
		byRing := map[uint64][]incarnation{}
		for _, h := range mine {
			byRing[h.uuid] = append(byRing[h.uuid], h)
		}
		for _, list := range byRing {
			l.fewHolders("consumer", holdings(list, func(h *incarnation) bool { return h.consumer }), 1)
			l.fewHolders("producer", holdings(list, func(h *incarnation) bool { return !h.consumer }), o.MaxProducers)
		}
	}
	for _, log := range t.lives {
		l.ordered(log)
	}
	l.r.Note("storm: %d opens of which %d created one of %d rings, %d removals, %d refusals, %d died by themselves; "+
		"%d half-initialised, %d split",
		t.opened, t.created, len(t.lives), t.removed, t.refused, t.deaths, l.r.Torn, l.r.Split)
	if t.opened == 0 || t.created == 0 || t.removed == 0 {
		l.fault(&l.r.Other, "storm: nothing happened: %d opens, %d created, %d removed", t.opened, t.created, t.removed)
	}
}

// ordered checks what several consumers, each for a while, received from one ring.
func (l *lab) ordered(log []entry) {
	slices.SortFunc(log, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.record, b.record), cmp.Compare(a.index, b.index), cmp.Compare(a.at, b.at))
	})
	next := map[source]uint64{}
	r := l.r
	for i, e := range log {
		switch {
		case e.flags&entryTorn != 0:
			l.fault(&r.Torn, "torn message at position %d.%d", e.record, e.index)
		case i > 0 && e.record == log[i-1].record && e.index == log[i-1].index:
			if e.flags&entryRedelivered == 0 || e.seq != log[i-1].seq || e.source != log[i-1].source {
				l.fault(&r.Duplicated, "position %d.%d came twice, without a mark or with another content", e.record, e.index)
			} else {
				r.Repeated++
			}
		case e.seq < next[e.source]:
			l.fault(&r.Disordered, "lane %d life %d: number %d came after %d", e.source.lane, e.source.life, e.seq,
				next[e.source]-1)
		default:
			next[e.source] = e.seq + 1
			r.Delivered++
		}
	}
}

// usable opens a ring, or creates it, passes one message through it and removes it.
func (l *lab) usable(ring string, o shmring.Options) {
	ctx, cancel := context.WithTimeout(l.Ctx, labs.Patience)
	defer cancel()
	if err := useOnce(ctx, ring, o); err != nil {
		heading := &l.r.Other
		if errors.Is(err, context.DeadlineExceeded) {
			heading = &l.r.Stuck
		}
		l.fault(heading, "%s cannot be used any more: %v", ring, err)
	}
	if err := shmring.Remove(context.Background(), ring, &shmring.AdminOptions{Dir: l.Rings}); err != nil {
		l.fault(&l.r.Leaked, "nobody uses %s: %v", ring, err)
	}
}

func useOnce(ctx context.Context, ring string, o shmring.Options) error {
	o.WaitForRole, o.KeepStream = true, true
	if o.Mode == shmring.ModeDefault {
		o.Mode = shmring.ModeOpenOrCreate
	}
	c, err := shmring.OpenConsumer(ctx, ring, &o)
	if err != nil {
		return fmt.Errorf("consumer: %w", err)
	}
	defer c.Close()
	const last = "the last message"
	sent := make(chan error, 1)
	go func() { sent <- sendOnce(ctx, ring, o, last) }()
	// The producer may have to wait until what dead ones have left is passed.
	for buf := make([]byte, c.MaxMessage()); ; {
		n, err := c.Receive(ctx, buf)
		switch {
		case err == nil && string(buf[:n]) == last:
			return <-sent
		case err != nil && err != io.EOF && !errors.Is(err, shmring.ErrPeerDead):
			return errors.Join(fmt.Errorf("receive: %w", err), <-sent)
		}
	}
}

func sendOnce(ctx context.Context, ring string, o shmring.Options, text string) error {
	p, err := shmring.OpenProducer(ctx, ring, &o)
	if err != nil {
		return fmt.Errorf("producer: %w", err)
	}
	if err := p.Send(ctx, []byte(text)); err != nil {
		return errors.Join(fmt.Errorf("send: %w", err), p.Close())
	}
	return p.Close()
}
