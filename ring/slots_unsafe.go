package ring

import (
	"unsafe"

	"github.com/shmring/shmring/internal/prefetch"
	"github.com/shmring/shmring/layout"
)

// Where a position lies, without the comparisons that the compiler makes of an index: they are
// a fifth of the instructions of the short ways. The slices that these addresses come from are
// as long as the geometry says (layout.Parse sees to that) and stay where they are while the
// handle lives; what is mapped there may become private memory, of the same length.

func (s *slots) setBases() {
	s.descBase, s.payloadBase = unsafe.SliceData(s.desc), unsafe.SliceData(s.payload)
	s.payloadOffset = uint64(uintptr(unsafe.Pointer(s.payloadBase)) - uintptr(unsafe.Pointer(s.descBase)))
}

// descAt is the descriptor of a position. The index is less than count, which is the length
// of desc.
func (s *slots) descAt(pos uint64) *layout.Descriptor {
	const size = uint64(unsafe.Sizeof(layout.Descriptor{}))
	return (*layout.Descriptor)(unsafe.Add(unsafe.Pointer(s.descBase), (pos&s.mask)*size))
}

// ctlWord is a control word for storePlain: a layout.Word holds nothing else.
func ctlWord(d *layout.Descriptor) *uint64 { return (*uint64)(unsafe.Pointer(&d.Ctl)) }

// fetchNext asks for the lines of descriptors to come, for who takes them away from the producer anyway (hold): it
// is fetchLines messages since the last time. They are asked for while the producer is a few ahead, many at a
// time; one by one each takes as long as they do together.
//
//go:noinline
func fetchNext(d *layout.Descriptor) {
	const ahead = fetchLines * unsafe.Sizeof(layout.Descriptor{}) // perhaps of the payload, behind the last: no harm
	prefetch.ForWriting(unsafe.Add(unsafe.Pointer(d), ahead), fetchLines)
}

// bytesAt is bytes, of a record whose descriptor is at hand.
func (s *slots) bytesAt(d *layout.Descriptor, pos uint64, n int) []byte {
	if n <= layout.InlineSize {
		return d.Inline[:n:n]
	}
	return s.payloadAt(pos, n)
}

// payloadAt is where the record of n bytes at a position lies if they are more than InlineSize.
// The caller has seen that they fit: pos&mask + slots ≤ count, n ≤ slots·slotSize. The short
// ways end at copyPiece.
func (s *slots) payloadAt(pos uint64, n int) []byte {
	at := s.payloadStart(pos)
	return (*[copyPiece]byte)(unsafe.Pointer(at))[:n:n]
}

func (s *slots) payloadStart(pos uint64) *byte {
	return (*byte)(unsafe.Add(unsafe.Pointer(s.payloadBase), (pos&s.mask)*s.slotSize))
}

// bytesStart is where bytesAt begins, for who has compared n with a length.
func (s *slots) bytesStart(pos uint64, n int) *byte {
	if n <= layout.InlineSize {
		return &s.descAt(pos).Inline[0]
	}
	return s.payloadStart(pos)
}

// bytesOffset is where bytesAt begins, counted from the first descriptor.
func (s *slots) bytesOffset(pos uint64, n int) uint64 {
	if n <= layout.InlineSize {
		return (pos&s.mask)*uint64(unsafe.Sizeof(layout.Descriptor{})) + uint64(unsafe.Offsetof(layout.Descriptor{}.Inline))
	}
	return s.payloadOffset + (pos&s.mask)*s.slotSize
}
