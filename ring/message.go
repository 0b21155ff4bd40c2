package ring

// Message is one message in place. It is a small value; what it refers to belongs to it
// until Release.
//
// It is four words, for the reason that Claim is: so it is handed from call to call in registers.
type Message struct {
	c     *Consumer // or its front; nil: no message
	start uint64    // of its record
	place uint64    // bits 0–39: where its bytes begin, counted from segment.origin; 40–63: its index in its batch
	about about
}

// Bytes is the message in the ring's own memory, without a copy. It is valid until the
// message, or a later one, is released, or the handle is closed. A peer that breaks the
// rules can change it meanwhile: read each byte at most once where that matters, or use
// Receive. Writing to it is the caller's bug.
func (m *Message) Bytes() []byte { return m.bytes() }

// Len is the length in bytes.
func (m *Message) Len() int { return m.about.length() }

// Kind is the type given by the sender, 0 unless set.
func (m *Message) Kind() uint16 { return m.about.kind() }

// Producer is the participant slot of the sender: the same for all messages of one
// producer, until that producer has left and another has taken its place.
func (m *Message) Producer() int { return int(m.about.from()) }

// Position names the message.
func (m *Message) Position() Position { return Position{m.start, uint32(m.place >> placeIndex)} }

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
	if m.about&loaned != 0 {
		m.c.returnLoan(*m)
	}
}
