package spin

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// CPU is the number of the processor that runs the caller at this moment, or −1. It takes a
// system call that does not block.
func CPU() int {
	var cpu uint32
	// The kernel writes cpu, which stays where it is: it is on this goroutine's stack, and the
	// call does not grow it.
	if _, _, err := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0); err != 0 {
		return -1
	}
	return int(cpu)
}

// MayMove tells whether the system may run the caller on another processor.
func MayMove() bool {
	var set unix.CPUSet
	return unix.SchedGetaffinity(0, &set) == nil && set.Count() > 1
}
