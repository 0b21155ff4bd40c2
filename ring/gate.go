package ring

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// gate lets a handle be closed under the feet of its users without costing them a
// LOCKed instruction.
//
// A single-goroutine handle (SPSC producer, consumer) brackets each call by enter
// and leave. The closer sets halt and then waits for busy to be clear. That is
// Dekker's problem: without a fence between the user's store of busy and its load of
// halt both may miss the other. The fence is all on the closer's side: stopping the
// world makes every thread of this process pass a full barrier, so afterwards either
// the user has seen halt or its busy is visible. (Asymmetric fences: folly's
// AsymmetricThreadFence does it with membarrier; a stop of the world is the one that
// needs nothing of the kernel.)
//
// A handle for many goroutines cannot be bracketed for free. Its calls look at halt
// when they begin and again after they published; its blocking calls register. The
// closer makes the rest harmless by what it does next: the mapping is replaced by
// private memory before the life lock goes (see shm.Segment.Close).
type gate struct {
	halt   atomic.Uint32 // 0: open. Also the stop word of every blocked call
	busy   flag
	single bool // this handle is for one goroutine at a time

	mu      sync.Mutex
	reason  error // why halt is set
	blocked int   // registered calls of many goroutines
	left    chan struct{}
}

// enter begins a call on a single-goroutine handle; false: halted. Two calls at once
// are the caller's bug, mostly found here, and by the race detector for sure.
func (g *gate) enter() bool {
	if g.busy.get() {
		panic("shmring: concurrent use of a handle that is for one goroutine at a time")
	}
	g.busy.set(true)
	if g.halt.Load() != 0 {
		g.busy.set(false)
		return false
	}
	return true
}

func (g *gate) leave() { g.busy.set(false) }

// enterBlocking registers a call that may sleep on a handle for many goroutines.
func (g *gate) enterBlocking() error {
	if g.single {
		return nil // busy already
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reason != nil {
		return g.reason
	}
	g.blocked++
	return nil
}

func (g *gate) leaveBlocking() {
	if g.single {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.blocked--; g.blocked == 0 && g.left != nil {
		close(g.left)
		g.left = nil
	}
}

// Closed reports whether the handle is of no use any more: closed, or poisoned by what
// a peer wrote. Any goroutine may ask.
func (g *gate) Closed() bool { return g.halt.Load() != 0 }

// why is the reason for halt.
func (g *gate) why() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reason
}

// shut halts the handle: no call begins any more, blocked ones end, and those that
// had begun are waited for (of a handle for many goroutines: the blocked ones).
// stop is how a blocked call is woken. Only the first call does anything.
func (g *gate) shut(stop func(*atomic.Uint32)) bool {
	g.mu.Lock()
	if g.reason == ErrClosed {
		g.mu.Unlock()
		return false
	}
	g.reason = ErrClosed
	var left chan struct{}
	if g.blocked > 0 {
		left = make(chan struct{})
		g.left = left
	}
	g.mu.Unlock()
	stop(&g.halt)
	if left != nil {
		<-left
	}
	if g.single {
		var m runtime.MemStats
		runtime.ReadMemStats(&m) // stops the world: the closer's side of the fence
		if g.busy.get() {
			for g.busy.get() {
				runtime.Gosched()
			}
			runtime.ReadMemStats(&m) // and now we see what that call wrote before it left
		}
	}
	return true
}

// poison halts the handle because of what a peer wrote. Later calls get err.
func (g *gate) poison(err error, stop func(*atomic.Uint32)) error {
	g.mu.Lock()
	if g.reason == nil {
		g.reason = err
	}
	err = g.reason
	g.mu.Unlock()
	stop(&g.halt)
	return err
}
