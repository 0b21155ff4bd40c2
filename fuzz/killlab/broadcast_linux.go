package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/shmring/shmring"
)

func init() {
	roles["broadcast"] = broadcaster
	roles["watch"] = watcher
}

// broadcast kills the producer of a broadcast ring, and its observers, n times in all. The messages of all
// producers are numbered in one row, so it shows whether anything that was sent is not there, or
// anything else is, and whether the ring counts right: an observer is told the number of each message, and
// how many it has missed.
func broadcast(l *lab, n int) {
	ring, ok := l.createRing(shmring.Options{Kind: shmring.KindBroadcast, Slots: 64, SlotSize: 128, MaxMessage: 2000})
	if !ok {
		return
	}
	t := &listeners{l: l, ring: ring}
	watchers := make([]*child, 3)
	for i := range watchers {
		if watchers[i] = t.spawn(args{Role: "watch", Number: i}); watchers[i] == nil {
			return
		}
	}
	producer := t.spawn(args{Role: "broadcast", Lane: 1})
	for i := 0; i < n && producer != nil && !l.over(); i++ {
		victim := &producer
		if k := l.Rand.IntN(6); k < len(watchers) {
			victim = &watchers[k]
		}
		if !l.reach(*victim, running) {
			return
		}
		time.Sleep(randomDelay(l.Rand))
		c := *victim
		c.kill()
		if victim == &producer {
			t.review(max(t.total, c.j.Get(sent)), max(t.total, c.j.Get(tried)), i%8 == 0)
		} else {
			t.hear(c)
		}
		a := c.args
		c.forget()
		if *victim = t.spawn(a); *victim == nil {
			return
		}
	}
	if producer == nil || !l.reach(producer, attached) {
		return
	}
	producer.conclude()
	t.review(max(t.total, producer.j.Get(sent)), max(t.total, producer.j.Get(sent)), true)
	producer.forget()
	for _, w := range watchers {
		if !l.reach(w, attached) {
			return
		}
		w.conclude()
		if got := w.j.Get(where); got != 0 && got != t.total { // 0: nothing came since it began
			l.fault(&l.r.Lost, "%v has got or missed all before message %d, and %d were sent", w, got, t.total)
		}
		t.hear(w)
		w.forget()
	}
	l.must(shmring.Remove(context.Background(), ring, &shmring.AdminOptions{Dir: l.Rings}))
}

// listeners is a broadcast ring and what is known of it.
type listeners struct {
	l     *lab
	ring  string
	total uint64 // messages that are sent for certain
}

func (t *listeners) spawn(a args) *child {
	a.Ring, a.Seed = t.ring, t.l.Rand.Uint64()
	c, err := t.l.spawn(a, nil)
	if !t.l.must(err) {
		return nil
	}
	return c
}

// hear notes what an observer got that is gone.
func (t *listeners) hear(c *child) { t.l.r.Delivered += c.j.Get(count) }

// review looks at what a producer has left that is gone: at least so many messages were sent by then, and so
// many at most. whole: all of it is looked at.
func (t *listeners) review(least, most uint64, whole bool) {
	found, err := newestNumber(t.ring, t.l.Rings)
	if !t.l.must(err) {
		return
	}
	if found < least || found > most {
		t.l.fault(&t.l.r.Lost, "%d messages are there, of %d that were sent and %d that were to be", found, least, most)
	}
	t.total = found
	if !whole {
		return
	}
	s, err := shmring.Inspect(t.l.Ctx, t.ring, &shmring.InspectOptions{Dir: t.l.Rings})
	if !t.l.must(err) || !t.l.must(s.Err) {
		return
	}
	if q := s.Ring.Queue; q.Sent != found || !q.Exact || q.Messages > found || found > 1000 && q.Messages < 10 {
		t.l.fault(&t.l.r.Other, "%d messages were sent: %+v", found, q)
	}
	w := watch{ring: t.ring, dir: t.l.Rings}
	if err := w.open(shmring.FromOldest); !t.l.must(err) {
		return
	}
	defer w.in.Close()
	for err == nil {
		err = w.one(false)
	}
	if err != shmring.ErrEmpty || w.next != found {
		t.l.fault(&t.l.r.Lost, "from the oldest message on: %d found of %d: %v", w.next, found, err)
	}
}

