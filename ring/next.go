package ring

import (
	"encoding/binary"
	"io"
	"sync/atomic"

	"github.com/shmring/shmring/layout"
)

// batch is a record of several messages that is being walked.
type batch struct {
	rest  []byte // entries not yet taken; nil: no batch
	start uint64
	end   uint64
	index uint32 // of the next entry
	from  uint8
}

// peek finds the next message without taking it. On the way it passes over records
// that hold nothing for the user. Errors: ErrEmpty, io.EOF, *PeerDeadError,
// *CorruptError.
func (c *Consumer) peek(m *Message) error {
	if c.batch.rest != nil {
		return c.peekEntry(m)
	}
	for range c.slots + 1 { // a peer that keeps feeding us skips cannot keep us longer
		h := c.pos
		i := h & c.mask
		d := &c.desc[i]
		v := layout.Ctl(d.Ctl.Load()) // D2
		if !v.Done(layout.LapOf(h, c.shift)) {
			return c.nothing()
		}
		if !c.shared && c.members[1].Epoch.Load() != c.heard.Epoch { // behind D2, so no later than the record
			if err := c.succession(); err != nil {
				return err
			}
		}
		k := v.Slots()
		if k == 0 || i+k > c.slots {
			return c.corrupt("record length in slots", h, k)
		}
		if v.State() == layout.Skip {
			if c.shared {
				c.meetSkip(h, v)
			}
			c.pass(k)
			continue
		}
		length, kind, flags := layout.UnpackMeta(atomic.LoadUint64(&d.Meta)) // once: a peer may rewrite it
		n := uint64(length)
		if n > max(layout.InlineSize, k*c.slotSize) || n > uint64(c.maxMsg) && flags == 0 {
			return c.corrupt("record length", h, n)
		}
		from := v.Owner()
		if from == layout.ConsumerIndex || int(from) >= len(c.members) {
			return c.corrupt("record owner", h, uint64(from))
		}
		again := c.seenBefore(h)
		if again && c.cfg.AtMostOnce && flags != layout.FlagEnd {
			c.giveUp(k)
			continue
		}
		if end := h + k; int64(end-c.marked) > 0 && flags != layout.FlagEnd {
			c.mark(min(end+c.ahead-c.released, c.slots) + c.released) // before anybody sees it
		}
		data := c.bytes(h, int(n))
		switch flags {
		case 0:
			// Field by field: a literal would be built beside m and copied over in wider pieces
			// than it was written in, which costs more than all the rest of this function.
			m.c, m.data, m.start, m.end, m.index = c, data, h, h+k, 0
			m.kind, m.from, m.again, m.inner = kind, from, again, false
			return nil
		case layout.FlagBatch:
			if n == 0 {
				return c.corrupt("batch length", h, n)
			}
			c.batch = batch{rest: data, start: h, end: h + k, from: from}
			return c.peekEntry(m)
		case layout.FlagEnd:
			if err := c.end(k, from, data); err != nil {
				return err
			}
		default:
			return c.corrupt("record flags", h, uint64(flags))
		}
	}
	return ErrEmpty
}

// peekEntry is peek inside a batch.
func (c *Consumer) peekEntry(m *Message) error {
	b := &c.batch
	if len(b.rest) < layout.EntryHeader {
		return c.corrupt("batch: bytes left for an entry", b.start, uint64(len(b.rest)))
	}
	length, kind, _ := layout.UnpackMeta(binary.NativeEndian.Uint64(b.rest))
	n := uint64(length)
	if n > uint64(len(b.rest)-layout.EntryHeader) || n > uint64(c.maxMsg) {
		return c.corrupt("batch: entry length", b.start, n)
	}
	m.c, m.data, m.start, m.end, m.index = c, b.rest[layout.EntryHeader:][:n:n], b.start, b.end, b.index
	m.kind, m.from, m.again = kind, b.from, c.seenBefore(b.start)
	if m.inner = entrySize(int(n)) < len(b.rest); m.inner {
		m.end = b.start // its record goes with the last of the batch
	}
	return nil
}

