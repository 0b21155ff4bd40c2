package ring

import (
	"sync/atomic"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// reader is where the consumer is in the record that is next.
type reader struct {
	batch batch // the batch that is being taken apart
	// streak is how many records were taken since the ring was empty. The consumer writes to
	// the line of a descriptor what the line holds. That takes the line away from the
	// producer, which would otherwise keep a shared copy until it comes around again, and then
	// pay five times as much to make that writable as to fetch the line anew (Zen 4: a copy is
	// not prefetched). The first of a streak is left alone: it is likely to be answered, and an
	// MPSC producer begins its next claim with a look at the line of its last. So is the
	// second: the processor, which looks for it while it waits for the first, would take the
	// line for a store it never makes.
	streak int

	// usual is the control word, but for its lap, of the record that was looked at in full last.
	// Another one like it needs no second look, if its slots are in a row.
	usual layout.Ctl

	patience int64 // how many records that hold nothing one call passes

	received []tally // by producer
	counted  []sum   // of those, what is in the shared counters
	pending  int     // messages that are not yet
	flushed  uint64  // messages that are
}

// mostPassed bounds how many records that hold nothing one try passes, on a ring that has room for
// more: some tenths of a millisecond. A call that waits does chores before the next try, and asks its
// context then.
const mostPassed = 1 << 12

// peek finds the next message without taking it. On the way it skips records that hold
// nothing for the user. It is the walk over records written out once more, because each
// message passes here; see slots.records for the other one. Errors: ErrEmpty, io.EOF,
// *StreamError, *CorruptError.
func (c *Consumer) peek(m *Message) error {
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
			c.dropSeen(k)
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
		m.c, m.data, m.start, m.end, m.about = c, data, pos, pos+k, describe(kind, from, again)
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

// checkCtl is peek's look at a control word of this lap that is not the usual one. It returns
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

// checkFlags is peek's look at a record that is not just a message. In front of the first
// record of a stream it tells of those that were over before.
func (c *Consumer) checkFlags(flags uint16, n uint64) error {
	switch {
	case flags&^layout.KnownFlags != 0:
		return c.corrupt("record flags", c.pos, uint64(flags))
	case flags&layout.FlagBatch != 0 && n == 0:
		return c.corrupt("batch length", c.pos, 0)
	case flags&layout.FlagFirst == 0:
		return nil
	}
	return c.tellBefore()
}

// peekEntry is peek inside a batch.
func (c *Consumer) peekEntry(m *Message) error {
	b := &c.batch
	if len(b.rest) == 0 { // said
		c.comeBack()
		return c.peek(m)
	}
	n, kind, ok := b.entry(c.maxMessage)
	if !ok {
		return c.corruptEntry(n)
	}
	m.c, m.data, m.start, m.end = c, b.rest[layout.EntryHeader:layout.EntryHeader+n:layout.EntryHeader+n], b.start, b.end
	m.about = describe(kind, b.from, c.mayBeSeen(b.start, c.slots.count)) | about(b.index)<<32
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

// take moves behind the message that peek found.
func (c *Consumer) take(m *Message) {
	c.received[m.about.from()].add(len(m.data))
	c.pending++
	if m.about&inner != 0 {
		c.batch.rest = c.batch.rest[entrySize(len(m.data)):]
		c.batch.index++
		return
	}
	c.batch.rest = nil
	c.pos = m.end
}

// dropSeen skips a record that is lost to the user, because a former consumer may have
// handled it.
//
//go:noinline
func (c *Consumer) dropSeen(k uint64) {
	c.count(layout.Dropped, 1)
	c.skip(k)
}

// exposedTo is the end of the newest record of which the user has got anything.
func (c *Consumer) exposedTo() uint64 {
	to := c.pos
	if c.batch.index > 0 && len(c.batch.rest) > 0 {
		to = c.batch.end
	}
	if int64(c.exposed-to) > 0 {
		to = c.exposed
	}
	return to
}
