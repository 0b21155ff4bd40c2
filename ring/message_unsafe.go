package ring

import "unsafe"

// Where the bytes of a Message lie, counted from origin. Memory of a ring is in one piece, stays where it
// is while the handle lives, and is at most 2^40 bytes long, which layout.Parse sees to; whoever makes a
// Message has compared its length with what is there.

func (s *segment) setOrigin() {
	if s.origin = s.area.start; s.mpsc {
		s.origin = (*byte)(unsafe.Pointer(s.descBase))
	}
}

// offsetOf is where bytes of a record lie. (None may be said to lie anywhere.)
func (s *segment) offsetOf(b []byte) uint64 {
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b))) - uintptr(unsafe.Pointer(s.origin)))
}

func (m *Message) bytes() []byte {
	if m.c == nil {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(m.c.origin), m.place&(1<<placeIndex-1))), m.about.length())
}
