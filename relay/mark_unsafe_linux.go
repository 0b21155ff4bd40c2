package relay

import (
	"sync/atomic"
	"unsafe"
)

// word is the 8 bytes at an offset of the mark file, which 8 divides. It is inside: offsets are
// constants.
func (m *mark) word(at int) *atomic.Uint64 { return (*atomic.Uint64)(unsafe.Pointer(&m.memory[at])) }
