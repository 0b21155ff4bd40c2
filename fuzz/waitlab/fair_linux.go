package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/fuzz/internal/machine"
)

func init() {
	roles["crush"] = crush
	roles["counter"] = counter
}

const (
	fairProducers = 8
	fairSlots     = 64
	fairLarge     = 16                   // slots of a large message
	fairWork      = 5 * time.Microsecond // of the consumer, for each message
	fairShare     = 3                    // the least may have that much less than the mean
	fairWait      = 300 * time.Millisecond
)

func (a args) fair() *shmring.Options {
	o := a.options()
	o.Mode, o.Kind, o.Slots, o.MaxProducers = shmring.ModeOpenOrCreate, shmring.KindMPSC, fairSlots, fairProducers
	o.MaxMessage, o.WaitPolicy = fairLarge*64, shmring.WaitBalanced
	return o
}

// crushed is what one producer tells.
type crushed struct {
	Sent    int
	Longest time.Duration // that a Send took
	Starved time.Duration // of that, the machine's fault
	Stats   shmring.Stats
}

// crush sends as fast as it can until it is told to stop. Count goroutines share the
// handle; the messages of each begin with its number, counted from Number. Text large
// makes the messages of odd numbers large.
func crush(ctx context.Context, a args, lab *line) error {
	p, err := shmring.OpenProducer(ctx, a.Ring, a.fair())
	if err != nil {
		return err
	}
	lab.send("ready", nil)
	lab.recv()
	var stop atomic.Bool
	all := make([]crushed, a.Count)
	errs := make([]error, a.Count)
	var wg sync.WaitGroup
	for g := range a.Count {
		wg.Go(func() {
			k, id := &all[g], a.Number+g
			msg := make([]byte, 8)
			if a.Text == "large" && id%2 == 1 {
				msg = make([]byte, fairLarge*64)
			}
			copy(msg, number(id))
			for !stop.Load() {
				begin := time.Now()
				if errs[g] = p.Send(ctx, msg); errs[g] != nil {
					return
				}
				k.Sent++
				k.Longest = max(k.Longest, time.Since(begin))
			}
		})
	}
	lab.recv()
	stop.Store(true)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	all[0].Stats = p.Stats()
	lab.send("done", all)
	lab.recv()
	return p.Close()
}

// counts is what the consumer tells of one producer.
type counts struct {
	Came      int
	Overtaken int // the longest run of others' messages between two of its own
	last      int
}

// counter receives slowly until it is told to stop, then quickly until it is told to
// end.
func counter(ctx context.Context, a args, lab *line) error {
	c, err := shmring.OpenConsumer(ctx, a.Ring, a.fair())
	if err != nil {
		return err
	}
	lab.send("ready", nil)
	var stop atomic.Bool
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		lab.recv()
		stop.Store(true)
		lab.recv()
		cancel()
	}()
	all := make([]counts, a.Count)
	told := false
	buf := make([]byte, c.MaxMessage())
	for i := 1; ; i++ {
		n, err := c.Receive(ctx, buf)
		if errors.Is(err, context.Canceled) {
			return c.Close()
		}
		if err != nil {
			return err
		}
		id := int(parseNumber(buf[:n]))
		if id >= len(all) {
			return fmt.Errorf("a message of producer %d", id)
		}
		if !stop.Load() {
			k := &all[id]
			if k.Came++; k.last != 0 {
				k.Overtaken = max(k.Overtaken, i-k.last-1)
			}
			k.last = i
			for end := machine.Monotonic() + int64(fairWork); machine.Monotonic() < end; {
			}
		} else if !told {
			told = true
			for id := range all {
				all[id].Overtaken = max(all[id].Overtaken, i-all[id].last-1)
			}
			lab.send("done", all)
		}
	}
}

func fair(l *lab) {
	for _, w := range l.ways() {
		for _, s := range []struct {
			what      string
			processes int
			text      string
		}{
			{"processes", fairProducers, ""},
			{"goroutines of one handle", 1, ""},
			{"processes, every second with large messages", fairProducers, "large"},
		} {
			if !l.crowded(w, s.what, s.processes, s.text) {
				return
			}
		}
		for _, sleep := range herdSleeps {
			if !l.herd(w, choose(l, 50, 8), sleep) {
				return
			}
		}
	}
}

func (l *lab) crowded(w way, what string, processes int, text string) bool {
	a := args{Role: "counter", Ring: l.ring(), Way: w, Count: fairProducers, Text: text}
	c, ok := l.spawn(a, nil)
	if !ok || !c.expect("ready", labs.Patience, nil) {
		return false
	}
	var producers []*child
	for i := range processes {
		a.Role, a.Count, a.Number = "crush", fairProducers/processes, i
		p, ok := l.spawn(a, nil)
		if !ok || !p.expect("ready", labs.Patience, nil) {
			return false
		}
		producers = append(producers, p)
	}
	for _, p := range producers {
		p.send("go")
	}
	begin := machine.Now()
	time.Sleep(choose(l, 10*time.Second, time.Second))
	took, owned := begin.Until(machine.Now())
	c.send("enough")
	var came []counts
	if !c.expect("done", labs.Patience, &came) {
		return false
	}
	var all []crushed
	for _, p := range producers {
		p.send("enough")
	}
	for _, p := range producers {
		var some []crushed
		if !p.expect("done", labs.Patience, &some) || !p.finish() {
			return false
		}
		all = append(all, some...)
	}
	if !c.finish() {
		return false
	}
	l.judgeFair(w, what, text == "large", came, all, took-owned)
	return true
}

func (l *lab) judgeFair(w way, what string, mixed bool, came []counts, all []crushed, starved time.Duration) {
	least, most, overtaken := came[0].Came, 0, 0
	var list []int
	for _, k := range came {
		least, most, overtaken = min(least, k.Came), max(most, k.Came), max(overtaken, k.Overtaken)
		list = append(list, k.Came)
	}
	var longest, longestLarge time.Duration
	var s shmring.Stats
	for i, k := range all {
		if mixed && i%2 == 1 {
			longestLarge = max(longestLarge, k.Longest)
		}
		longest = max(longest, k.Longest)
		s.Sleeps += k.Stats.Sleeps
		s.TimeoutWakeups += k.Stats.TimeoutWakeups
	}
	ratio := float64(most) / float64(max(1, least))
	r := l.r
	r.add("messages", uint64(sum(list)))
	r.Note("%s: %d %s: %v messages, most to least %.2f; longest Send %v; at most %d of others in between; "+
		"%d sleeps for room, %d timeout wake-ups; somebody waited for a processor %.1f s", w.name, len(came), what,
		list, ratio, longest.Round(time.Microsecond), overtaken, s.Sleeps, s.TimeoutWakeups, starved.Seconds())
	if mixed {
		r.Note("%s: longest Send of a large message %v", w.name, longestLarge.Round(time.Microsecond))
	}
	if mean := sum(list) / len(list); least < mean/fairShare && !mixed && !l.Short {
		r.fault("%s: %d %s: %v messages: one has less than 1/%d of the mean, %d", w.name, len(came), what, list,
			fairShare, mean)
	}
	if longest > fairWait {
		r.fault("%s: %d %s: a Send took %v, the limit is %v; messages of each: %v", w.name, len(came), what, longest,
			fairWait, list)
	}
	if s.TimeoutWakeups > 0 {
		r.fault("%s: %d %s: %d sleeps for room that nobody ended", w.name, len(came), what, s.TimeoutWakeups)
	}
}

func sum(list []int) (n int) {
	for _, k := range list {
		n += k
	}
	return n
}
