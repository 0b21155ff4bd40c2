package membarrier

import (
	"sync"

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

var join = sync.OnceValue(func() error {
	supported, err := call(query)
	if err == nil && supported&registerGlobalExpedited == 0 {
		err = unix.EOPNOTSUPP
	}
	if err == nil {
		_, err = call(registerGlobalExpedited)
	}
	return err
})

// Join makes this process one of those that Fence reaches, for as long as it lives. The error is
// the system's; a second call returns what the first one did.
func (System) Join() error { return join() }

// Fence returns when every processor that runs a process that has joined has passed a full barrier
// since the call. It takes a few microseconds. The error is the system's.
func (System) Fence() error {
	_, err := call(globalExpedited)
	return err
}
