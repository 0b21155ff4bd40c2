package ring

import (
	"unsafe"

	"github.com/shmring/shmring/layout"
)

// The words in which the bytes of a record lie, for those who load them one by one. The caller has
// checked that so many bytes lie there. Records begin at multiples of 8, and what is left of their last word is
// theirs too.

// recordWords are those of the n bytes of the record at pos of an SPSC ring.
func (a *area) recordWords(pos, n uint64) []uint64 {
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*uint64)(unsafe.Add(unsafe.Pointer(a.word(pos)), layout.RecordHeader)), (n+7)/8)
}

// slotWords are those of the record at pos of an MPSC ring.
func (s *slots) slotWords(pos, n uint64) []uint64 {
	at := unsafe.Pointer(&s.descAt(pos).Inline)
	if n > layout.InlineSize {
		at = unsafe.Add(unsafe.Pointer(s.payloadBase), (pos&s.mask)*s.slotSize)
	}
	return unsafe.Slice((*uint64)(at), (n+7)/8)
}
