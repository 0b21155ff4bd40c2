package ring

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/internal/spin"
	"github.com/shmring/shmring/layout"
)

// wait is one blocking call while it waits.
type wait struct {
	h     *handle
	ctx   context.Context
	op    string    // for errors
	until time.Time // ends the wait like the context's deadline, unless zero
	// held, unless 0: there is room, and a producer keeps it for the owner of a priority claim
	// for so long at most. That ends by itself.
	held time.Duration

	begun   time.Time
	checked time.Time // when Config.Check and NoPeer were asked last
	seen    bool      // the file was looked at since the wait began
	unhook  func() bool
	stops   []*atomic.Uint32
}

const (
	// looks is how often one looks at the ring between two looks at the clock.
	looks = 64
	// spinPiece is how long one spins between two looks for dead peers.
	spinPiece = stalledSleep
	// checkEvery is how often a blocking call asks Config.Check and NoPeer, if it does not sleep longer.
	checkEvery = 150 * time.Millisecond
	// Who begins to sleep looks at the file first, unless its handle has done so within lookAgain: a
	// look takes two system calls, 2 µs. Otherwise it sleeps until lookBy is over, and
	// looks then. That is not the same time, so that a wait among many short ones has no sleep cut.
	lookAgain = 4 * time.Millisecond
	lookBy    = 8 * time.Millisecond
	// A sleep may last an eighth of the time waited so far. What a sleeper notices only by
	// itself, because a notifier was killed or a peer died, it notices so much later at most,
	// and who waits for long wakes seldom.
	sleepShare = 8
)

// await returns nil when ready says so. Data comes before errors: whatever ended a sleep,
// ready is asked first. maintain is called before each sleep. It may make something ready
// or find a reason to give up. idle is called once, when it looks as if the wait may take
// longer than a peer's next step. (The functions are no fields of wait: they would be
// allocated.)
func (w *wait) await(ready func() bool, idle func(), maintain func() error) error {
	h := w.h
	found, err := w.spin(ready, idle, maintain)
	if found || err != nil {
		return err
	}
	if err := h.enterBlocking(); err != nil {
		return err
	}
	defer h.leaveBlocking()
	w.stops = append(w.stops, &h.stopped)
	w.begun = time.Now()
	w.checked = w.begun
	defer w.close()
	// Whoever waits for long is mostly here when its file is truncated. It costs a wait nothing
	// that can be measured to be guarded, whether the handle has a front or not.
	if lost := h.Guard(func() { err = w.loop(ready, maintain) }); lost != nil {
		return lost
	}
	return err
}

