package clock

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// SleepUntil sleeps until a time of Monotonic, for less than a tenth of a second without telling the Go runtime:
// sent of a goroutine that comes back from the system a thousand times a second, its
// monitor uses more processor time than what is to be measured beside it.
func SleepUntil(at int64) {
	t := unix.NsecToTimespec(at)
	errno := unix.EINTR
	for errno == unix.EINTR {
		_, _, errno = unix.RawSyscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME,
			uintptr(unsafe.Pointer(&t)), 0, 0, 0)
	}
}
