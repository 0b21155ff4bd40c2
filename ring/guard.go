package ring

import (
	"errors"
	"runtime/debug"
	"sync/atomic"

	"github.com/shmring/shmring/internal/fault"
)

// Memory is what this package needs of a segment whose pages may go away: a peer that may write
// the file can truncate it. shm.Segment implements it.
type Memory interface {
	// Lost makes an error of a fault at an address, which matches layout.ErrCorrupt. nil: the
	// address is none of the segment's.
	Lost(addr uintptr) error
	// Forsake puts private zeros in the place of the whole segment, as closing does, so that
	// nobody of this process meets the fault again.
	Forsake()
}

// A guarded call is one that turns a fault into an error: debug.SetPanicOnFault is on for its
// goroutine as long as it lasts, and one deferred function recovers. That takes a dozen
// instructions more than most calls that move a message have, so those are not guarded.
//
// Who wants them to be (Options.Untrusted of package shmring) gets a front, which costs the others nothing.
// A front is a handle without a ring, and looks closed. So each of its calls goes the way of one
// that is refused, and there finds the handle behind it, which it then calls, guarded.

// errBehind is why a front refuses. It stays inside this package.
var errBehind = errors.New("front")

// pose makes a handle that is a front look closed.
func (h *handle) pose() { _ = h.fail(errBehind, func(word *atomic.Uint32) { word.Store(1) }) }

// Guard calls f, and turns a fault in the memory of the ring into an error, which closes the
// handle. Any goroutine may call it. f leaves the gate by itself if it enters it, whatever happens.
func (h *handle) Guard(f func()) (err error) {
	was := debug.SetPanicOnFault(true)
	defer func() {
		if recovered := recover(); recovered != nil {
			defer debug.SetPanicOnFault(was)
			err = h.forsake(h.lost(recovered))
			return
		}
		debug.SetPanicOnFault(was)
	}()
	f()
	return nil
}

// guardInside is Guard of an f that is inside the gate when it meets a fault.
func (h *handle) guardInside(f func()) (err error) {
	defer h.caught(&err, debug.SetPanicOnFault(true))
	f()
	return nil
}

// caught is deferred by a guarded call that enters the gate. was is what SetPanicOnFault was
// before.
func (h *handle) caught(err *error, was bool) {
	recovered := recover()
	if recovered == nil {
		debug.SetPanicOnFault(was)
		return
	}
	defer debug.SetPanicOnFault(was)
	why := h.lost(recovered)
	if h.single {
		h.gate.leave()
	}
	*err = h.forsake(why)
}

// lost makes an error of what was recovered. What is no fault in our memory is somebody else's.
func (h *handle) lost(recovered any) error {
	if addr, ok := fault.Address(recovered); ok && h.cfg.Memory != nil {
		if why := h.cfg.Memory.Lost(addr); why != nil {
			return why
		}
	}
	panic(recovered)
}

// forsake closes a handle whose memory is gone. Who is inside a call of it, or asleep, finds zeros,
// and then that it is closed: the reason is there first.
func (h *handle) forsake(why error) error {
	return h.fail(h.wrap(why), func(word *atomic.Uint32) {
		h.cfg.Memory.Forsake()
		h.stop(word)
	})
}
