package shm

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/internal/watch"
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

// mapFileAligned is mapFile at a multiple of align, a power of two.
func mapFileAligned(fd, size, align int) (mapping, error) {
	room, err := unix.MmapPtr(-1, 0, nil, uintptr(size)+uintptr(align), unix.PROT_NONE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return mapping{}, err
	}
	skip := -uintptr(room) & uintptr(align-1)
	base := unsafe.Add(room, skip)
	if _, err := unix.MmapPtr(fd, 0, base, uintptr(size), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_SHARED|unix.MAP_FIXED); err != nil {
		_ = unix.MunmapPtr(room, uintptr(size)+uintptr(align))
		return mapping{}, err
	}
	page := uintptr(unix.Getpagesize())
	end := (uintptr(size) + page - 1) &^ (page - 1) // of our pages, behind base
	if skip > 0 {
		_ = unix.MunmapPtr(room, skip)
	}
	if rest := uintptr(size) + uintptr(align) - skip; rest > end {
		_ = unix.MunmapPtr(unsafe.Add(base, end), rest-end)
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

// notify reads one byte, without telling the scheduler: a read of a byte that is in
// memory does not block. The kernel writes into b, which outlives the call. Where there
// is nothing to read the file was truncated, which is noticed elsewhere.
func (f *file) notify() {
	var b [1]byte
	_, _, _ = unix.RawSyscall6(unix.SYS_PREAD64, uintptr(f.fd), uintptr(unsafe.Pointer(&b)), 1, 0, 0, 0)
}

func (f *file) heard() { watch.Heard() }

func (f *file) onNotify(wake func()) (stop func(), err error) {
	w, err := watch.Add(descriptorPath(f.fd), wake)
	if err != nil {
		return nil, err
	}
	return w.Close, nil
}

// fcntlLock is unix.FcntlFlock without telling the scheduler: what it asks for never
// waits, and a thousand sleepers that look after the dead would else make the runtime
// start threads. The kernel reads and writes lk, which outlives the call.
func fcntlLock(fd uintptr, cmd int, lk *unix.Flock_t) error {
	if unsafe.Sizeof(uintptr(0)) < 8 {
		return unix.FcntlFlock(fd, cmd, lk) // the call has another name and another structure there
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_FCNTL, fd, uintptr(cmd), uintptr(unsafe.Pointer(lk))); errno != 0 {
		return errno
	}
	return nil
}
