package ring

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/internal/spin"
	"github.com/shmring/shmring/layout"
)

// The bell word: bit 0 says that somebody sleeps, the rest counts rings.
//
//	sleeper                                     waker, right after it published
//	  announce: word |= 1, remember word          (publish is a full barrier)
//	  look at the ring again        (B2)          load word             (B1)
//	  nothing: sleep while word is that           bit 0 clear: done, one load in all
//	                                              CAS word to bit clear, count+1; won: wake
//
// The announcement and the publish are each followed by a load of what the other
// side stored. All four are sequentially consistent, so at least one of the loads
// sees the other's store: either the sleeper finds the data or the waker finds the
// sleeper. A C reader looks for a fence here: Go's atomic Or, Store and
// CompareAndSwap are one. Between looking and sleeping the kernel compares the word
// once more, so a ring in between ends the sleep at once.
//
// The waker clears the bit before it wakes. If it is killed in between, nobody wakes
// the sleeper and no later waker sees the bit: that is what the cap on every sleep is
// for.

// sleeper is one side's end of its two bells.
type sleeper struct {
	sleepWord *atomic.Uint32
	sleepBell Bell
	ringWord  *atomic.Uint32
	ringBell  Bell
	alone     bool // nobody else sleeps on sleepWord, so its bit may be taken back
	stalled   bool // an unfinished claim is next: sleep in short pieces
}

// ring follows every publish and every release (B1).
func (c *core) ring() {
	if c.ringWord.Load()&layout.BellSleeping != 0 {
		c.wake()
	}
}

func (c *core) wake() {
	w := c.ringWord.Load()
	if w&layout.BellSleeping == 0 || !c.ringWord.CompareAndSwap(w, (w+layout.BellCount)&^layout.BellSleeping) {
		return // somebody else rings, or the sleeper got up by itself
	}
	killpoint.At(killpoint.BellCleared)
	if w&layout.BellSleeper != 0 && c.ringBell != nil {
		c.ringBell.Wake(w)
	}
	killpoint.At(killpoint.Woken)
	c.count(layout.Wakes, 1)
}

// stop is how a blocked call of this handle is ended.
func (c *core) stop(word *atomic.Uint32) {
	if c.sleepBell != nil {
		c.sleepBell.Stop(word)
		return
	}
	word.Store(1)
}

// wait is one blocking call's waiting: it spins for the handle's budget, then sleeps.
type wait struct {
	c      *core
	ctx    context.Context
	unhook func() bool
	stops  []*atomic.Uint32
}

// await returns nil when ready says so. Before each sleep it calls upkeep, which may
// make something ready or find a reason to give up.
//
// Data comes before errors: whatever ended a sleep, ready is asked first.
//
// idle is called once, when it looks as if the wait may take longer than a peer's
// next step.
func (c *core) await(ctx context.Context, op string, ready func() bool, idle func(), upkeep func() error) error {
	left := c.cfg.Spin
	if left < 0 {
		left = spinPiece // and goes on in poll
	}
	for ; left > 0; left -= spinPiece {
		if c.spinUntil(ctx, min(left, spinPiece), ready, idle) {
			return nil
		}
		if c.interrupted(ctx, op) != nil {
			break
		}
		if left > spinPiece {
			if err := upkeep(); err != nil {
				return err
			}
		}
	}
	if err := c.enterBlocking(); err != nil {
		return err
	}
	defer c.leaveBlocking()
	w := wait{c: c, ctx: ctx, stops: []*atomic.Uint32{&c.halt}}
	defer w.close()
	for round := 1; ; round++ {
		if err := upkeep(); err != nil {
			return err
		}
		if ready() {
			return nil
		}
		if err := c.interrupted(ctx, op); err != nil {
			return err
		}
		if round%checkEvery == 0 {
			if err := c.checkOutside(); err != nil {
				return err
			}
		}
		if err := w.once(ready); err != nil {
			return err
		}
	}
}

func (c *core) checkOutside() error {
	if c.cfg.Check == nil {
		return nil
	}
	return c.cfg.Check()
}

