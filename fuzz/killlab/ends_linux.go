package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/shmring/shmring"
)

const fateFailed = shmring.FateFailed

// staging has producers and consumers do what chance says, one after the other, and kills them
// between any two calls, n of them in all. Nothing in it depends on time.
func staging(l *lab, n int) {
	begin := time.Now()
	var sum fateSum
	for i := 0; l.kills() < n && !l.enough(begin); i++ {
		kind := []shmring.Kind{shmring.KindSPSC, shmring.KindMPSC}[i%2]
		plot := endPlots[i/2%len(endPlots)]
		number := ways[l.Rand.IntN(len(ways))]
		if plot.number != nil {
			number = plot.number[l.Rand.IntN(len(plot.number))]
		}
		rng := rand.New(rand.NewPCG(l.Rand.Uint64(), uint64(i)))
		r, ok := l.newRound(&sum, fmt.Sprintf("round %d, %s", i, plot.name), kind, 1, 40, number, rng)
		if !ok {
			return
		}
		t := &staged{round: r}
		ok = plot.run(t) && t.quiet()
		if !t.off() || !t.end(ok) {
			return
		}
	}
	sum.note(l, begin)
	l.r.Note("%d consumers changed before they had heard all, %d rings recovered, %d forgotten handles", sum.changed,
		sum.recovered, sum.forgotten)
}

var endPlots = []struct {
	name   string
	number []int // what consumers may be; nil: anything
	run    func(*staged) bool
}{
	{"walk", nil, (*staged).walk},
	{"crash loop", nil, (*staged).loop},
	{"batches", []int{1 << toldExpects, 2 << toldExpects, 3 << toldExpects, 4<<toldExpects | toldPolls,
		2<<toldExpects | toldLossy}, (*staged).batches},
	{"nobody comes", []int{0, toldPolls, toldReceives}, (*staged).alone},
	{"forgotten", nil, (*staged).forgotten},
}

// staged is a round of mode ends.
type staged struct {
	*round
	lane    uint32
	life    uint32 // of consumers
	authors []*player
	c       *player // the consumer, or nil
}

// player is a child that does what it is ordered to.
type player struct {
	*child
	n      uint64
	waits  bool // the last order may not have an end yet
	claims bool
	holds  int
	gone   bool // its handle is forgotten
}

// tell orders something and does not wait until it is done.
func (p *player) tell(order uint64) {
	p.n++
	p.j.Put(where, order)
	p.j.Set(command, p.n)
}

// order orders something and waits until it is done.
func (t *staged) order(p *player, order uint64) bool {
	p.tell(order)
	p.waits = false
	return t.done(p)
}

func (t *staged) done(p *player) bool {
	ok := t.l.reach(p.child, running+p.n)
	if p == t.c {
		t.hears(p.child)
	}
	if !ok {
		t.l.r.Problem("%s: that was order %d, due are %v", t.what, p.j.Get(where), t.due())
	}
	return ok
}

// arrives is a producer with a stream.
func (t *staged) arrives(keep bool) (*player, bool) {
	t.lane++
	c, ok := t.spawn("author", t.rings[0], t.lane, 1)
	if !ok {
		return nil, false
	}
	p := &player{child: c}
	t.authors = append(t.authors, p)
	order := uint64(orderAttach)
	if keep {
		order = orderAttachToLeave
	}
	return p, t.order(p, order)
}

// sends sends some messages.
func (t *staged) sends(p *player, n int) bool {
	for range n {
		if !t.order(p, orderSend) {
			return false
		}
	}
	return true
}

// dies kills a producer.
func (t *staged) dies(p *player) bool {
	killed := monotonic()
	p.kill()
	return t.forgets(p, killed)
}

// leaves closes a producer and ends its process.
func (t *staged) leaves(p *player) bool {
	if p.gone || !t.order(p, orderClose) {
		return false
	}
	p.Kill()
	return t.forgets(p, 0)
}

