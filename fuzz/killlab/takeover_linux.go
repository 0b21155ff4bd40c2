package main

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
)

// takeover runs n contests on each kind of ring: the holders of roles die or leave, and
// several successors compete for what becomes free.
func takeover(l *lab, n int) {
	for _, kind := range []shmring.Kind{shmring.KindSPSC, shmring.KindMPSC} {
		begin, kills := time.Now(), l.r.Kills
		var sum contestSum
		for i := range n {
			if l.over() {
				return
			}
			d := &contest{l: l, kind: kind, plot: plots[i%len(plots)], sum: &sum, name: fmt.Sprintf("contest%d", l.names.Add(1))}
			d.run()
			d.retire()
		}
		l.r.Note("%s: %d rounds, %d kills, %d handovers, %d refusals, %d took over, %d recovered, %d messages again of "+
			"batches in which a consumer left, in %.1f s",
			kind, n, l.r.Kills-kills, sum.handovers, sum.refusals, sum.tookOver, sum.recovered, sum.halfBatch,
			time.Since(begin).Seconds())
	}
}

// contestSum is what happened in all rounds, so that nobody takes an experiment in which
// nothing did for a good sign.
type contestSum struct{ handovers, refusals, tookOver, recovered, halfBatch int }

// plot is who goes first, and how.
type plot struct {
	consumer, producer bool // whose successors compete
	leave              bool // they leave, and are not killed
	everybody          bool // all producers, and the consumer
}

var plots = []plot{
	{consumer: true},
	{producer: true},
	{consumer: true, producer: true},
	{consumer: true, producer: true, everybody: true},
	{consumer: true, leave: true},
	{producer: true, leave: true},
}

// contestProducers is how many producers the ring of a contest has room for.
func contestProducers(kind shmring.Kind) int {
	if kind == shmring.KindMPSC {
		return 2
	}
	return 1
}

func contestOptions(kind shmring.Kind) *shmring.Options {
	return &shmring.Options{Kind: kind, Slots: 64, SlotSize: 128, MaxMessage: 2000, MaxProducers: contestProducers(kind)}
}

// contest is one round, on a ring of its own.
type contest struct {
	l    *lab
	kind shmring.Kind
	plot plot
	sum  *contestSum
	name string
	all  []*contender
	dead int64 // when the last of the first holders was dead
}

// contender is a child that has, had, or wants a role.
type contender struct {
	*child
	consumer bool
	waits    bool
	solo     bool  // opened when everybody was dead, and nobody else did
	gone     bool  // told to leave, refused, or killed
	end      int64 // when the kill was sent; 0: it was not killed
}

// enter starts a child that waits for the word to open.
func (d *contest) enter(number int) *contender {
	a := args{Role: "hold", Ring: d.name, Kind: d.kind, Lane: uint32(len(d.all) + 1), Life: 1, Seed: d.l.Rand.Uint64(),
		Number: number}
	c, err := d.l.spawn(a, nil)
	if !d.l.must(err) {
		return nil
	}
	m := &contender{child: c, consumer: number&holdConsumer != 0, waits: number&holdWaits != 0}
	d.all = append(d.all, m)
	return m
}

// holds starts a child and waits until it has its role.
func (d *contest) holds(number int) *contender {
	m := d.enter(number)
	if m == nil {
		return nil
	}
	m.j.Set(command, holdGo)
	if !d.l.reach(m.child, attached) {
		return nil
	}
	return m
}

func (d *contest) run() {
	l := d.l
	var first []*contender // those to go
	for i := range contestProducers(d.kind) {
		m := d.holds(holdCreates)
		if m == nil {
			return
		}
		if d.plot.producer && (i == 0 || d.plot.everybody) {
			first = append(first, m)
		}
	}
	c := d.holds(holdConsumer)
	if c == nil {
		return
	}
	if d.plot.consumer {
		first = append(first, c)
	}
	// Somebody without labs.Patience, while all roles are taken.
	for _, number := range d.wanted(0) {
		if m := d.holdsNot(number); !m {
			return
		}
	}
	var next []*contender
	for _, number := range d.wanted(holdWaits) {
		next = append(next, d.enter(number), d.enter(number), d.enter(number&^holdWaits))
	}
	for _, m := range next {
		if m == nil || !l.reach(m.child, running) {
			return
		}
	}
	l.Rand.Shuffle(len(next), func(i, j int) { next[i], next[j] = next[j], next[i] })
	early := d.plot.leave || l.Rand.IntN(2) == 0
	d.begin(next, early)
	time.Sleep(randomDelay(l.Rand))
	// A consumer that is stopped is alive, and does not spare the successor of a producer
	// what was on its way.
	frozen := !d.plot.consumer && l.Rand.IntN(4) > 0
	if frozen {
		c.Signal(unix.SIGSTOP)
		if d.kind == shmring.KindSPSC {
			time.Sleep(time.Duration(l.Rand.IntN(100)) * time.Microsecond) // something is to be on its way
		} // of an MPSC ring the producer is to die inside a claim, not while it waits for room
	}
	if !d.depart(first) {
		return
	}
	if d.plot.everybody && !early && !d.alone(next) {
		return
	}
	for _, m := range next {
		if m.j.Get(command) == 0 {
			m.j.Set(command, holdGo)
		}
	}
	if frozen {
		d.thaw(c)
	}
	d.roll()
}

