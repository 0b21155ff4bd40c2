package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/fuzz/internal/machine"
	"github.com/shmring/shmring/internal/spin"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

func init() {
	roles["ping"] = ping
	roles["pong"] = pong
}

// bounce is what one side of a ping-pong tells at its end.
type bounce struct {
	Out, In shmring.Stats // of its producer and its consumer
	Late    int           // cycles longer than lateCycle
	Longest time.Duration
	Took    time.Duration
	Quick   []time.Duration // p50, p99
}

// lateCycle is longer than any cycle may take.
const lateCycle = time.Second

// ends opens the two rings of a ping-pong; each side creates the one that it sends on.
func (a args) ends(ctx context.Context) (p *shmring.Producer, c *shmring.Consumer, err error) {
	if p, err = shmring.OpenProducer(ctx, a.Ring, a.options()); err != nil {
		return nil, nil, err
	}
	o := a.options()
	if c, err = shmring.OpenConsumer(ctx, a.Back, o); err != nil {
		return nil, nil, errors.Join(err, p.Close())
	}
	return p, c, nil
}

// lookout looks at a bell of a ring from outside.
type lookout struct {
	seg  *shm.Segment
	bell *atomic.Uint32
}

// watchConsumer is for who wants to know whether the consumer of a ring sleeps.
func (a args) watchConsumer(ctx context.Context, name string) (*lookout, error) {
	seg, err := shm.Open(ctx, name, layout.MinSize, &shm.Options{Dir: a.Dir})
	if err != nil {
		return nil, err
	}
	v, err := layout.Parse(seg.Bytes())
	if err != nil {
		return nil, errors.Join(err, seg.Close())
	}
	return &lookout{seg, &v.Hot.DataBell}, nil
}

// await returns when it has lain down, if only for that moment.
func (s *lookout) await() error {
	for begin, i := time.Now(), 0; s.bell.Load()&layout.BellSleeping == 0; i++ {
		spin.Pause()
		if i%1000 == 999 {
			runtime.Gosched()
			if time.Since(begin) > labs.Patience {
				return fmt.Errorf("the other side did not lie down within %v", labs.Patience)
			}
		}
	}
	return nil
}

// forced tells in which cycles a side sends only when the other sleeps: in all but every
// fourth, where each goes as fast as it can and they meet at any step.
func forced(cycle int) bool { return cycle%4 != 3 }

// due checks that a message is the one that is due.
func due(msg []byte, want int) error {
	if len(msg) != 8 || binary.LittleEndian.Uint64(msg) != uint64(want) {
		return fmt.Errorf("message % x comes where number %d is due", msg, want)
	}
	return nil
}

func parseNumber(msg []byte) uint64 {
	if len(msg) < 8 {
		return 0
	}
	return binary.LittleEndian.Uint64(msg)
}

func number[T int | int64](n T) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(n)) }

func ping(ctx context.Context, a args, lab *line) error {
	p, c, err := a.ends(ctx)
	if err != nil {
		return err
	}
	other, err := a.watchConsumer(ctx, a.Ring)
	if err != nil {
		return err
	}
	lab.watched()
	var b bounce
	buf := make([]byte, 64)
	all := make(machine.Times, 0, a.Count)
	begin := time.Now()
	mark()
	for i := range a.Count {
		lab.step()
		if forced(i) {
			if err := other.await(); err != nil {
				return err
			}
		}
		sent := time.Now()
		if err := p.Send(ctx, number(i)); err != nil {
			return err
		}
		n, err := c.Receive(ctx, buf)
		if err != nil {
			return err
		}
		if err := due(buf[:n], i); err != nil {
			return err
		}
		took := time.Since(sent)
		all = append(all, took)
		b.Longest = max(b.Longest, took)
		if took > lateCycle {
			b.Late++
		}
	}
	mark()
	b.Took = time.Since(begin)
	b.Out, b.In = p.Stats(), c.Stats()
	if len(all) > 0 {
		b.Quick = []time.Duration{all.At(50), all.At(99)}
	}
	lab.send("done", b)
	lab.recv()
	return errors.Join(other.seg.Close(), c.Close(), p.Close())
}

