package membarrier

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	query                   = 0
	global                  = 1 << 0
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
// since the call, but for those that the system misses. It takes up to some 10 microseconds. The error is the system's.
func (System) Fence() error {
	_, err := call(globalExpedited)
	return err
}

// FenceAll is Fence of every processor, whatever it runs, and misses none. It takes a grace period of the kernel,
// mostly 5 to 30 ms. The error is the system's, which refuses this where processors are kept free of ticks (nohz_full).
func (System) FenceAll() error {
	_, err := call(global)
	return err
}