// begin lets those go who come early, and those work who created the ring.
func (d *contest) begin(next []*contender, early bool) {
	for _, m := range next {
		if early && m.waits {
			m.j.Set(command, holdGo)
		}
	}
	for _, m := range d.all {
		if m.args.Number&holdCreates != 0 {
			m.j.Set(command, holdWork)
		}
	}
}

// thaw wakes the consumer when the successors of the producer have tried to attach; of
// an MPSC ring they may have to wait for it.
func (d *contest) thaw(c *contender) {
	end := time.Now().Add(thawAfter)
	for time.Now().Before(end) {
		if m, _, _ := d.holder(false); m != nil && d.kind == shmring.KindSPSC {
			break
		}
		time.Sleep(time.Millisecond)
	}
	c.Signal(unix.SIGCONT)
}

// thawAfter is longer than the pauses of WaitForRole.
const thawAfter = 40 * time.Millisecond

// wanted are the roles that successors compete for.
func (d *contest) wanted(flags int) []int {
	var list []int
	if d.plot.consumer {
		list = append(list, holdConsumer|flags)
	}
	if d.plot.producer {
		list = append(list, flags)
	}
	return list
}

// holdsNot starts a child that is to be refused.
func (d *contest) holdsNot(number int) bool {
	m := d.enter(number)
	if m == nil {
		return false
	}
	m.j.Set(command, holdGo)
	m.gone = true
	if !m.Ended(labs.Patience, nil) {
		d.l.fault(&d.l.r.Stuck, "nobody refuses or admits one who wants a role that is taken")
		return false
	}
	return true
}

// depart ends the first holders: all signals are sent before any of them is dead.
func (d *contest) depart(first []*contender) bool {
	if d.plot.leave {
		for _, m := range first {
			if !d.leave(m, holdLeave) {
				return false
			}
		}
		return true
	}
	d.l.Rand.Shuffle(len(first), func(i, j int) { first[i], first[j] = first[j], first[i] })
	for _, m := range first {
		m.end, m.gone = monotonic(), true
		m.Signal(unix.SIGKILL)
	}
	for _, m := range first {
		m.kill()
	}
	d.dead = monotonic()
	return true
}

// alone lets one open while nobody else does: a consumer, because a producer of an MPSC
// ring may have to wait for one.
func (d *contest) alone(next []*contender) bool {
	for _, m := range next {
		if m.consumer {
			m.solo = true
			m.j.Set(command, holdGo)
			return d.l.reach(m.child, attached)
		}
	}
	return true
}

func (d *contest) leave(m *contender, how uint64) bool {
	m.gone = true
	return m.dismiss(how, nil)
}

// holder returns somebody who has a role now, and how many others wait for it. Those
// without labs.Patience count as nobody, but must have their answer.
func (d *contest) holder(consumer bool) (m *contender, waiting int, answered bool) {
	answered = true
	for _, o := range d.all {
		if o.consumer != consumer || o.gone {
			continue
		}
		switch o.j.Get(phase) {
		case attached:
			m = o
		case running:
			if o.waits {
				waiting++
			} else {
				answered = false
			}
		}
	}
	return m, waiting, answered
}

// heard reports whether any consumer has had a message of a producer's.
func (d *contest) heard(m *contender) bool {
	for _, o := range d.all {
		if o.consumer && o.j.heard(m.args.Lane) {
			return true
		}
	}
	return false
}

// roll has every successor hold its role once: the holder leaves or is killed, until
// nobody waits any more. In the end producers leave, and the consumer when the ring is
// empty.
func (d *contest) roll() {
	l := d.l
	for _, consumer := range []bool{true, false} {
		for {
			var m *contender
			waiting := 0
			if !l.until(fmt.Sprintf("%s: somebody takes the free role (consumer: %v; %+v)", d.kind, consumer, d.plot),
				func() bool {
					var answered bool
					m, waiting, answered = d.holder(consumer)
					return m != nil && (waiting > 0 || answered)
				}) {
				return
			}
			// What the dead have left must not keep the consumer from it while it lives.
			if !consumer && !l.until(d.kind.String()+": the consumer hears a producer", func() bool { return d.heard(m) }) {
				return
			}
			if waiting == 0 {
				break
			}
			time.Sleep(randomDelay(l.Rand) / 4)
			if !d.plot.leave && l.Rand.IntN(3) == 0 {
				m.end, m.gone = monotonic(), true
				m.kill()
			} else if !d.leave(m, holdLeave) {
				return
			}
		}
	}
	for _, how := range []uint64{holdLeave, holdEmpty} {
		for _, m := range d.all {
			if !m.gone && m.consumer == (how == holdEmpty) && !d.leave(m, how) {
				return
			}
		}
	}
}
