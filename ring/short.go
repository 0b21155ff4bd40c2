package ring

import (
	"sync/atomic"

	"github.com/shmring/shmring/layout"
)

// The short way of a message to the consumer. Most records are like the one before: of the same
// producer, as many slots, not seen before, nothing else due. What that takes is worked out
// once for many of them: one comparison with a control word, one with a position, one look at
// Meta. All others go by peek.

// openShort finds how far the short way goes from here. The last record was one that
// passed all checks, and nothing of it is left.
func (c *Consumer) openShort() {
	s, pos := &c.short, c.pos
	if c.batch.rest != nil || c.mayBeSeen(pos, c.slots.count) {
		return
	}
	s.slots = c.usual.Slots()
	from := c.usual.Owner()
	s.word = c.usual.In(layout.LapOf(pos, c.shift))
	s.sender, s.about = &c.received[from], describe(0, from, false)
	s.most = min(max(uint64(c.oneSlot), s.slots*c.slotSize), uint64(c.maxMessage), copyPiece)
	// Signed: we may be behind each of these.
	room := min(int64(c.slots.count-pos&c.mask), int64(c.mark-pos))
	s.until = s.end(pos, min(room, int64(c.looked+c.flushAfter-pos)))
	s.drain = s.end(pos, min(room, int64(c.released+c.flushAfter-pos)))
}

// end is the position behind the last at which a record begins that ends within room slots.
func (s *short) end(pos uint64, room int64) uint64 {
	if room < int64(s.slots) {
		return pos
	}
	return pos + uint64(room) - s.slots + 1
}

// matches looks whether the record of a descriptor is like the last, and returns its Meta.
func (s *short) matches(d *layout.Descriptor) (meta uint64, ok bool) {
	if d.Ctl.Load() != s.word { // D2
		return 0, false
	}
	meta = atomic.LoadUint64(&d.Meta) // once: a peer may rewrite it
	return meta, meta>>48 == 0 && uint64(uint32(meta)) <= s.most
}

// takeShort is what is done for each record that goes the short way before its bytes are handed
// out. Coming back acknowledges those before.
func (c *Consumer) takeShort(d *layout.Descriptor, meta uint64) {
	c.hold(d, meta)
	c.short.sender.add(int(uint32(meta)))
	c.pending++
	if !c.outstanding {
		c.acked = c.implicitAck
	}
}

// isDry is the short way to ErrEmpty: nothing is next, there is nothing to tell, coming back
// releases nothing, and no chores are due.
func (c *Consumer) isDry() bool {
	switch {
	case c.batch.rest != nil, c.implicitAck != c.released, c.acked-c.looked >= c.flushAfter:
		return false
	case c.fates.more, c.hot.News.Load() != c.fates.news:
		return false
	case c.descAt(c.pos).Ctl.Load().Lap() == layout.LapOf(c.pos, c.shift): // D2
		return false
	}
	c.streak = 0
	c.endShort()
	return true
}
