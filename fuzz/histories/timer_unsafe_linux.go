package main

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sigevent is struct sigevent of linux/time.h: on expiry send a signal to the process.
type sigevent struct {
	value  uintptr
	signo  int32
	notify int32    // 0: SIGEV_SIGNAL
	_      [52]byte // at least as long as the kernel wants
}

// killTimer makes a timer that ends this process by SIGKILL. The interrupt stops whatever
// the process does, where another thread that calls kill would have to get a processor first.
func killTimer() (id int32, err error) {
	e := sigevent{signo: int32(unix.SIGKILL)}
	_, _, errno := unix.Syscall(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&e)),
		uintptr(unsafe.Pointer(&id)))
	if errno != 0 {
		return 0, errno
	}
	return id, nil
}

// startTimer lets the timer expire once, after a time above 0.
func startTimer(id int32, after time.Duration) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(after))}
	_, _, errno := unix.Syscall6(unix.SYS_TIMER_SETTIME, uintptr(id), 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