func pong(ctx context.Context, a args, lab *line) error {
	p, c, err := a.ends(ctx)
	if err != nil {
		return err
	}
	other, err := a.watchConsumer(ctx, a.Ring)
	if err != nil {
		return err
	}
	lab.watched()
	buf := make([]byte, 64)
	mark()
	for i := range a.Count {
		lab.step()
		n, err := c.Receive(ctx, buf)
		if err != nil {
			return err
		}
		if err := due(buf[:n], i); err != nil {
			return err
		}
		if forced(i) {
			if err := other.await(); err != nil {
				return err
			}
		}
		if err := p.Send(ctx, buf[:n]); err != nil {
			return err
		}
	}
	mark()
	// The last message has to be counted as received by the time the lab is told.
	if _, err := c.TryReceive(buf); err != nil && !errors.Is(err, shmring.ErrEmpty) {
		return err
	}
	lab.send("done", bounce{Out: p.Stats(), In: c.Stats()})
	lab.recv()
	return errors.Join(other.seg.Close(), c.Close(), p.Close())
}

// usual is what a cycle takes at the median at most, without the time of a busy machine:
// less than what it takes if nobody is woken and sleeps only run out.
func (w way) usual() time.Duration {
	if w == byPoll {
		return 50 * time.Millisecond // naps
	}
	return 5 * time.Millisecond
}

func cycles(l *lab) {
	counts := map[string][2]int{
		"futex":  {1_000_002, 6000},
		"parked": {100_002, 2100},
		"sysv":   {100_002, 2100},
		"poll":   {2001, 99},
	}
	for _, w := range l.ways() {
		n := counts[w.name]
		if !l.pingPong(w, choose(l, n[0], n[1])/3*4) { // so many are forced
			return
		}
	}
}

func (l *lab) pingPong(w way, n int) bool {
	there, back := l.ring(), l.ring()
	a, ok := l.spawn(args{Role: "ping", Ring: there, Back: back, Way: w, Kind: shmring.KindSPSC, Count: n}, nil)
	if !ok {
		return false
	}
	b, ok := l.spawn(args{Role: "pong", Ring: back, Back: there, Way: w, Kind: shmring.KindSPSC, Count: n}, nil)
	if !ok {
		return false
	}
	begin := machine.Now()
	limit := labs.Patience + time.Duration(n)*10*time.Millisecond
	var one, other bounce
	if !a.expect("done", limit, &one) || !b.expect("done", labs.Patience, &other) {
		return false
	}
	_, owned := begin.Until(machine.Now())
	if !a.finish() || !b.finish() {
		return false
	}
	l.judgeCycles(w, n, one, other, owned)
	return true
}

// judgeCycles compares the counters of both sides with what they did.
func (l *lab) judgeCycles(w way, n int, one, other bounce, owned time.Duration) {
	r := l.r
	r.add("cycles", uint64(n))
	r.Note("%s: %d cycles in %.1f s, p50 %v, p99 %v, longest %v", w.name, n, one.Took.Seconds(), one.Quick[0],
		one.Quick[1], one.Longest)
	for _, s := range []struct {
		name           string
		sleeper, waker shmring.Stats // on one bell
		sleeps         bool
	}{
		{"ping's consumer", one.In, other.Out, true},
		{"pong's consumer", other.In, one.Out, true},
		{"ping's producer", one.Out, other.In, false},
		{"pong's producer", other.Out, one.In, false},
	} {
		k := s.sleeper
		r.add("sleeps", k.Sleeps)
		r.add("wakes", s.waker.Wakes)
		r.add("timeout wake-ups", k.TimeoutWakeups)
		if s.sleeps {
			r.Note("%s: %s: %d sleeps, %d wakes for it, %d spurious, %d timeout wake-ups", w.name, s.name, k.Sleeps,
				s.waker.Wakes, k.SpuriousWakeups, k.TimeoutWakeups)
		}
		if k.TimeoutWakeups != 0 {
			r.fault("%s: %s: %d sleeps that nobody ended", w.name, s.name, k.TimeoutWakeups)
		}
		if s.waker.Wakes > k.Sleeps {
			r.fault("%s: %s: %d sleeps and %d wakes for them", w.name, s.name, k.Sleeps, s.waker.Wakes)
		}
		if s.sleeps && k.Sleeps < uint64(n)/4*3 {
			r.fault("%s: %s: only %d sleeps in %d cycles: the mode does not test what it should", w.name, s.name, k.Sleeps, n)
		}
	}
	if one.Late > 0 {
		r.fault("%s: %d cycles took longer than %v, the longest %v", w.name, one.Late, lateCycle, one.Longest)
	}
	if each := owned / time.Duration(n); min(each, one.Quick[0]) > w.usual() {
		r.fault("%s: half of the cycles took longer than %v: sleeps are not ended, they run out", w.name, one.Quick[0])
	}
}
