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
