package ring

import (
	"sync/atomic"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// How the consumer of an MPSC ring finds the next record: in slots, each with a descriptor. See
// read_spsc.go for its twin.

// peekMPSC is peek. It is the walk over records written out once more, because each message
// passes here; see slots.records for the other one.
func (c *Consumer) peekMPSC(m *found) error {
	if c.batch.rest != nil {
		return c.peekEntry(m)
	}
	for left := c.patience; left >= 0; left-- { // a peer that feeds us discarded records keeps us no longer
		pos := c.pos
		i := pos & c.mask
		d := &c.desc[i]
		v := d.Ctl.Load() // D2
		if v.Lap() != layout.LapOf(pos, c.shift) {
			return c.nothingNext()
		}
		k, from := v.Slots(), v.Owner()
		if v.InAnyLap() != c.usual || i+k > c.slots.count {
			var err error
			if k, err = c.checkCtl(v); err != nil {
				return err
			}
			if k == 0 {
				continue
			}
		}
		meta := atomic.LoadUint64(&d.Meta) // once: a peer may rewrite it
		c.hold(d, meta)
		length, kind, flags := layout.UnpackMeta(meta)
		n := uint64(length)
		if n > uint64(c.oneSlot) && n > k*c.slotSize || n > uint64(c.maxMessage) && flags&layout.FlagBatch == 0 {
			return c.corrupt("record length", pos, n)
		}
		if flags != 0 {
			if err := c.checkFlags(flags, n); err != nil {
				return err
			}
		}
		again := c.mayBeSeen(pos, c.slots.count)
		if again && c.cfg.AtMostOnce {
			c.dropSeen(k, c.messagesOf(pos, n, flags))
			continue
		}
		if end := pos + k; int64(end-c.mark) > 0 {
			// Before anybody sees it. A mark farther than a ringful is garbage, and so is an end:
			// then a peer lies.
			ahead := min(end+c.markAhead-c.released, c.slots.count)
			c.setMark(c.released + max(ahead, end-c.released))
		}
		data := c.bytes(pos, int(n))
		if flags&layout.FlagBatch != 0 {
			c.batch = batch{rest: data, start: pos, end: pos + k, from: from}
			return c.peekEntry(m)
		}
		// Field by field: a literal would be built beside m and copied over in wider pieces
		// than it was written in, which costs more than all the rest of this function.
		m.data, m.start, m.end, m.index = data, pos, pos+k, 0
		m.about = describe(from, again) | about(kind)<<aboutKind
		return nil
	}
	return ErrEmpty
}

// hold takes a descriptor's line away from the producer, if that is worth it: see streak. meta is
// what the line holds. It is ours until ReadPos passes it.
func (r *reader) hold(d *layout.Descriptor, meta uint64) {
	if r.streak++; r.streak > 2 {
		d.Meta = meta
		killpoint.At(killpoint.MetaRewritten)
	}
}

// fetchLines is how many lines of descriptors are asked for at a time, a power of two.
const fetchLines = 4

// fetchSoon asks for the lines to come, now and then, behind hold on the short ways.
func (r *reader) fetchSoon(d *layout.Descriptor) {
	if r.streak&(fetchLines-1) == 0 {
		fetchNext(d)
	}
}

// checkCtl is peekMPSC's look at a control word of this lap that is not the usual one. It returns
// the length of the record, or 0 if it has passed one that holds nothing for the user.
func (c *Consumer) checkCtl(v layout.Ctl) (k uint64, err error) {
	if v.State() < layout.Committed {
		return 0, c.nothingNext()
	}
	pos := c.pos
	if k = v.Slots(); k == 0 || pos&c.mask+k > c.slots.count {
		return 0, c.corrupt("record length in slots", pos, k)
	}
	if v.State() == layout.Discarded {
		if c.mpsc {
			c.noteRevocation(pos, v)
		}
		c.skip(k)
		return 0, nil
	}
	if from := v.Owner(); from == layout.ConsumerIndex || int(from) >= len(c.participants) {
		return 0, c.corrupt("record owner", pos, uint64(from))
	}
	c.usual = v.InAnyLap()
	return k, nil
}

// checkFlags is peekMPSC's look at a record that is not just a message. In front of the first
// record of a stream it tells of those that were over before.
func (c *Consumer) checkFlags(flags uint8, n uint64) error {
	switch {
	case flags&^layout.KnownFlags != 0:
		return c.corrupt("record flags", c.pos, uint64(flags))
	case flags&layout.FlagBatch != 0 && (n == 0 || n > layout.MaxBatch):
		return c.corrupt("batch length", c.pos, n)
	case flags&layout.FlagFirst == 0:
		return nil
	}
	return c.tellBefore()
}

// peekEntry is peekMPSC inside a batch.
func (c *Consumer) peekEntry(m *found) error {
	b := &c.batch
	if len(b.rest) == 0 { // said
		c.comeBack()
		return c.peekMPSC(m)
	}
	n, kind, ok := b.entry(c.maxMessage)
	if !ok {
		return c.corruptEntry(n)
	}
	m.data, m.start, m.end = b.rest[layout.EntryHeader:layout.EntryHeader+n:layout.EntryHeader+n], b.start, b.end
	m.index, m.about = b.index, describe(b.from, c.mayBeSeen(b.start, c.slots.count))|about(kind)<<aboutKind
	if entrySize(n) < len(b.rest) {
		m.about |= inner
		m.end = b.start // its record goes with the last of the batch
	}
	if b.index%choresEvery == choresEvery-1 {
		c.lookSoon()
	}
	return nil
}

func (c *Consumer) corruptEntry(n int) error {
	b := &c.batch
	if len(b.rest) < layout.EntryHeader {
		return c.corrupt("batch: bytes left for an entry", b.start, uint64(len(b.rest)))
	}
	return c.corrupt("batch: entry length", b.start, uint64(n))
}

// openShortMPSC is openShort.
func (c *Consumer) openShortMPSC() {
	s, pos := &c.short, c.pos
	s.slots = c.usual.Slots()
	from := c.usual.Owner()
	s.word = c.usual.In(layout.LapOf(pos, c.shift))
	s.sender, s.about = &c.received[from], describe(from, false)
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

// matches looks whether the record of a descriptor is like the last, and returns its Meta. A mark that its producer
// has left there is none of about's flags: & aboutText.
func (s *short) matches(d *layout.Descriptor) (meta uint64, ok bool) {
	if d.Ctl.Load() != s.word { // D2
		return 0, false
	}
	meta = atomic.LoadUint64(&d.Meta) // once: a peer may rewrite it
	return meta, uint8(meta>>48) == 0 && uint64(uint32(meta)) <= s.most
}
