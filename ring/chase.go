package ring

import "github.com/shmring/shmring/internal/spin"

// chase notices a consumer at the heels of its producer, which takes each record from
// under the producer's hands: for every record, and for every look that came too early,
// the line changes hands, and the lines of the payload with it. It is cheaper to leave the
// ring alone for a moment and let some gather. Whether some do decides if that is done
// again, so replies, which come one at a time, are not kept waiting.
type chase struct {
	caught uint64 // position at which the ring was empty last
	score  int    // how often in a row the next record came at once; below 0: no lull until then
	lulled bool   // before the records behind caught
}

const (
	chaseAfter = 32       // so many in a row are a chase
	chaseFew   = 4        // a lull that lets fewer records gather was none for this stream
	chaseAgain = -1 << 12 // which is not tried again for so many
	chaseLooks = 4        // to come at once is to be there at one of so many looks
	chaseLull  = 128      // PAUSEs; two or three microseconds
)

// empty is called when the ring is empty at pos. It reports whether to leave it alone now.
func (h *chase) empty(pos uint64) (lull bool) {
	if h.lulled && pos-h.caught < chaseFew {
		h.score = chaseAgain
	}
	h.caught = pos
	h.lulled = h.score >= chaseAfter
	return h.lulled
}

// next tells whether the record behind that came at once.
func (h *chase) next(atOnce bool) {
	if atOnce {
		h.score++
	} else {
		h.score = min(h.score, 0)
	}
}

// soon waits for a record that comes at once.
func (c *Consumer) soon() bool {
	if c.chase.empty(c.pos) {
		for range chaseLull {
			spin.Pause()
		}
	}
	for range chaseLooks {
		if c.ready() {
			c.chase.next(true)
			return true
		}
		spin.Pause()
	}
	c.chase.next(false)
	return false
}
