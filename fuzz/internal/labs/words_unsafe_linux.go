package labs

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/futex"
)

// Words is memory that a laboratory and one child share: words that W numbers, which either
// may await, and behind them whatever the laboratory likes. It outlives the child.
type Words[W ~int] struct {
	Path string
	Rest []byte // behind the words; aligned to 8 bytes
	mem  []byte
	word []atomic.Uint64
}

// OpenWords makes or opens the file at path, with so many words and rest bytes behind them.
func OpenWords[W ~int](path string, words W, rest int) (*Words[W], error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	front := int(words) * int(unsafe.Sizeof(atomic.Uint64{}))
	if err := f.Truncate(int64(front + rest)); err != nil {
		return nil, err
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, front+rest, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	// A mapping is aligned to a page and as long as the two parts together; no part of it is
	// used after Close.
	return &Words[W]{
		Path: path, mem: mem, Rest: mem[front:],
		word: unsafe.Slice((*atomic.Uint64)(unsafe.Pointer(unsafe.SliceData(mem))), int(words)),
	}, nil
}

// OwnWords are words that nobody shares, with nothing behind them.
func OwnWords[W ~int](words W) *Words[W] { return &Words[W]{word: make([]atomic.Uint64, int(words))} }

// Close gives the memory back. Nobody may be using it.
func (s *Words[W]) Close() { _ = unix.Munmap(s.mem) }

// low is the futex half of a word: on little-endian machines the first four bytes.
func (s *Words[W]) low(w W) *atomic.Uint32 { return (*atomic.Uint32)(unsafe.Pointer(&s.word[w])) }

// Get loads a word.
func (s *Words[W]) Get(w W) uint64 { return s.word[w].Load() }

// Put stores without waking anybody: for words that are read after the fact.
func (s *Words[W]) Put(w W, v uint64) { s.word[w].Store(v) }

// Set stores and wakes whoever awaits the word.
func (s *Words[W]) Set(w W, v uint64) {
	s.Put(w, v)
	_ = futex.WakeAll(s.low(w))
}

// Await returns when the word is at least v; false after the limit.
func (s *Words[W]) Await(w W, v uint64, limit time.Duration) bool {
	for end := time.Now().Add(limit); ; {
		now := s.low(w).Load()
		if s.Get(w) >= v {
			return true
		}
		left := time.Until(end)
		if left <= 0 {
			return false
		}
		_, _ = futex.Wait(s.low(w), now, left)
	}
}
