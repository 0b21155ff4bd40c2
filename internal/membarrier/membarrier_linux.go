package membarrier

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/internal/spin"
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

// settled is how long a store that the barrier misses takes to become visible. The longest seen was 4 µs, of one behind
// 200 others to lines that no cache had, but for two in 10⁶ with 20 µs. Where nothing is missed the call itself takes
// as long.
const settled = 10 * time.Microsecond

// Fence returns when every processor that runs a process that has joined has passed a full barrier
// since the call, or has had the time that stores take. It takes 10 to 20 microseconds. The error is the system's.
func (System) Fence() error {
	begun := time.Now()
	if _, err := call(globalExpedited); err != nil {
		return err
	}
	for time.Since(begun) < settled {
		spin.Pause()
	}
	return nil
}

// FenceAll is Fence of every processor, whatever it runs, and misses none. It takes a grace period of the kernel,
// mostly 5 to 30 ms. The error is the system's, which refuses this where processors are kept free of ticks (nohz_full).
func (System) FenceAll() error {
	_, err := call(global)
	return err
}
