package relay

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/shmring/shmring"
)

// Headers of what a relay stores. What a message has not got has no header.
const (
	HeaderSender  = "Shmring-Sender"  // a Sender; every message of an Out has it
	HeaderPacked  = "Shmring-Packed"  // how many messages the payload has, see OutOptions.Pack
	HeaderEnd     = "Shmring-End"     // of an end: "ended", "left", "failed", "died", or "all": io.EOF
	HeaderEpoch   = "Shmring-Epoch"   // of an end: StreamEnd.Epoch
	HeaderPID     = "Shmring-PID"     // likewise
	HeaderStreams = "Shmring-Streams" // likewise
)

// all is HeaderEnd of the end of all streams.
const all = "all"

// ringID is Info.UUID as text.
func ringID(uuid [16]byte) string { return hex.EncodeToString(uuid[:]) }

// end is how a stream ended, or, with all, that there is nothing more to come.
type end struct {
	all bool
	shmring.StreamEnd
}

func (e *end) word() string {
	if e.all {
		return all
	}
	return e.Fate.String()
}

// is tells whether it is the same end.
func (e *end) is(other *end) bool {
	return e.all == other.all && e.Producer == other.Producer && e.Epoch == other.Epoch
}

// readEnd understands the headers of an end. It returns nil for what is none.
func readEnd(from *Sender, h nats.Header) (*end, error) {
	word := get(h, HeaderEnd)
	if word == "" {
		return nil, nil
	}
	if from == nil {
		return nil, &WireError{HeaderSender, ""}
	}
	e := &end{all: word == all}
	if e.all {
		return e, nil
	}
	e.Producer = from.Producer
	for e.Fate = shmring.FateEnded; e.Fate.String() != word; e.Fate++ {
		if e.Fate > shmring.FateDied {
			return nil, &WireError{HeaderEnd, word}
		}
	}
	var err error
	number := func(name string, to func(uint64)) {
		n, bad := strconv.ParseUint(get(h, name), 10, 32)
		if bad != nil && err == nil {
			err = &WireError{name, get(h, name)}
		}
		to(n)
	}
	number(HeaderEpoch, func(n uint64) { e.Epoch = uint32(n) })
	number(HeaderPID, func(n uint64) { e.PID = int(n) })
	number(HeaderStreams, func(n uint64) { e.Streams = int(n) })
	return e, err
}

// get is a header's first value. Names are as we write them, so nothing is made canonical.
func get(h nats.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// entry is one message on the wire.
type entry struct {
	position    shmring.Position
	kind        uint16
	producer    int
	redelivered bool
	data        []byte
}

// A packed payload is a sequence of entries: numbers as varints, then the message.
//
//	length · kind · producer << 1 | redelivered · Record less that of the entry before · Index
const mostOverhead = 5 + 3 + 2 + 10 + 5 // bytes of an entry besides its message

// pack appends an entry. before is the position of the one before it in the payload, or zero.
func pack(b []byte, e *entry, before shmring.Position) []byte {
	b = binary.AppendUvarint(b, uint64(len(e.data)))
	b = binary.AppendUvarint(b, uint64(e.kind))
	who := uint64(e.producer) << 1
	if e.redelivered {
		who |= 1
	}
	b = binary.AppendUvarint(b, who)
	b = binary.AppendUvarint(b, e.position.Record-before.Record)
	b = binary.AppendUvarint(b, uint64(e.position.Index))
	return append(b, e.data...)
}

// unpack takes the first entry off a payload. before is that of pack.
func unpack(b []byte, before shmring.Position) (e entry, rest []byte, err error) {
	var n [5]uint64
	for i := range n {
		v, k := binary.Uvarint(b)
		if k <= 0 {
			return e, nil, &WireError{"an entry of a packed message", fmt.Sprintf("%x", b[:min(len(b), 16)])}
		}
		n[i], b = v, b[k:]
	}
	if n[0] > uint64(len(b)) || n[1] > 0xffff || n[2] > 0x1ff || n[4] > 0xffffffff {
		return e, nil, &WireError{"an entry of a packed message", fmt.Sprint(n)}
	}
	e.kind, e.producer, e.redelivered = uint16(n[1]), int(n[2]>>1), n[2]&1 != 0
	e.position = shmring.Position{Record: before.Record + n[3], Index: uint32(n[4])}
	e.data = b[:n[0]:n[0]]
	return e, b[n[0]:], nil
}

// entryOf is a message that is not packed. One that no relay has written has a payload and nothing else.
func entryOf(from *Sender, data []byte) entry {
	if from == nil {
		return entry{data: data}
	}
	return entry{from.Position, from.Kind, from.Producer, from.Redelivered, data}
}
