package ring

import "github.com/shmring/shmring/layout"

// How the consumer of an SPSC ring finds the next record: behind the one before, by its word. See
// read_mpsc.go for its twin.

// fromSPSC is the participant that the messages of an SPSC ring are from.
const fromSPSC = layout.ConsumerIndex + 1

// peekSPSC is peek. The word behind what was found published is 0, or that of the next record (Z).
func (c *Consumer) peekSPSC(m *found) error {
	if c.batch.rest != nil { // said
		c.comeBack()
	}
	for left := c.patience; left >= 0; left-- { // a peer that feeds us skips keeps us no longer
		pos := c.pos
		w := c.load(pos) // D2; once: a peer may rewrite it
		if w == 0 {
			return c.nothingNext()
		}
		end, ok := c.area.check(pos, w)
		n := w.Length()
		if !ok || n > uint64(c.maxMessage) && w&layout.RecordSkip == 0 {
			return c.corrupt("word of a record", pos, uint64(w))
		}
		if w&layout.RecordSkip != 0 {
			c.skip(end - pos)
			continue
		}
		if w&layout.RecordFirst != 0 {
			if err := c.tellBefore(); err != nil {
				return err
			}
		}
		again := c.mayBeSeen(pos, c.span)
		if again && c.cfg.AtMostOnce {
			c.dropSeen(end-pos, 1)
			continue
		}
		if int64(end-c.mark) > 0 {
			// Before anybody sees it, as in peekMPSC.
			ahead := min(end+c.markAhead-c.released, c.span)
			c.setMark(c.released + max(ahead, end-c.released))
		}
		c.short.like, c.short.align = w.Plain().Like(), w.Mask()
		c.short.about = describe(fromSPSC, false) | alignment(w)
		m.data, m.start, m.end, m.index = c.body(pos, n), pos, end, 0
		m.about = describe(fromSPSC, again) | about(w.Kind())<<aboutKind | alignment(w)
		return nil
	}
	return ErrEmpty
}

// alignment is what about says of the place of the next record.
func alignment(w layout.Record) about {
	if w.Mask() == layout.RecordAlign-1 {
		return 0
	}
	return inLines
}

// openShortSPSC is openShort. Signed: we may be behind each of these.
func (c *Consumer) openShortSPSC() {
	s, pos := &c.short, c.pos
	room := min(int64(c.size-pos&c.inLap), int64(c.mark-pos))
	s.until = pos + uint64(max(0, min(room, int64(c.looked+c.flushAfter-pos))))
	s.drain = pos + uint64(max(0, min(room, int64(c.released+c.flushAfter-pos))))
}

// admits looks whether the record of a word is like the last, and ends at most there. A word that
// is not has any end.
func (s *short) admits(w layout.Record, end, upto uint64) bool {
	return w.Like() == s.like && int64(upto-end) >= 0 && w.Length() <= s.most
}
