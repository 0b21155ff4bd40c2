package relay

import (
	"sync/atomic"
	"unsafe"
)

// word is the 8 bytes at an offset of the file, which 8 divides. It is inside: offsets are constants, and
// multiples of what is a place in it.
func (n *notes) word(at int) *atomic.Uint64 { return (*atomic.Uint64)(unsafe.Pointer(&n.memory[at])) }
