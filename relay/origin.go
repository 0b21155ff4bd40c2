package relay

import (
	"encoding/binary"
	"fmt"

	"github.com/shmring/shmring"
)

// Origin is who sent a message that came through a relay, and which of whose ring it was: what an In with
// InOptions.Origin puts before it, and SplitOrigin takes off again. Ring and Position together are the name of a
// message that no other has, wherever it came from.
//
// Before the message it is a multiple of 8 bytes, little-endian:
//
//	0  u16  length of all of this     8  16 bytes  UUID of the ring
//	2  u8   version: 1               24  u64       Position.Record
//	3  u8   flags: 1 redelivered,    32  u32       Position.Index
//	        2 of a relay             36  u32       0
//	4  u16  producer                 40  name, then zeros
//	6  u16  length of the name
type Origin struct {
	// Relayed says that an Out sent it. Another program's message has nothing of what follows.
	Relayed bool
	// Name is that of the Out: OutOptions.Origin, which is HOST/RING if nobody has named it. It is a part of the
	// message, and as long valid.
	Name []byte
	// Ring is Info.UUID of the ring that the message was sent into, Position its position there, and Producer and
	// Redelivered are what a consumer of that ring gets (Message.Producer, Message.Redelivered).
	Ring        [16]byte
	Position    shmring.Position
	Producer    int
	Redelivered bool
}

const (
	originVersion = 1
	originFixed   = 40 // bytes before the name
	originMost    = 1<<16 - 8

	originRedelivered = 1
	originRelayed     = 2
)

// OriginLength is how many bytes InOptions.Origin makes a message longer, whose relay has a name of so many bytes.
func OriginLength(name int) int { return (originFixed + name + 7) &^ 7 }

// SplitOrigin takes off a message what an In with InOptions.Origin has put before it. payload is what the producer
// sent; it begins at an address that is a multiple of 8 if the message does. Both are parts of the message. It does not
// allocate.
//
// Errors: a [*WireError] for what no In has put there, or a later one with another version.
func SplitOrigin(message []byte) (o Origin, payload []byte, err error) {
	if len(message) < originFixed {
		return o, nil, &WireError{"the origin before a message",
			fmt.Sprintf("%x, %d bytes, which is too short", message, len(message))}
	}
	length, name := int(binary.LittleEndian.Uint16(message)), int(binary.LittleEndian.Uint16(message[6:]))
	if message[2] != originVersion || message[3]&^(originRedelivered|originRelayed) != 0 ||
		length != OriginLength(name) || length > len(message) || binary.LittleEndian.Uint32(message[36:]) != 0 {
		return o, nil, &WireError{"the origin before a message", fmt.Sprintf("%x", message[:originFixed])}
	}
	o.Relayed, o.Redelivered = message[3]&originRelayed != 0, message[3]&originRedelivered != 0
	o.Producer = int(binary.LittleEndian.Uint16(message[4:]))
	o.Ring = [16]byte(message[8:24])
	o.Position.Record = binary.LittleEndian.Uint64(message[24:])
	o.Position.Index = binary.LittleEndian.Uint32(message[32:])
	o.Name = message[originFixed : originFixed+name : originFixed+name]
	return o, message[length:], nil
}

// source is what all messages of one NATS message have in common, for their origin.
type source struct {
	relayed bool
	ring    [16]byte
	name    string
}

// sourceOf understands who has sent a NATS message. What is not wanted is not looked at.
func (i *In) sourceOf(from *Sender) (s source, err error) {
	if !i.o.Origin || from == nil {
		return s, nil
	}
	s.relayed, s.name = true, from.Origin
	if s.ring, err = from.uuid(); err != nil {
		return s, err
	}
	if OriginLength(len(s.name)) > originMost {
		return s, &WireError{HeaderSender, s.name}
	}
	return s, nil
}

// originLength is how much longer a message becomes.
func (i *In) originLength(s *source) int {
	if !i.o.Origin {
		return 0
	}
	return OriginLength(len(s.name))
}

// putOrigin writes the origin of a message. b has originLength bytes.
func putOrigin(b []byte, s *source, e *entry) {
	clear(b)
	flags := byte(0)
	if e.redelivered {
		flags |= originRedelivered
	}
	if s.relayed {
		flags |= originRelayed
	}
	binary.LittleEndian.PutUint16(b, uint16(len(b)))
	b[2], b[3] = originVersion, flags
	binary.LittleEndian.PutUint16(b[4:], uint16(e.producer))
	binary.LittleEndian.PutUint16(b[6:], uint16(len(s.name)))
	copy(b[8:24], s.ring[:])
	binary.LittleEndian.PutUint64(b[24:], e.position.Record)
	binary.LittleEndian.PutUint32(b[32:], e.position.Index)
	copy(b[originFixed:], s.name)
}