// take moves behind the message that peek found.
func (c *Consumer) take(m *Message) {
	t := &c.tally[m.from]
	t.messages++
	t.bytes += uint64(len(m.data))
	c.uncounted++
	if m.inner {
		c.batch.rest = c.batch.rest[entrySize(len(m.data)):]
		c.batch.index++
		return
	}
	c.batch.rest = nil
	c.pos = m.end
}

// pass moves over a record that holds nothing for the user. If all before it is
// handled, so is it.
func (c *Consumer) pass(k uint64) {
	switch c.pos {
	case c.owed:
		c.owed += k
		c.auto = c.owed
	case c.auto:
		c.auto += k
	}
	c.pos += k
}

// giveUp is pass for a record that is lost to the user.
//
//go:noinline
func (c *Consumer) giveUp(k uint64) {
	c.count(layout.Dropped, 1)
	c.pass(k)
}

// seenBefore tells whether a former consumer may have handled the record.
func (c *Consumer) seenBefore(pos uint64) bool { return c.seenTo-pos-1 < c.slots }

// end passes over the end of one producer's stream. For SPSC it is the end of the
// stream. For MPSC others may still send: the ring is asked when it is empty.
func (c *Consumer) end(k uint64, from uint8, data []byte) error {
	if len(data) != 4 {
		return c.corrupt("end of stream: length", c.pos, uint64(len(data)))
	}
	c.finished[from] = binary.NativeEndian.Uint32(data)
	// Not pass: whoever is killed before it has seen io.EOF leaves it to its successor.
	if c.auto == c.pos {
		c.auto += k
	}
	c.pos += k
	if c.ends++; c.ends < c.cfg.Streams {
		return nil
	}
	if !c.shared {
		c.ends = 0
		return io.EOF
	}
	c.ending, c.lookEnd = true, true
	return nil
}

// nothing is what peek returns when no finished record is next.
func (c *Consumer) nothing() error {
	if err := c.lost; err != nil {
		c.lost = nil
		c.mourned = err.Epoch
		if c.finished[1] != err.Epoch { // else it had ended its stream before it died
			return err
		}
	}
	if !c.shared {
		if err := c.succession(); err != nil {
			return err
		}
	}
	if c.lookEnd {
		c.lookEnd = false
		return c.judgeEnd()
	}
	return ErrEmpty
}

// succession notices that an SPSC ring has another producer. If the former one died
// and its death was not told yet, it is told where its stream ends.
func (c *Consumer) succession() error {
	m := &c.members[1]
	epoch := m.Epoch.Load() // E2
	if epoch == c.heard.Epoch {
		return nil
	}
	at := m.DrainPos.Load()
	if at != c.pos && at-c.pos <= c.slots {
		return nil // the former one's messages go first
	}
	former := c.heard
	c.heard = PeerDeadError{PID: int(m.PID.Load()), Epoch: epoch}
	if at != c.pos || former.Epoch == 0 || former.Epoch == c.mourned || former.Epoch == c.finished[1] {
		return nil
	}
	return &former
}

// judgeEnd returns io.EOF when every producer has ended its stream, left or died, and
// nothing is on its way; else ErrEmpty. The producers are looked at before Tail: one
// that attached, sent and left in between has moved Tail.
func (c *Consumer) judgeEnd() error {
	for i := range c.members {
		if i == layout.ConsumerIndex || !c.streaming(i) {
			continue
		}
		gone, err := c.dead(i)
		if err != nil {
			return err
		}
		if !gone {
			return ErrEmpty
		}
	}
	if layout.Tail(c.hot.Tail.Load()).Pos(c.pos) != c.pos {
		return ErrEmpty
	}
	c.ending, c.ends = false, 0
	return io.EOF
}

// streaming tells whether a participant has attached and not ended its stream.
func (c *Consumer) streaming(i int) bool {
	m := &c.members[i]
	state := layout.ParticipantState(m.State.Load())
	return (state == layout.Used || state == layout.Fenced) && m.Epoch.Load() != c.finished[i]
}
