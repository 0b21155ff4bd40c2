package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring"
)

// fateLanes is how many rounds are under way at one time: much of a round is waiting.
const fateLanes = 3

// fates kills producers and consumers at any instant, n in all, and judges what the
// consumers were told of streams.
func fates(l *lab, n int) {
	begin := time.Now()
	var sum fateSum
	var rounds atomic.Int64
	var all sync.WaitGroup
	for i := range fateLanes {
		rng := rand.New(rand.NewPCG(l.Seed, uint64(i+1)))
		all.Go(func() {
			for l.kills() < n && !l.enough(begin) {
				if !l.fateRound(&sum, int(rounds.Add(1)-1), rng) {
					return
				}
			}
		})
	}
	all.Wait()
	sum.note(l, begin)
}

// kills is how many there were.
func (l *lab) kills() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Kills
}

// ways are what consumers may be, in turn.
var ways = []int{0, toldPolls, 2 << toldExpects, toldLossy, toldReceives, 3<<toldExpects | toldPolls,
	toldLossy | 2<<toldExpects, 1 << toldExpects}

// free is a round of mode fates.
type free struct {
	*round
	left atomic.Int64 // producers to kill
	gone atomic.Int64 // producers that are
	bad  atomic.Bool  // something went wrong: come to an end
}

func (l *lab) fateRound(sum *fateSum, i int, rng *rand.Rand) bool {
	kind := []shmring.Kind{shmring.KindSPSC, shmring.KindMPSC}[i%2]
	number := ways[i/2%len(ways)]
	rings, producers := 1, 1
	if number&toldPolls != 0 {
		rings = 2
	}
	if kind == shmring.KindMPSC {
		producers = 3
	}
	r, ok := l.newRound(sum, fmt.Sprintf("round %d", i), kind, rings, producers+1, number, rng)
	if !ok {
		return false
	}
	d := &free{round: r}
	d.left.Store(int64(10 + rng.IntN(40)))
	var all sync.WaitGroup
	done := make(chan struct{})
	for i := range rings * producers {
		own := rand.New(rand.NewPCG(rng.Uint64(), 0))
		all.Go(func() { d.authors(i/producers, uint32(i+1), own) })
	}
	go func() {
		all.Wait()
		close(done)
	}()
	own := rand.New(rand.NewPCG(rng.Uint64(), 0))
	d.audiences(own, done)
	<-done
	ok = !d.bad.Load() && d.last()
	return d.end(ok)
}

// authors are one producer after the other. The last may leave in peace.
func (d *free) authors(ring int, lane uint32, rng *rand.Rand) {
	for life := uint32(1); ; life++ {
		c, ok := d.spawn("streams", d.rings[ring], lane, life)
		if !ok {
			d.bad.Store(true)
			return
		}
		last := d.left.Add(-1) < 0 || d.bad.Load() || d.l.over()
		time.Sleep(time.Duration(rng.IntN([]int{1, 300, 3000}[rng.IntN(3)])) * time.Microsecond)
		var killed int64
		if rng.IntN(6) != 0 && !(last && rng.IntN(2) == 0) {
			killed = monotonic()
			c.kill()
		} else if !c.dismiss(1, nil) {
			d.bad.Store(true)
		} else {
			c.accuse()
		}
		d.wrote(ring, c.streams(c.j.all(), killed))
		c.forget()
		if d.gone.Add(1); last {
			return
		}
	}
}

// audiences are one consumer after the other, and times without any, until all producers
// are over.
func (d *free) audiences(rng *rand.Rand, done <-chan struct{}) {
	over := func() bool {
		select {
		case <-done:
			return true
		default:
			return d.bad.Load() || d.l.over()
		}
	}
	for life := uint32(1); !over(); life++ {
		if rng.IntN(4) == 0 {
			for until := d.gone.Load() + int64(rng.IntN(60)); d.gone.Load() < until && !over(); {
				time.Sleep(time.Millisecond)
			}
		}
		c, ok := d.comes(life)
		if !ok {
			d.bad.Store(true)
			return
		}
		for end := time.Now().Add(time.Duration(rng.IntN(6000)) * time.Microsecond); time.Now().Before(end); {
			d.hears(c)
			time.Sleep(200 * time.Microsecond)
		}
		d.goes(c, rng.IntN(4) != 0)
	}
}

// comes is the next consumer.
func (d *free) comes(life uint32) (*child, bool) {
	c, ok := d.spawn("told", strings.Join(d.rings, " "), 0, life)
	if ok {
		d.listens()
	}
	return c, ok
}

// goes ends a consumer.
func (d *free) goes(c *child, kill bool) {
	if kill {
		c.kill()
	} else if !c.dismiss(1, func() { d.hears(c) }) {
		d.bad.Store(true)
	} else {
		c.accuse()
	}
	d.hears(c)
	c.forget()
}

// last is the consumer that must be told whatever there is to tell.
func (d *free) last() bool {
	c, ok := d.comes(1 << 20)
	if !ok {
		return false
	}
	ok = d.satisfied(func() bool {
		d.hears(c)
		return true
	})
	d.goes(c, false)
	return ok && !d.bad.Load()
}
