package shm

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/internal/watch"
)

// poke reads one byte, without telling the scheduler: a read of a byte that is in
// memory does not block. The kernel writes into b, which outlives the call. Where there
// is nothing to read the file was truncated, which is noticed elsewhere.
func (f *file) poke() {
	var b [1]byte
	_, _, _ = unix.RawSyscall6(unix.SYS_PREAD64, uintptr(f.fd), uintptr(unsafe.Pointer(&b)), 1, 0, 0, 0)
}

func (f *file) onPoke(wake func()) (stop func(), err error) {
	w, err := watch.Add(descriptorPath(f.fd), wake)
	if err != nil {
		return nil, err
	}
	return w.Close, nil
}