// forgets takes over what a producer has written.
func (t *staged) forgets(p *player, killed int64) bool {
	t.wrote(0, p.streams(p.j.all(), killed))
	p.forget()
	for i, o := range t.authors {
		if o == p {
			t.authors = append(t.authors[:i], t.authors[i+1:]...)
			break
		}
	}
	return true
}

// goes ends a producer somehow.
func (t *staged) goes(p *player) bool {
	if p.waits || p.gone {
		return t.dies(p)
	}
	switch t.rng.IntN(8) {
	case 0:
		return t.order(p, orderFail) && t.leaves(p)
	case 1:
		return t.order(p, orderEnd) && t.dies(p)
	case 2, 3:
		return t.leaves(p)
	}
	return t.dies(p)
}

// listensNow sees to it that there is a consumer.
func (t *staged) listensNow() bool {
	if t.c != nil {
		return true
	}
	t.life++
	c, ok := t.spawn("audience", t.rings[0], 0, t.life)
	if !ok {
		return false
	}
	t.c = &player{child: c}
	t.listens()
	return t.order(t.c, orderAttach)
}

// changes ends the consumer, by death mostly.
func (t *staged) changes() bool {
	if t.c == nil {
		return true
	}
	if len(t.due()) > 0 {
		t.sum.changed++
	}
	if !t.c.gone && !t.c.waits && t.rng.IntN(4) == 0 {
		if !t.order(t.c, orderClose) {
			return false
		}
		t.c.Kill()
	} else {
		t.c.kill()
	}
	t.hears(t.c.child)
	t.c.forget()
	t.c = nil
	return true
}

// calls lets the consumer make one call.
func (t *staged) calls() bool {
	if !t.listensNow() {
		return false
	}
	c := t.c
	if c.gone {
		return t.changes()
	}
	if t.number&toldReceives != 0 {
		return t.order(c, []uint64{orderReceive, orderReceive, orderCheck}[t.rng.IntN(3)])
	}
	switch n := t.rng.IntN(6); {
	case c.holds > 0 && n < 2:
		c.holds = 0
		return t.order(c, orderRelease)
	case n < 3 && t.number&toldLossy == 0:
		c.holds++
		return t.order(c, orderNext)
	case n == 3:
		return t.order(c, orderCheck)
	}
	return t.order(c, orderDrain)
}

// quiet lets everybody go and wants the consumer to be told all there is.
func (t *staged) quiet() bool {
	for len(t.authors) > 0 {
		if !t.goes(t.authors[0]) {
			return false
		}
	}
	if t.c != nil && t.c.gone && !t.changes() || !t.listensNow() {
		return false
	}
	if t.c.holds > 0 && !t.order(t.c, orderRelease) {
		return false
	}
	t.c.holds = 0
	receive := uint64(orderDrain)
	if t.number&toldReceives != 0 {
		receive = orderReceive
	}
	return t.satisfied(func() bool { return t.order(t.c, orderCheck) && t.order(t.c, receive) })
}

// off ends what is left of the children.
func (t *staged) off() bool {
	for len(t.authors) > 0 {
		t.authors[0].Kill()
		t.forgets(t.authors[0], monotonic())
	}
	return t.changes()
}

// recovers calls Recover, if nobody uses the ring.
func (t *staged) recovers() bool {
	if t.c != nil || len(t.authors) > 0 {
		return true
	}
	t.sum.recovered++
	_, err := shmring.Recover(context.Background(), t.rings[0], &shmring.AdminOptions{Dir: t.l.Rings})
	return t.l.must(err)
}

// refused makes sure that a consumer that has forgotten its handle keeps its role.
func (t *staged) refused() bool {
	c, err := shmring.OpenConsumer(t.l.Ctx, t.rings[0], &shmring.Options{Dir: t.l.Rings, Mode: shmring.ModeOpenOnly})
	if err == nil {
		_ = c.Close()
	}
	if !errors.Is(err, shmring.ErrBusy) {
		t.l.fault(&t.l.r.Wrong, "%s: a consumer that has forgotten its handle has lost its role: %v", t.what, err)
		return false
	}
	return true
}
