package ring

import (
	"encoding/binary"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// What the payload of a record is, in both directions. A record is a message or a batch of
// messages.

// about is what else is known of a message, packed: its length in bits 0–31 and its kind in 32–47, as in the word
// before a record and in Meta, the sender in 48–55, and flags.
type about uint64

const (
	redelivered about = 1 << (56 + iota)
	inner             // of a batch, and not its last
	inLines           // SPSC: its record has cache lines of its own
	loaned            // whoever has got it releases it
)

const (
	aboutText  about = 1<<48 - 1 // length and kind
	aboutKind        = 32
	aboutFrom        = 48
	placeIndex       = 40
)

// describe is what is known of a message, but for its length and kind.
func describe(from uint8, again bool) about {
	a := about(from) << aboutFrom
	if again {
		a |= redelivered
	}
	return a
}

func (a about) length() int  { return int(uint32(a)) }
func (a about) kind() uint16 { return uint16(a >> aboutKind) }
func (a about) from() uint8  { return uint8(a >> aboutFrom) }

// found is a message that peek has found.
type found struct {
	data  []byte
	start uint64
	end   uint64 // what may be released with it
	index uint32
	about about // but for its length
}

// entrySize is what a message of n bytes takes in a batch.
func entrySize(n int) int {
	return layout.EntryHeader + (n+layout.EntryAlign-1)&^(layout.EntryAlign-1)
}

// putEntries writes a batch into memory that is as long as its entries.
func putEntries(b []byte, msgs [][]byte) {
	for _, m := range msgs {
		binary.NativeEndian.PutUint64(b, layout.PackMeta(uint32(len(m)), 0, 0))
		copy(b[layout.EntryHeader:], m)
		killpoint.At(killpoint.EntryWritten)
		b = b[entrySize(len(m)):]
	}
}

// batch is a batch of which some messages are taken already.
type batch struct {
	rest  []byte // entries not yet taken; nil: no batch
	start uint64
	end   uint64
	index uint32 // of the next entry
	from  uint8
}

// entry reads the header of the next entry, once: a peer may rewrite it. It is not ok if
// it says more than is there, or than a message may have.
func (b *batch) entry(maxMessage int) (n int, kind uint16, ok bool) {
	if len(b.rest) < layout.EntryHeader {
		return 0, 0, false
	}
	length, kind, _ := layout.UnpackMeta(binary.NativeEndian.Uint64(b.rest))
	left := min(len(b.rest)-layout.EntryHeader, maxMessage)
	return int(length), kind, uint64(length) <= uint64(left)
}
