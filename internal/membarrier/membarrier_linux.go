package membarrier

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	query                   = 0
	globalExpedited         = 1 << 1
	registerGlobalExpedited = 1 << 2
)

func call(command uintptr) (uintptr, error) {
	r, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, command, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return r, nil
}

var (
	begun sync.Once
	ended atomic.Pointer[error] // of register
)

// register waits for a grace period of the kernel where a process has several threads, as all of Go
// have: some 15 ms.
func register() {
	supported, err := call(query)
	if err == nil && supported&registerGlobalExpedited == 0 {
		err = unix.EOPNOTSUPP
	}
	if err == nil {
		_, err = call(registerGlobalExpedited)
	}
	ended.Store(&err)
}

// Join asks for this process to be one of those that Fence reaches, for as long as it lives, and
// reports whether it is by now: the system takes its time, and nobody waits for it here. The error is
// the system's: it will never be.
func (System) Join() (joined bool, err error) {
	begun.Do(func() { go register() })
	if e := ended.Load(); e != nil {
		return *e == nil, *e
	}
	return false, nil
}

// Joined reports whether this process has joined, and asks for nothing.
func (System) Joined() bool {
	e := ended.Load()
	return e != nil && *e == nil
}

// Fence returns when every processor that runs a process that has joined has passed a full barrier
// since the call. It takes a few microseconds. The error is the system's.
func (System) Fence() error {
	_, err := call(globalExpedited)
	return err
}
