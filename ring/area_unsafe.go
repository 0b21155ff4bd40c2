package ring

import (
	"unsafe"

	"github.com/shmring/shmring/internal/prefetch"
	"github.com/shmring/shmring/layout"
)

// Where a position lies, without the comparisons that the compiler makes of an index. The area is
// as long as the geometry says (layout.Parse sees to that), a power of two, begins at a multiple
// of 4096 and stays where it is while the handle lives; what is mapped there may become private
// memory, of the same length. Positions are multiples of 8: a ReadPos that is not is refused, and
// all others are made of one by adding multiples of 8.

func (a *area) setStart() { a.start = unsafe.SliceData(a.memory) }

// word is the word at a position.
func (a *area) word(pos uint64) *uint64 {
	return (*uint64)(unsafe.Add(unsafe.Pointer(a.start), pos&a.inLap))
}

// fetch asks for n cache lines at a position.
func (a *area) fetch(pos uint64, n int) { prefetch.ForWriting(unsafe.Pointer(a.word(pos)), n) }

// bodyAt is body for the short ways, which have compared: n is at most copyPiece, and the record
// ends within the lap. (One of no bytes may end where the area does, which is nobody's.)
func (a *area) bodyAt(pos, n uint64) []byte {
	return (*[copyPiece]byte)(unsafe.Pointer(a.bodyStart(pos)))[:n:n]
}

// bodyOffset is where bodyAt begins, counted from start.
func (a *area) bodyOffset(pos uint64) uint64 { return (pos + layout.RecordHeader) & a.inLap }

// bodyStart is where bodyAt begins.
func (a *area) bodyStart(pos uint64) *byte {
	return (*byte)(unsafe.Add(unsafe.Pointer(a.start), a.bodyOffset(pos)))
}

// behind is where the bytes of a record lie that has some.
func behind(w *uint64) *byte { return (*byte)(unsafe.Add(unsafe.Pointer(w), layout.RecordHeader)) }

// few is how many bytes, less 8, copyFew copies at most, and some how many copySome does.
const few, some = 24, 56

// copyFew copies 8 to 32 bytes, which is what most messages have, without a call: in two pieces,
// which overlap. Both are that long, and apart.
func copyFew(to, from *byte, n uint64) {
	t, f := unsafe.Pointer(to), unsafe.Pointer(from)
	if n <= 16 {
		*(*uint64)(t) = *(*uint64)(f)
		*(*uint64)(unsafe.Add(t, n-8)) = *(*uint64)(unsafe.Add(f, n-8))
	} else {
		*(*[16]byte)(t) = *(*[16]byte)(f)
		*(*[16]byte)(unsafe.Add(t, n-16)) = *(*[16]byte)(unsafe.Add(f, n-16))
	}
}

// copySome is copyFew of 32 to 64 bytes, in four pieces: of longer ones, which may overlap for all it
// knows, the compiler makes a call.
func copySome(to, from *byte, n uint64) {
	type two [2][16]byte
	t, f := (*two)(unsafe.Pointer(to)), (*two)(unsafe.Pointer(from))
	t[0] = f[0]
	t[1] = f[1]
	t, f = (*two)(unsafe.Add(unsafe.Pointer(to), n-32)), (*two)(unsafe.Add(unsafe.Pointer(from), n-32))
	t[0] = f[0]
	t[1] = f[1]
}

// slice is n bytes from at on, which is nil only where n is 0.
func slice(at *byte, n int) []byte { return unsafe.Slice(at, n) }

// first is where a slice begins.
func first(b []byte) *byte { return unsafe.SliceData(b) }
