package ring

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// gate lets a handle be closed under the feet of its users without costing them a LOCKed
// instruction.
//
// A handle for one goroutine (SPSC producer, consumer) brackets each call by enter and
// leave. The closer sets closed and then waits for busy to be clear. That is Dekker's
// problem: without a fence between the user's store of busy and its load of closed, both
// may miss the other. The fence is all on the closer's side: stopping the world makes
// every thread of this process pass a full barrier, so afterwards either the user has
// seen closed or its busy is visible. (Asymmetric fences: folly's AsymmetricThreadFence
// does it with membarrier; a stop of the world needs nothing of the kernel.)
//
// A handle for many goroutines cannot be bracketed for free. Its calls look at closed
// when they begin and again after they published; its blocking calls register. The
// closer makes the rest harmless by what it does next: the mapping is replaced by
// private memory before the life lock goes (see shm.Segment.Close).
type gate struct {
	stopped atomic.Uint32 // unless 0: it is closed, or refuses. The stop word of every blocked call
	busy    flag
	single  bool // this handle is for one goroutine at a time

	closed  atomic.Bool           // set before stopped
	refused atomic.Pointer[error] // why it refuses; it stays when that is over

	mu      sync.Mutex
	reason  error // why it is closed
	blocked int   // registered calls of many goroutines
	left    chan struct{}
}

// enter begins a call on a handle for one goroutine; false: the handle is closed, or refuses
// at present, see refusal. Two calls at once are the caller's bug. Most are found here; the
// race detector finds all.
func (g *gate) enter() bool {
	if g.busy.get() {
		panic("shmring: concurrent use of a handle that is for one goroutine at a time")
	}
	g.busy.set(true)
	if g.stopped.Load() != 0 {
		g.busy.set(false)
		return false
	}
	return true
}

// enterAnyway is enter for calls that a handle which refuses does not refuse.
func (g *gate) enterAnyway() bool {
	if g.enter() {
		return true
	}
	g.busy.set(true)
	if g.Closed() {
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

// Closed reports whether the handle is of no use any more: it was closed, or it failed
// because of what a peer wrote. Any goroutine may ask.
func (g *gate) Closed() bool { return g.closed.Load() }

// refuse makes enter fail for that reason until allow, and ends blocked calls by stop, unless
// the gate is closed. One goroutine calls the two.
func (g *gate) refuse(err error, stop func(*atomic.Uint32)) {
	g.refused.Store(&err)
	if g.stopped.Load() == 0 {
		stop(&g.stopped)
	}
}

func (g *gate) allow() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reason == nil { // else close has stopped it, or is about to
		g.stopped.Store(0)
	}
}

// refusal is why the handle is closed, or refuses.
func (g *gate) refusal() error {
	if err := g.closeReason(); err != nil {
		return err
	}
	if why := g.refused.Load(); why != nil {
		return *why
	}
	return nil
}

// closeReason is why the handle is closed, or nil.
func (g *gate) closeReason() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reason
}

// close closes the handle: no call begins any more, blocked ones end, and it waits for
// those that had begun (of a handle for many goroutines: for the blocked ones). stop ends
// blocked calls by setting a stop word. Only the first call does anything. lost tells that the
// memory of the ring is gone: then a call that had begun may have ended by a fault, which its
// user has recovered from, and so may never leave.
func (g *gate) close(stop func(*atomic.Uint32), lost func() bool) bool {
	g.mu.Lock()
	if g.reason == ErrClosed {
		g.mu.Unlock()
		return false
	}
	g.reason = ErrClosed
	g.closed.Store(true)
	var left chan struct{}
	if g.blocked > 0 {
		left = make(chan struct{})
		g.left = left
	}
	g.mu.Unlock()
	stop(&g.stopped)
	if left != nil {
		<-left
	}
	if g.single {
		var m runtime.MemStats
		runtime.ReadMemStats(&m) // stops the world: the closer's side of the fence
		if g.busy.get() {
			g.awaitLeave(lost)
			runtime.ReadMemStats(&m) // and now we see what that call wrote before it left
		}
	}
	return true
}

// askLost is how often awaitLeave asks whether the memory is gone.
const askLost = 10 * time.Millisecond

// awaitLeave waits for a call to leave that had begun.
func (g *gate) awaitLeave(lost func() bool) {
	for asked := time.Now(); g.busy.get(); runtime.Gosched() {
		if time.Since(asked) < askLost {
			continue
		}
		if lost() {
			return
		}
		asked = time.Now()
	}
}

// fail closes the handle because of what a peer wrote. Later calls get err.
func (g *gate) fail(err error, stop func(*atomic.Uint32)) error {
	g.mu.Lock()
	if g.reason == nil {
		g.reason = err
		g.closed.Store(true)
	}
	err = g.reason
	g.mu.Unlock()
	stop(&g.stopped)
	return err
}
