package ring

import (
	"encoding/binary"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// What the payload of a record is, in both directions. A record is a message or a batch of
// messages.

// about is what else is known of a message: bits 32 to 63 its index in its batch, 16 to
// 31 its kind, 8 to 15 the sender, 0 and 1 the flags.
type about uint64

const (
	redelivered about = 1 << iota
	inner             // of a batch, and not its last
)

func describe(kind uint16, from uint8, again bool) about {
	a := about(kind)<<16 | about(from)<<8
	if again {
		a |= redelivered
	}
	return a
}

func (a about) from() uint8   { return uint8(a >> 8) }
func (a about) kind() uint16  { return uint16(a >> 16) }
func (a about) index() uint32 { return uint32(a >> 32) }

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
