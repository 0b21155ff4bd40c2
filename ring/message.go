package ring

// Message is one message in place. It is a small value; what it refers to belongs to it
// until Release.
//
// Its fields are so few and wide that it is passed in registers. Its methods take its
// address, because the compiler copies a value of that size for a call in pieces that are
// wider than those it was written in, and the processor then waits for the stores.
type Message struct {
	c     *Consumer // nil: whoever handed it out releases it
	data  []byte
	start uint64
	end   uint64 // what may be released with it
	about about
}

// Bytes is the message in the ring's own memory, without a copy. It is valid until the
// message, or a later one, is released, or the handle is closed. A peer that breaks the
// rules can change it meanwhile: read each byte at most once where that matters, or use
// Receive. Writing to it is the caller's bug.
func (m *Message) Bytes() []byte { return m.data }

// Len is the length in bytes.
func (m *Message) Len() int { return len(m.data) }

// Kind is the type given by the sender, 0 unless set.
func (m *Message) Kind() uint16 { return m.about.kind() }

// Producer is the participant slot of the sender: the same for all messages of one
// producer, until that producer has left and another has taken its place.
func (m *Message) Producer() int { return int(m.about.from()) }

// Position names the message.
func (m *Message) Position() Position { return Position{m.start, m.about.index()} }

// Redelivered reports that a former consumer may have handled this message already: it
// held the message, or (if it died) was at most 64 slots, or 4 KiB of records, away from it, and
// did not release it.
func (m *Message) Redelivered() bool { return m.about&redelivered != 0 }

// Release says that this message, and every one handed out before it, has been handled:
// their memory goes back to the producers, and no later consumer sees them again. A
// message of a batch is released with the last one of its batch. The consumer's goroutine
// calls it; releasing twice does nothing, and neither does releasing what Drain or All
// handed out.
func (m *Message) Release() {
	if m.c != nil {
		m.c.returnLoan(m.Position(), m.end)
	}
}
