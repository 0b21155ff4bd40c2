package ring

import (
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// On an MPSC ring that is full, room goes to whoever is quickest, and a producer that
// needs many slots in a row would hardly ever find them free: others take each as it
// comes. So one that has waited for priorityAfter makes a priority claim. While somebody
// has priority, the others treat the ring as full once the room that they know of is used
// up.
//
// Priority is not a lock. It holds nothing up for longer than priorityPatience after there
// was room for its owner, who may have been stopped or killed: then whoever notices takes
// it away. Nothing else depends on it.
const (
	priorityAfter    = 5 * time.Millisecond
	priorityPatience = 20 * time.Millisecond
)

// priority is what a producer handle remembers of priority claims. Its goroutines share it.
type priority struct {
	own   atomic.Uint64 // the priority claim that one of our goroutines has
	other atomic.Uint64 // the priority claim of somebody else that we hold back for
	since atomic.Int64  // since when there was room for its owner, or 0
}

// origin of the times in priority.
var origin = time.Now()

// holdBack reports whether the room that there may be for a record of k slots is kept for
// somebody else. It takes priority away from an owner that does not use it. Not inlined:
// see cacheReadPos.
//
//go:noinline
func (p *Producer) holdBack(k uint64) bool {
	t := p.hot.Priority.Load()
	if t == 0 || uint64(t) == p.priority.own.Load() && k >= t.Slots() {
		return false // other goroutines of ours, with less to send, hold back too
	}
	if p.priority.other.Load() != uint64(t) {
		p.priority.since.Store(0)
		p.priority.other.Store(uint64(t))
	}
	if t.Slots() <= p.slots.count && !p.hasSpaceMPSC(t.Slots()) {
		return true
	}
	now := int64(time.Since(origin))
	since := p.priority.since.Load()
	if since == 0 {
		p.priority.since.Store(now)
		return true
	}
	if now-since < int64(priorityPatience) {
		return true
	}
	p.hot.Priority.CompareAndSwap(t, 0)
	killpoint.At(killpoint.PriorityEnded)
	return false
}

// claimPriority takes priority for a call that has waited for k slots for so long, if
// nobody has it.
func (p *Producer) claimPriority(k uint64, a *attempt) {
	if a.priority != 0 && p.hot.Priority.Load() != a.priority {
		p.priority.own.CompareAndSwap(uint64(a.priority), 0)
		a.priority = 0 // taken away
	}
	if a.priority != 0 || p.hot.Priority.Load() != 0 || time.Since(a.begun) < priorityAfter {
		return
	}
	t := layout.PackPriority(uint64(time.Since(origin)), k, p.index)
	if !p.priority.own.CompareAndSwap(0, uint64(t)) {
		return // another goroutine of ours has it, or is about to
	}
	if !p.hot.Priority.CompareAndSwap(0, t) {
		p.priority.own.Store(0)
		return
	}
	killpoint.At(killpoint.PriorityTaken)
	a.priority = t
}

// endPriority gives priority back, if this call had it, and wakes those who held back.
func (p *Producer) endPriority(a *attempt) {
	if a.priority == 0 {
		return
	}
	had := p.hot.Priority.CompareAndSwap(a.priority, 0)
	killpoint.At(killpoint.PriorityEnded)
	p.priority.own.CompareAndSwap(uint64(a.priority), 0)
	a.priority = 0
	if had {
		p.wakeAll(p.sleepWord, p.sleepBell)
	}
}
