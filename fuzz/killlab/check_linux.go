package main

import "github.com/shmring/shmring"

// entry is one message as a consumer saw it.
type entry struct {
	at     int64 // monotonic nanoseconds
	source source
	seq    uint64
	record uint64
	index  uint32
	flags  uint32
}

const (
	entryRedelivered uint32 = 1 << iota // marked as redelivered
	entryTorn                           // checksum or length wrong
)

// checker looks at everything that consumers handled, in the order in which they did.
type checker struct {
	r     *result
	lanes map[uint32]*lane
	last  shmring.Position // newest handled: what a consumer with a position filter stores
	any   bool
	bound uint64 // how many messages may come again after one death of a consumer
	again uint64 // how many did since the last
}

// lane is one succession of producers.
type lane struct {
	life uint32
	next uint64            // number that is due in this life
	came map[uint32]uint64 // by life: how many came
}

func newChecker(r *result, bound uint64) *checker {
	return &checker{r: r, lanes: map[uint32]*lane{}, bound: bound}
}

// consumerDied: from here on messages may come again.
func (c *checker) consumerDied() { c.again = 0 }

func (c *checker) lane(id uint32) *lane {
	l := c.lanes[id]
	if l == nil {
		l = &lane{came: map[uint32]uint64{}}
		c.lanes[id] = l
	}
	return l
}

// handled is one message that was handled, in the order of one consumer's life after
// the other.
func (c *checker) handled(e entry) {
	r := c.r
	if e.flags&entryTorn != 0 {
		r.fault(&r.Torn, "torn message at position %d.%d", e.record, e.index)
		return
	}
	at := shmring.Position{Record: e.record, Index: e.index}
	if c.any && at.Compare(c.last) <= 0 {
		c.again++
		switch {
		case e.flags&entryRedelivered == 0:
			r.fault(&r.Duplicated, "position %v came again after %v without a mark", at, c.last)
		case c.again > c.bound:
			r.fault(&r.Duplicated, "position %v came again: the %dth since the consumer died, more than %d", at, c.again,
				c.bound)
		default:
			r.Repeated++
		}
		return // the position filter
	}
	c.last, c.any = at, true
	l := c.lane(e.source.lane)
	if e.source.life > l.life {
		l.life, l.next = e.source.life, 0
	}
	switch {
	case e.source.life < l.life:
		r.fault(&r.Disordered, "lane %d: life %d comes after life %d", e.source.lane, e.source.life, l.life)
	case e.seq < l.next && e.seq < l.came[l.life]:
		r.fault(&r.Duplicated, "lane %d life %d: number %d came twice, under different positions", e.source.lane, l.life,
			e.seq)
	case e.seq != l.next:
		r.fault(&r.Disordered, "lane %d life %d: number %d comes where %d is due", e.source.lane, l.life, e.seq, l.next)
		l.next = e.seq + 1
	default:
		l.next++
		l.came[l.life]++
		r.Delivered++
	}
}

// life compares what came of one life with what its journal says. It is asked when
// everything that life sent must have been handled.
func (c *checker) life(who source, tried, sent uint64) {
	r := c.r
	came := c.lane(who.lane).came[who.life]
	switch {
	case came < sent:
		r.fault(&r.Lost, "lane %d life %d: %d sends returned, %d messages came", who.lane, who.life, sent, came)
		r.Lost += sent - came - 1
	case came > tried:
		r.fault(&r.Duplicated, "lane %d life %d: %d messages came of %d that it ever tried to send", who.lane, who.life,
			came, tried)
	}
}
