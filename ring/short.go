package ring

import "github.com/shmring/shmring/layout"

// The short way of a message to the consumer. Most records are like the one before: of the same
// producer, as many slots, not seen before, nothing else due. What that takes is worked out
// once for many of them: one comparison with a control word, one with a position, one look at
// Meta; of an SPSC ring, where all that is in one word, two comparisons. All others go by peek.

// openShort finds how far the short way goes from here. The last record was one that
// passed all checks, and nothing of it is left.
func (c *Consumer) openShort() {
	switch {
	case c.batch.rest != nil || c.mayBeSeen(c.pos, c.span):
	case c.mpsc:
		c.openShortMPSC()
	default:
		c.openShortSPSC()
	}
}

// takeShort is what is done for each record that goes the short way before its bytes are handed
// out. Coming back acknowledges those before.
func (c *Consumer) takeShort(n int) {
	c.short.sender.add(n)
	c.pending++
	if !c.outstanding {
		c.acked = c.implicitAck
	}
}

// isBlank tells whether nothing is at a position, not even a claim that is on record.
func (c *Consumer) isBlank(pos uint64) bool {
	if !c.mpsc {
		return c.load(pos) == 0 // D2
	}
	return c.descAt(pos).Ctl.Load().Lap() != layout.LapOf(pos, c.shift) // D2
}

// isDry is the short way to ErrEmpty: nothing is next, there is nothing to tell, coming back
// releases nothing, and no chores are due.
func (c *Consumer) isDry() bool {
	switch {
	case c.batch.rest != nil, c.view.viewing, c.implicitAck != c.released, c.acked-c.looked >= c.flushAfter:
		return false
	case c.fates.more, c.hot.News.Load() != c.fates.news:
		return false
	case !c.isBlank(c.pos):
		return false
	}
	c.streak = 0
	c.turn()
	if c.endShort(); !c.outstanding { // else a release is something to be done
		c.openShort() // as in awaitMessage: what comes then need not go the long way
		c.short.dryAt = c.pos
	}
	return true
}
