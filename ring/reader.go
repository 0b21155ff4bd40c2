package ring

import "github.com/shmring/shmring/layout"

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

// peek finds the next message without taking it. On the way it skips records that hold nothing for
// the user. Errors: ErrEmpty, io.EOF, *StreamError, *CorruptError.
func (c *Consumer) peek(m *found) error {
	if c.mpsc {
		return c.peekMPSC(m)
	}
	return c.peekSPSC(m)
}

// take moves behind the message that peek found.
func (c *Consumer) take(m *found) {
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

// message is what was found, for the user, lent or not.
func (c *Consumer) message(f *found, loan about) Message {
	return Message{c, f.start, c.offsetOf(f.data) | uint64(f.index)<<placeIndex, f.about | about(len(f.data)) | loan}
}
