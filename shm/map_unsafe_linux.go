package shm

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapping is an address range of our own making. It is never part of the Go heap.
type mapping struct {
	base unsafe.Pointer
	size int
}

// mapFile maps the first size bytes of fd, shared, at an address of the kernel's choice.
func mapFile(fd, size int) (mapping, error) {
	base, err := unix.MmapPtr(fd, 0, nil, uintptr(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return mapping{}, err
	}
	return mapping{base, size}, nil
}

func (m mapping) bytes() []byte { return unsafe.Slice((*byte)(m.base), m.size) }

// blank replaces the pages by private zeros at the same address. The kernel does it
// in one step: a concurrent access sees the old page or the new one, never a hole.
// When it returns, no processor can reach the old pages through this range.
func (m mapping) blank() error {
	_, err := unix.MmapPtr(-1, 0, m.base, uintptr(m.size), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE|unix.MAP_FIXED)
	return err
}

// unmap gives the address range back. No slice of it may be in use any more.
func (m mapping) unmap() error { return unix.MunmapPtr(m.base, uintptr(m.size)) }

// touch loads the first word of the page that p points to. The load is atomic so that
// the compiler must not drop it.
func touch(p *byte) {
	// SAFETY: a page is aligned, and longer than a word even where the file ends.
	atomic.LoadUint32((*uint32)(unsafe.Pointer(p)))
}