// newestNumber is how many messages there are by what the newest one says itself.
func newestNumber(ring, dir string) (uint64, error) {
	w := watch{ring: ring, dir: dir}
	if err := w.open(shmring.FromNewest); err != nil {
		return 0, err
	}
	defer w.in.Close()
	if err := w.one(true); err != nil && err != shmring.ErrEmpty {
		return 0, err
	}
	return w.next, nil
}

// broadcaster sends by every way there is, numbered on from what is there, until it is told to stop.
func broadcaster(ctx context.Context, a args, j *journal) error {
	rng := rand.New(rand.NewPCG(a.Seed, 1))
	j.Set(phase, running)
	p, err := shmring.OpenProducer(ctx, a.Ring, a.options())
	if err != nil {
		return err
	}
	seq, err := newestNumber(a.Ring, a.Dir)
	if err != nil {
		return err
	}
	j.Set(phase, attached)
	s := &sender{p: p, a: a, j: j, most: p.MaxMessage()}
	for j.Get(command) == 0 {
		n, err := s.some(ctx, rng, seq)
		seq += n
		if err != nil {
			return err
		}
		if rng.IntN(50) == 0 { // let the others have the processor now and then
			time.Sleep(time.Duration(rng.IntN(300)) * time.Microsecond)
		}
	}
	return p.Close()
}

// watch is an observer that knows which message has to be next.
type watch struct {
	ring, dir string
	in        *shmring.Observer
	begun     bool
	first     uint64 // number of the first message
	next      uint64
}

func (w *watch) open(from shmring.Start) (err error) {
	w.in, err = shmring.OpenObserver(context.Background(), w.ring, &shmring.ObserverOptions{Dir: w.dir, From: from})
	return err
}

// one takes one message, the next or the newest, and judges it.
func (w *watch) one(newest bool) error {
	take := w.in.TryNext
	if newest {
		take = w.in.TryLatest
	}
	m, err := take()
	if err != nil {
		return err
	}
	_, seq, whole := read(m.Bytes)
	if !w.begun {
		w.begun, w.first, w.next = true, seq-m.Missed, seq-m.Missed
	}
	if !whole || seq != w.next+m.Missed || m.Sequence != seq+1 {
		return fmt.Errorf("message %d (whole: %t) at %v, and %d was to be the next, %d missed: sequence %d", seq, whole,
			m.Position, w.next, m.Missed, m.Sequence)
	}
	w.next = seq + 1
	return nil
}

// watcher observes: all there is, from the oldest or slowly, or the newest only. It ends with what was there when it
// was told to.
func watcher(_ context.Context, a args, j *journal) error {
	rng := rand.New(rand.NewPCG(a.Seed, 2))
	j.Set(phase, running)
	w := watch{ring: a.Ring, dir: a.Dir}
	from := []shmring.Start{shmring.FromOldest, shmring.FromNow, shmring.FromNewest}[a.Number]
	if err := w.open(from); err != nil {
		return err
	}
	defer w.in.Close()
	j.Set(phase, attached)
	for told := false; ; {
		err := w.one(a.Number == 2)
		switch {
		case err == nil:
			j.Put(count, j.Get(count)+1)
			if a.Number > 0 && rng.IntN(100) == 0 && !told {
				time.Sleep(time.Duration(rng.IntN(3000)) * time.Microsecond)
			}
		case !errors.Is(err, shmring.ErrEmpty):
			return err
		case told:
			return w.end(j)
		case j.Get(command) != 0:
			told = true // look once more
		default:
			time.Sleep(50 * time.Microsecond)
		}
	}
}

// end says how far the observer has come, and compares that with what it counted.
func (w *watch) end(j *journal) error {
	if s := w.in.Stats(); s.Messages+s.Missed != w.next-w.first || s.Inexact {
		return fmt.Errorf("from message %d to %d: %+v", w.first, w.next, s)
	}
	if w.begun {
		j.Set(where, w.next)
	}
	return nil
}
