package counts

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// waitRaw waits for a byte without telling the runtime.
func waitRaw(fd uintptr) {
	var b [1]byte
	unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&b[0])), 1)
}

// writeRaw writes without telling the runtime.
func writeRaw(fd uintptr, data []byte) {
	for len(data) > 0 {
		n, _, errno := unix.RawSyscall(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)))
		if errno != 0 {
			return
		}
		data = data[n:]
	}
}