// interrupted tells why a blocking call should not go on.
func (c *core) interrupted(ctx context.Context, op string) error {
	if c.halt.Load() != 0 {
		return c.why()
	}
	if ctx.Err() != nil {
		return contextError(op, ctx)
	}
	return nil
}

// checkEvery is how many sleeps of one call pass between two calls of Config.Check.
const checkEvery = 16

// spinPiece is how long one spins between two looks after the dead.
const spinPiece = stalledCap

// spinUntil polls for a while, or until something needs attention.
func (c *core) spinUntil(ctx context.Context, budget time.Duration, ready func() bool, idle func()) bool {
	const polls = 64 // between two looks at the clock
	for i := 0; i < polls; i++ {
		if ready() {
			return true
		}
		spin.Pause()
	}
	idle()
	for begin := time.Now(); time.Since(begin) < budget; {
		for i := 0; i < polls; i++ {
			if ready() {
				return true
			}
			spin.Pause()
		}
		if c.halt.Load() != 0 || ctx.Err() != nil {
			return false
		}
	}
	return false
}

// once waits a single time, for at most the cap.
func (w *wait) once(ready func() bool) error {
	c := w.c
	limit := c.cfg.Cap
	if c.stalled {
		limit = min(limit, stalledCap)
	}
	if d, ok := w.ctx.Deadline(); ok {
		limit = min(limit, max(time.Until(d), 0))
	}
	if c.cfg.Spin < 0 || c.sleepBell == nil {
		w.poll(ready, limit)
		return nil
	}
	w.hook()
	// With GOMAXPROCS=1 the goroutines that could run now would otherwise wait until the
	// runtime notices that this one blocks, which takes it up to 10 ms.
	runtime.Gosched()
	c.count(layout.Sleeps, 1)
	key := c.sleepWord.Or(layout.BellSleeper) | layout.BellSleeper
	killpoint.At(killpoint.Announced)
	if ready() { // B2
		c.unannounce(key)
		return nil
	}
	timedOut, err := c.sleepBell.Sleep(key, limit, w.stops)
	if err != nil {
		return err
	}
	switch {
	case ready():
		if timedOut && c.nobodyRang(key) {
			c.count(layout.Rescues, 1)
		}
	case !timedOut:
		c.count(layout.Spurious, 1)
	}
	c.unannounce(key)
	return nil
}

// unannounce takes the sleeping bit back where nobody else can have set it. Producers
// share theirs: one that got up must not silence the bell for those still asleep.
func (c *core) unannounce(key uint32) {
	if c.alone {
		c.sleepWord.CompareAndSwap(key, key&^layout.BellSleeping)
		killpoint.At(killpoint.Unannounced)
	}
}

// nobodyRang tells a wake-up that was lost from one that is only late: a waker that
// has published may be between that and the bell. It gives it a millisecond.
func (c *core) nobodyRang(key uint32) bool {
	for begin := time.Now(); time.Since(begin) < time.Millisecond; spin.Yield() {
		if c.sleepWord.Load() != key {
			return false
		}
	}
	return true
}

// poll is once for those who never sleep.
func (w *wait) poll(ready func() bool, limit time.Duration) {
	for begin := time.Now(); ; spin.Yield() {
		for i := 0; i < 256; i++ {
			if ready() {
				return
			}
			spin.Pause()
		}
		if w.c.halt.Load() != 0 || w.ctx.Err() != nil || time.Since(begin) >= limit {
			return
		}
	}
}

// hook makes the context end sleeps. It allocates, so it is done by calls that do
// sleep, once.
func (w *wait) hook() {
	if w.unhook != nil || w.ctx.Done() == nil {
		return
	}
	bell, word := w.c.sleepBell, new(atomic.Uint32)
	w.stops = append(w.stops, word)
	w.unhook = context.AfterFunc(w.ctx, func() { bell.Stop(word) })
}

func (w *wait) close() {
	if w.unhook != nil {
		w.unhook()
	}
}