// loop is what await does once it is known to take longer.
func (w *wait) loop(ready func() bool, maintain func() error) error {
	h := w.h
	for {
		// Asked before looking: what was published before the end came is not overlooked.
		end := w.interrupted()
		if !ready() { // after a sleep the message comes first: maintain takes 20 µs cold
			if err := maintain(); err != nil {
				return err
			}
		}
		if ready() {
			if h.cfg.SpinFor > 0 && !h.crowded.Load() && time.Since(w.begun) <= 2*h.cfg.SpinFor {
				h.adaptive.learn(true) // spinning would nearly have paid
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

// interrupted tells why the call should not go on.
func (w *wait) interrupted() error {
	h := w.h
	switch {
	case h.stopped.Load() != 0:
		return h.refusal()
	case w.ctx.Err() != nil:
		return h.wrap(contextError(w.op, w.ctx))
	case !w.until.IsZero() && !time.Now().Before(w.until):
		return h.wrap(&ContextError{w.op, context.DeadlineExceeded, errTimeout})
	}
	return nil
}

// spin busy-waits for as long as the handle's policy says.
func (w *wait) spin(ready func() bool, idle func(), maintain func() error) (found bool, err error) {
	h := w.h
	most := h.cfg.SpinFor
	if most == 0 {
		h.locate() // for the peer
		return false, nil
	}
	if most > 0 && h.crowded.Load() && h.sharesCPU() {
		idle()
		// The peer does not get to answer while we spin, unless the system moves one of us.
		return h.adaptive.moveDue() && spin.MayMove() && w.spinPiece(moveFor, ready), nil
	}
	if pollUntil(ready, looks) {
		if most > 0 {
			h.adaptive.learn(true)
		}
		return true, nil
	}
	idle()
	switch {
	case most < 0:
		h.locate() // for the peer
	case h.sharesCPU():
		return false, nil
	}
	left, probe := spinPiece, false // of those who spin for ever; the rest in poll
	if most > 0 {
		left, probe = h.adaptive.budget(most)
	}
	if left >= most {
		h.count(layout.Spins, 1)
	}
	for ; left > 0 && !found; left -= spinPiece {
		found = w.spinPiece(min(left, spinPiece), ready)
		if found || w.interrupted() != nil {
			break
		}
		if left > spinPiece {
			if err := maintain(); err != nil {
				return false, err
			}
		}
	}
	switch {
	case probe && found:
		h.adaptive.resume()
	case most > 0:
		h.adaptive.learn(found)
	}
	return found, nil
}

// spinPiece polls for a while, or until something needs attention.
func (w *wait) spinPiece(budget time.Duration, ready func() bool) bool {
	for begin := time.Now(); time.Since(begin) < budget; {
		if pollUntil(ready, looks) {
			return true
		}
		if w.h.stopped.Load() != 0 || w.ctx.Err() != nil {
			return false
		}
	}
	return false
}

// sleepLimit is how long a sleep may last when so much time was waited.
func sleepLimit(waited, first, most time.Duration) time.Duration {
	return min(max(first, waited/sleepShare), most)
}

// once waits a single time.
func (w *wait) once(ready func() bool) error {
	h := w.h
	now := time.Now()
	waited := now.Sub(w.begun)
	limit := sleepLimit(waited, h.cfg.FirstSleep, h.cfg.MaxSleep)
	if h.stalled {
		limit = min(limit, stalledSleep)
	}
	if w.held > 0 {
		limit = min(limit, w.held)
	}
	if !w.until.IsZero() {
		limit = min(limit, max(w.until.Sub(now), 0))
	}
	if d, ok := w.ctx.Deadline(); ok {
		// The context ends the sleep by itself; this is for where that takes time.
		limit = min(limit, max(d.Sub(now), time.Millisecond))
	}
	next, err := w.look(now)
	// What we wait for may have come, and its sender gone, since we looked.
	if err != nil && (h.Closed() || !ready()) {
		return err
	}
	if next > 0 {
		limit = min(limit, next)
	}
	if h.cfg.SpinFor < 0 || h.sleepBell == nil {
		w.poll(min(limit, h.cfg.FirstSleep), ready)
		return nil
	}
	w.hook()
	return h.sleep(limit, waited, w.held > 0, ready, w.stops)
}

// look looks at the file from outside when it is time for that, and tells in how long to get up for the
// next look, or 0: when the call is up anyhow. Where a page of the file is missing, which reads as zeros,
// the ring may be silent for ever, and nothing else tells of it.
func (w *wait) look(now time.Time) (next time.Duration, err error) {
	h := w.h
	switch {
	case now.Sub(w.checked) >= checkEvery:
		w.checked, w.seen = now, true
		err = h.checkOutside()
	case !w.seen:
		before, at := h.lookedAt.Load(), sinceLoaded(now)
		// Of many goroutines that wait on one handle one looks. What it finds ends the others.
		if w.seen = before >= sinceLoaded(w.begun); w.seen {
			break
		}
		if ago := time.Duration(at - before); ago < lookAgain {
			return lookBy - ago, nil
		}
		if w.seen = true; h.lookedAt.CompareAndSwap(before, at) {
			err = h.checkFile()
		}
	}
	return 0, err
}

// poll is once for those who never sleep.
func (w *wait) poll(limit time.Duration, ready func() bool) {
	for begin := time.Now(); ; spin.Yield() {
		if pollUntil(ready, 4*looks) || w.h.stopped.Load() != 0 || w.ctx.Err() != nil || time.Since(begin) >= limit {
			return
		}
	}
}

// hook makes the context end sleeps. It allocates, so it is done by calls that do sleep,
// once.
func (w *wait) hook() {
	if w.unhook != nil || w.ctx.Done() == nil {
		return
	}
	h, word := w.h, new(atomic.Uint32)
	w.stops = append(w.stops, word)
	w.unhook = context.AfterFunc(w.ctx, func() {
		// On a goroutine of its own. A fault ends all sleeps on the handle.
		_ = h.Guard(func() { h.stop(word) })
	})
}

func (w *wait) close() {
	if w.unhook != nil {
		w.unhook()
	}
}
