//go:build amd64 || arm64

package shm

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// fcntlLock is unix.FcntlFlock without telling the scheduler: what it asks for never
// waits, and a thousand sleepers that look after the dead would else make the runtime
// start threads. The kernel reads and writes lk, which outlives the call.
func fcntlLock(fd uintptr, cmd int, lk *unix.Flock_t) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_FCNTL, fd, uintptr(cmd), uintptr(unsafe.Pointer(lk))); errno != 0 {
		return errno
	}
	return nil
}
