package shmring

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/shmring/shmring/ring"
)

// Message is one message in place: a small value that refers to memory of the ring. That
// memory belongs to the message until it is released. The methods take its address, which
// spares copies; a Message itself may be copied.
type Message ring.Message

// Bytes returns the message in the ring's own memory, without a copy. It begins at an
// address that is a multiple of 8. It is valid until this message, or a later one, is
// released, or the consumer is closed. A peer that breaks the rules can change it
// meanwhile: read each byte at most once where that matters, or use [Consumer.Receive].
// Writing to it is not allowed.
func (m *Message) Bytes() []byte { return (*ring.Message)(m).Bytes() }

// Len returns the length in bytes.
func (m *Message) Len() int { return (*ring.Message)(m).Len() }

// Kind returns the type that the sender gave to the message ([Producer.SendKind],
// [Claim.SetKind]); 0 if it gave none.
func (m *Message) Kind() uint16 { return (*ring.Message)(m).Kind() }

// Producer returns the participant slot of the sender: the same for all messages of one
// [Producer] (its [Info].Participant), until that one has left and another has taken its
// place.
func (m *Message) Producer() int { return (*ring.Message)(m).Producer() }

// Position returns the name of the message.
func (m *Message) Position() Position { return Position((*ring.Message)(m).Position()) }

// Redelivered reports that a former consumer may have handled this message already: it
// had the message, or (if it was killed) was at most 64 slots (SPSC: 4 KiB) away from it, and did not
// release it.
func (m *Message) Redelivered() bool { return (*ring.Message)(m).Redelivered() }

// Release says that this message, and every one returned before it, has been handled:
// their memory goes back to the producers, and no later consumer gets them again. A
// message of a batch is released with the last one of its batch. The consumer's goroutine
// calls Release. Releasing twice does nothing, and neither does releasing a message of
// Drain or All, which do that themselves.
func (m *Message) Release() { (*ring.Message)(m).Release() }

// Position names one place in the stream of one ring for ever: of a message, of a claim.
// Positions grow in the order of delivery, and a message that is delivered again has the
// same one, so a sink that stores the last position together with its effect can tell what
// it has seen. Positions of different rings, also of rings that had the same name one
// after the other, have nothing to do with each other: store the ring's [Info].UUID beside
// them. Of a ring that was made anew by [Resize] they stay the same, or the ring has another UUID.
type Position struct {
	// Record is the slot at which the record begins, counted from the ring's first.
	Record uint64
	// Index is the place in that record: 0 unless the message was sent in a batch.
	Index uint32
}

// Compare returns -1, 0 or +1 as p comes before q, is q, or comes behind it. Both are
// positions of one ring.
func (p Position) Compare(q Position) int { return ring.Position(p).Compare(ring.Position(q)) }

// String returns "RECORD.INDEX".
func (p Position) String() string { return ring.Position(p).String() }

// MarshalText returns what String returns.
func (p Position) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is [ParsePosition].
func (p *Position) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePosition(string(text))
	return err
}

// ParsePosition understands what [Position.String] returns, and a record without an index.
func ParsePosition(text string) (p Position, err error) {
	record, index, found := strings.Cut(text, ".")
	if p.Record, err = strconv.ParseUint(record, 10, 64); err == nil && found {
		var i uint64
		i, err = strconv.ParseUint(index, 10, 32)
		p.Index = uint32(i)
	}
	if err != nil {
		return Position{}, fmt.Errorf("shmring: position %q: want a number, or two with a dot between them", text)
	}
	return p, nil
}
