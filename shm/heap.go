package shm

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"sync"
)

// Heap returns a segment of size zero bytes of ordinary memory, aligned to 128
// bytes. The race detector sees accesses to it, which it does not for mapped files,
// so algorithms meant for a file are race-tested here. Reopen gives further handles
// to the same bytes; their locks exclude each other as those of processes do. The
// locks of a handle are dropped by Close. Heap panics unless size > 0.
func Heap(size int) *Segment {
	if size <= 0 {
		panic(fmt.Sprintf("shm: Heap(%d): size must be positive", size))
	}
	return newHeapSegment(&heapRegion{mem: alignedBytes(size), holder: make(map[int]*heap),
		notified: make(map[*func()]struct{})})
}

// heapRegion stands for the file: it is what several handles have in common.
type heapRegion struct {
	mem []byte

	mu       sync.Mutex
	holder   map[int]*heap
	notified map[*func()]struct{}
}

// heap stands for one open file description of the region.
type heap struct {
	region *heapRegion
}

func newHeapSegment(r *heapRegion) *Segment {
	return &Segment{name: "heap", mem: r.mem, back: &heap{r}, owned: make(map[int]struct{})}
}

func (h *heap) tryLock(i int) (bool, error) {
	h.region.mu.Lock()
	defer h.region.mu.Unlock()
	if h.region.holder[i] != nil {
		return false, nil
	}
	h.region.holder[i] = h
	return true, nil
}

func (h *heap) unlock(i int) error {
	h.region.mu.Lock()
	defer h.region.mu.Unlock()
	delete(h.region.holder, i)
	return nil
}

func (h *heap) held(i int) (bool, error) {
	h.region.mu.Lock()
	defer h.region.mu.Unlock()
	who := h.region.holder[i]
	return who != nil && who != h, nil
}

func (h *heap) alone(bool) (bool, error) {
	h.region.mu.Lock()
	defer h.region.mu.Unlock()
	for _, who := range h.region.holder {
		if who != h {
			return false, nil
		}
	}
	return true, nil
}

func (h *heap) replace(context.Context, int64, func([]byte) error) error {
	return fail("replace", "heap", ErrUnsupported, "it has no file")
}

func (h *heap) use(Locks) error { return nil }

func (h *heap) check() error { return nil }

func (h *heap) lost() error { return ErrTruncated } // never called: memory of the heap stays

func (h *heap) forsake() {}

func (h *heap) discard() error { _, err := h.close(nil, nil); return err }

func (h *heap) notify() {
	h.region.mu.Lock()
	defer h.region.mu.Unlock()
	for f := range h.region.notified {
		(*f)()
	}
}

func (h *heap) heard() {}

func (h *heap) onNotify(f func()) (stop func(), err error) {
	h.region.mu.Lock()
	defer h.region.mu.Unlock()
	h.region.notified[&f] = struct{}{}
	return func() {
		h.region.mu.Lock()
		defer h.region.mu.Unlock()
		delete(h.region.notified, &f)
	}, nil
}

func (h *heap) owner() (uid, gid int, mode fs.FileMode, err error) {
	return os.Geteuid(), os.Getegid(), 0o600, nil
}

func (h *heap) reopen() (*Segment, error) { return newHeapSegment(h.region), nil }

func (h *heap) close(_ *Segment, last func([]byte)) (bool, error) {
	if last != nil {
		last(h.region.mem)
	}
	h.region.mu.Lock()
	defer h.region.mu.Unlock()
	for i, who := range h.region.holder {
		if who == h {
			delete(h.region.holder, i)
		}
	}
	return true, nil
}
