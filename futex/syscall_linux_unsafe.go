//go:build linux

package futex

import (
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Kernel constants that x/sys lacks (linux/futex.h).
const (
	futexWake       = 1
	futexWaitBitset = 9
	private         = 128
	bitsetAny       = 0xffffffff
	sizeU32         = 0x02 // FUTEX2_SIZE_U32
	private2        = 128  // FUTEX2_PRIVATE
)

// waitv is struct futex_waitv.
type waitv struct {
	val   uint64
	uaddr uint64
	flags uint32
	_     uint32
}

// wait is FUTEX_WAIT_BITSET: the plain FUTEX_WAIT takes a relative time, which a
// signal would restart. The kernel reads the deadline before it sleeps; word may be
// any mapped address, a bad one gives EFAULT.
func wait(word *atomic.Uint32, old uint32, deadline *unix.Timespec) unix.Errno {
	_, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWaitBitset,
		uintptr(old), uintptr(unsafe.Pointer(deadline)), 0, bitsetAny)
	return errno
}

func wake(word *atomic.Uint32, n int, flags uintptr) (int, error) {
	woken, _, errno := unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWake|flags,
		uintptr(n), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(woken), nil
}

// waitVector sleeps on the shared word and on the process's own stop words at once.
// The kernel compares all of them before it sleeps, so a Stop that came first ends
// the wait too. The stop words are named by number inside v; heap objects do not
// move, and KeepAlive holds them.
func waitVector(word *atomic.Uint32, old uint32, deadline *unix.Timespec, stops []*atomic.Uint32) unix.Errno {
	var v [1 + maxStops]waitv
	v[0] = waitv{val: uint64(old), uaddr: uint64(uintptr(unsafe.Pointer(word))), flags: sizeU32}
	for i, s := range stops {
		v[1+i] = waitv{uaddr: uint64(uintptr(unsafe.Pointer(s))), flags: sizeU32 | private2}
	}
	ts := timespec64{int64(deadline.Sec), int64(deadline.Nsec)}
	_, _, errno := unix.Syscall6(unix.SYS_FUTEX_WAITV, uintptr(unsafe.Pointer(&v)), uintptr(1+len(stops)),
		0, uintptr(unsafe.Pointer(&ts)), unix.CLOCK_MONOTONIC, 0)
	runtime.KeepAlive(stops)
	return errno
}

// timespec64 is what futex_waitv takes on every architecture.
type timespec64 struct{ sec, nsec int64 }
