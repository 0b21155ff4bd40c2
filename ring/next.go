package ring

import (
	"encoding/binary"
	"io"
	"sync/atomic"

	"github.com/shmring/shmring/internal/killpoint"
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
		k := v.Slots()
		if k == 0 || i+k > c.slots {
			return c.corrupt("record length in slots", h, k)
		}
		if v.State() == layout.Discarded {
			if c.shared {
				c.meetSkip(h, v)
			}
			c.pass(k)
			continue
		}
		meta := atomic.LoadUint64(&d.Meta) // once: a peer may rewrite it
		if c.row++; c.row > 2 {
			d.Meta = meta // takes the line away from the producer, see row; it is ours until ReadPos passes it
			killpoint.At(killpoint.MetaRewritten)
		}
		length, kind, flags := layout.UnpackMeta(meta)
		n := uint64(length)
		if n > max(layout.InlineSize, k*c.slotSize) || n > uint64(c.maxMsg) && flags == 0 {
			return c.corrupt("record length", h, n)
		}
		from := v.Owner()
		if from == layout.ConsumerIndex || int(from) >= len(c.members) {
			return c.corrupt("record owner", h, uint64(from))
		}
		again := c.seenBefore(h)
		if again && c.cfg.AtMostOnce && forUser(flags) {
			c.giveUp(k)
			continue
		}
		if end := h + k; int64(end-c.marked) > 0 && forUser(flags) {
			c.mark(min(end+c.ahead-c.released, c.slots) + c.released) // before anybody sees it
		}
		data := c.bytes(h, int(n))
		switch flags {
		case 0:
			// Field by field: a literal would be built beside m and copied over in wider pieces
			// than it was written in, which costs more than all the rest of this function.
			m.c, m.data, m.start, m.end, m.about = c, data, h, h+k, describe(kind, from, again)
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
		case layout.FlagDeath:
			if err := c.death(k, data); err != nil {
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
	n, kind, ok := b.entry(c.maxMsg)
	if !ok {
		return c.corruptEntry(n)
	}
	m.c, m.data, m.start, m.end = c, b.rest[layout.EntryHeader:][:n:n], b.start, b.end
	m.about = describe(kind, b.from, c.seenBefore(b.start)) | about(b.index)<<32
	if entrySize(n) < len(b.rest) {
		m.about |= inner
		m.end = b.start // its record goes with the last of the batch
	}
	return nil
}

// entry reads the header of the next entry, once: a peer may rewrite it. It is not ok if
// it says more than is there, or than a message may have.
func (b *batch) entry(maxMsg int) (n int, kind uint16, ok bool) {
	if len(b.rest) < layout.EntryHeader {
		return 0, 0, false
	}
	length, kind, _ := layout.UnpackMeta(binary.NativeEndian.Uint64(b.rest))
	left := min(len(b.rest)-layout.EntryHeader, maxMsg)
	return int(length), kind, uint64(length) <= uint64(left)
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
	t := &c.tally[m.about.from()]
	t.messages++
	t.bytes += uint64(len(m.data))
	c.uncounted++
	if m.about&inner != 0 {
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
	c.passKept(k)
	if c.ends++; c.ends < c.cfg.ExpectedProducers {
		return nil
	}
	if !c.shared {
		c.ends = 0
		return io.EOF
	}
	c.ending, c.lookEnd = true, true
	return nil
}

// passKept is pass for a record that is news for the user: whoever is killed before it
// has told leaves it to its successor.
func (c *Consumer) passKept(k uint64) {
	if c.auto == c.pos {
		c.auto += k
	}
	c.pos += k
}

// forUser tells whether a record holds messages.
func forUser(flags uint16) bool { return flags == 0 || flags == layout.FlagBatch }

// death passes over the place at which the stream of a dead SPSC producer ends.
func (c *Consumer) death(k uint64, data []byte) error {
	if c.shared || len(data) != 8 {
		return c.corrupt("death of a producer: length", c.pos, uint64(len(data)))
	}
	dead := PeerDeadError{Epoch: binary.NativeEndian.Uint32(data), PID: int(binary.NativeEndian.Uint32(data[4:]))}
	c.passKept(k)
	if !c.news(dead.Epoch) {
		return nil
	}
	return c.wrap(&dead)
}

// news tells whether the death of that SPSC producer is to be told, once. It is not if
// that one had ended its stream.
func (c *Consumer) news(epoch uint32) bool {
	if c.told(epoch) {
		return false
	}
	c.mourned = epoch
	return true
}

func (c *Consumer) told(epoch uint32) bool {
	return epoch == c.finished[1] || c.mourned != 0 && int32(epoch-c.mourned) <= 0
}

// nothing is what peek returns when no finished record is next.
func (c *Consumer) nothing() error {
	c.row = 0
	if err := c.lost; err != nil {
		c.lost = nil
		if c.news(err.Epoch) {
			return c.wrap(err)
		}
	}
	if c.lookEnd || c.overNow {
		c.lookEnd = false
		return c.judgeEnd()
	}
	return ErrEmpty
}

// judgeEnd returns io.EOF when the stream is over, once; else ErrEmpty.
func (c *Consumer) judgeEnd() error {
	over, err := c.over()
	c.overNow = false
	if err != nil {
		return err
	}
	if !over {
		return ErrEmpty
	}
	c.ending, c.ends = false, 0
	return io.EOF
}

// over tells whether every producer has ended its stream, left or died, and nothing is
// on its way. The producers are looked at before Tail: one that attached, sent and left
// in between has moved Tail.
func (c *Consumer) over() (bool, error) {
	for i := range c.members {
		if i == layout.ConsumerIndex || !c.streaming(i) {
			continue
		}
		if gone, err := c.dead(i); !gone {
			return false, err
		}
	}
	return layout.Tail(c.hot.Tail.Load()).Pos(c.pos) == c.pos, nil
}

// streaming tells whether a participant has attached and not ended its stream.
func (c *Consumer) streaming(i int) bool {
	m := &c.members[i]
	state := layout.ParticipantState(m.State.Load())
	return (state == layout.Used || state == layout.Revoked) && m.Epoch.Load() != c.finished[i]
}
