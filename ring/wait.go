package ring

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/internal/spin"
	"github.com/shmring/shmring/layout"
)

// await returns nil when ready says so. Before each sleep it calls upkeep, which may
// make something ready or find a reason to give up.
//
// Data comes before errors: whatever ended a sleep, ready is asked first.
//
// idle is called once, when it looks as if the wait may take longer than a peer's
// next step. until, if not zero, ends the wait like the context's deadline.
func (c *core) await(ctx context.Context, op string, until time.Time, ready func() bool, idle func(), upkeep func() error) error {
	found, err := c.spin(ctx, op, until, ready, idle, upkeep)
	if found || err != nil {
		return err
	}
	if err := c.enterBlocking(); err != nil {
		return err
	}
	defer c.leaveBlocking()
	w := wait{c: c, ctx: ctx, until: until, stops: []*atomic.Uint32{&c.halt}, begun: time.Now()}
	w.checked = w.begun
	defer w.close()
	for {
		// Asked before looking: what was published before the end came is not overlooked.
		end := c.interrupted(ctx, op, until)
		if !ready() { // after a sleep the message comes first: upkeep takes 20 µs cold
			if err := upkeep(); err != nil {
				return err
			}
		}
		if ready() {
			if c.cfg.SpinFor > 0 && time.Since(w.begun) <= 2*c.cfg.SpinFor {
				c.eager.learn(true) // it would nearly have paid
			}
			return nil
		}
		if end != nil {
			return end
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
func (c *core) interrupted(ctx context.Context, op string, until time.Time) error {
	switch {
	case c.halt.Load() != 0:
		return c.why()
	case ctx.Err() != nil:
		return c.wrap(contextError(op, ctx))
	case !until.IsZero() && !time.Now().Before(until):
		return c.wrap(&ContextError{op, context.DeadlineExceeded, errTimeout})
	}
	return nil
}

// polls is how often one looks at the ring between two looks at the clock.
const polls = 64

// spinPiece is how long one spins between two looks after the dead.
const spinPiece = stalledCap

// spin busy-waits for as long as the handle's policy says.
func (c *core) spin(ctx context.Context, op string, until time.Time, ready func() bool, idle func(), upkeep func() error) (found bool, err error) {
	most := c.cfg.SpinFor
	if most == 0 {
		return false, nil
	}
	for range polls {
		if ready() {
			if most > 0 {
				c.eager.learn(true)
			}
			return true, nil
		}
		spin.Pause()
	}
	idle()
	left, probe := spinPiece, false // of those who spin for ever; the rest in poll
	if most > 0 {
		left, probe = c.eager.budget(most)
	}
	if left >= most {
		c.count(layout.Spins, 1)
	}
	for ; left > 0 && !found; left -= spinPiece {
		found = c.spinPiece(ctx, min(left, spinPiece), ready)
		if found || c.interrupted(ctx, op, until) != nil {
			break
		}
		if left > spinPiece {
			if err := upkeep(); err != nil {
				return false, err
			}
		}
	}
	switch {
	case probe && found:
		c.eager.resume()
	case most > 0:
		c.eager.learn(found)
	}
	return found, nil
}

// spinPiece polls for a while, or until something needs attention.
func (c *core) spinPiece(ctx context.Context, budget time.Duration, ready func() bool) bool {
	for begin := time.Now(); time.Since(begin) < budget; {
		for range polls {
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

// wait is the sleeping part of one blocking call.
type wait struct {
	c       *core
	ctx     context.Context
	until   time.Time // or zero
	begun   time.Time
	checked time.Time // when Config.Check was called last
	unhook  func() bool
	stops   []*atomic.Uint32
}

// checkEvery is how often a blocking call asks Config.Check, if it does not sleep
// longer.
const checkEvery = 150 * time.Millisecond

// A sleep may last an eighth of the time waited so far: what a sleeper notices only by
// itself, because a waker was killed or a peer died, it notices so much later at most,
// and who waits for long wakes seldom.
const sleepShare = 8

// piece is how long a sleep may last when so much time was waited.
func piece(waited, first, most time.Duration) time.Duration {
	return min(max(first, waited/sleepShare), most)
}

// caps fills in what Config.FirstSleep and MaxSleep leave out.
func caps(first, most time.Duration) (time.Duration, time.Duration) {
	if first == 0 {
		first = DefaultFirstSleep
	}
	return first, max(first, most)
}

// once waits a single time.
func (w *wait) once(ready func() bool) error {
	c := w.c
	now := time.Now()
	waited := now.Sub(w.begun)
	limit := piece(waited, c.cfg.FirstSleep, c.cfg.MaxSleep)
	if c.stalled {
		limit = min(limit, stalledCap)
	}
	if !w.until.IsZero() {
		limit = min(limit, max(w.until.Sub(now), 0))
	}
	if d, ok := w.ctx.Deadline(); ok {
		// The context ends the sleep by itself; this is for where that takes time.
		limit = min(limit, max(d.Sub(now), time.Millisecond))
	}
	if now.Sub(w.checked) >= checkEvery {
		w.checked = now
		if err := c.checkOutside(); err != nil {
			return err
		}
	}
	if c.cfg.SpinFor < 0 || c.sleepBell == nil {
		w.poll(ready, min(limit, c.cfg.FirstSleep))
		return nil
	}
	w.hook()
	return c.sleep(limit, waited, ready, w.stops)
}

// poll is once for those who never sleep.
func (w *wait) poll(ready func() bool, limit time.Duration) {
	for begin := time.Now(); ; spin.Yield() {
		for range 4 * polls {
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
	c, word := w.c, new(atomic.Uint32)
	w.stops = append(w.stops, word)
	w.unhook = context.AfterFunc(w.ctx, func() { c.stop(word) })
}

func (w *wait) close() {
	if w.unhook != nil {
		w.unhook()
	}
}
