package link

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/bench/internal/work"
)

// rawLink is rival/src/raw_pingpong.cpp with Go's atomics, whose store is an XCHG. The word
// is stored behind the rest of the message, and whoever loads it copies that rest.
type rawLink struct {
	mem  []byte
	word *atomic.Uint64 // the first of mem
	seen uint64
}

func openRaw(j *work.Job, direction string, _ bool) (work.Link, error) {
	f, err := os.OpenFile(filepath.Join(j.Dir, direction), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(4096); err != nil {
		return nil, err
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	return &rawLink{mem, (*atomic.Uint64)(unsafe.Pointer(&mem[0])), 0}, err
}

// The file begins as zero, which must not be a message.
func (l *rawLink) Send(msg []byte) error {
	copy(l.mem[8:], msg[8:])
	l.word.Store(binary.LittleEndian.Uint64(msg) + 1)
	return nil
}

func (l *rawLink) Recv(buf []byte) (int, error) {
	w := l.word.Load()
	for w == l.seen {
		w = l.word.Load()
	}
	l.seen = w
	binary.LittleEndian.PutUint64(buf, w-1)
	copy(buf[8:], l.mem[8:])
	return len(buf), nil
}

func (l *rawLink) Close() error { return unix.Munmap(l.mem) }
