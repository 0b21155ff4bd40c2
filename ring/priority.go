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
// Priority is not a lock. A call holds back for priorityPatience at most, whatever the word
// says: a peer may rewrite it all the time. And whoever holds back takes priority away from an
// owner that has had room for so long, or to which no room comes, because the consumer
// releases nothing, or in the end from anybody: the owner may have been stopped or killed, or
// want more than there will ever be. Nothing else depends on it.
const (
	priorityAfter    = 5 * time.Millisecond
	priorityPatience = 20 * time.Millisecond
	priorityMost     = 10 // times that, and an owner has it no longer
)

// priority is what a producer handle remembers of priority claims. Its goroutines share it.
type priority struct {
	patience time.Duration // priorityPatience; a test may have more

	own   atomic.Uint64 // the priority claim that one of our goroutines has
	other atomic.Uint64 // the priority claim of somebody else that we hold back for
	seen  atomic.Int64  // since when
	read  atomic.Uint64 // ReadPos when it was looked at last
	since atomic.Int64  // since when there was room for its owner, or none came
	tries atomic.Int64  // since when calls that do not wait have held back, or 0
}

// origin of the times in priority.
var origin = time.Now()

// isKept reports whether the room that there may be for a record of k slots is kept for
// somebody else. It takes priority away from an owner that does not use it, or cannot.
func (p *Producer) isKept(k uint64) bool {
	t := p.hot.Priority.Load()
	if t == 0 || uint64(t) == p.priority.own.Load() && k >= t.Slots() {
		return false // other goroutines of ours, with less to send, hold back too
	}
	now, read := int64(time.Since(origin)), p.hot.ReadPos.Load()
	if p.priority.other.Load() != uint64(t) {
		p.priority.other.Store(uint64(t))
		p.priority.seen.Store(now)
		p.priority.since.Store(now)
	}
	if p.priority.read.Load() != read {
		p.priority.read.Store(read)
		if t.Slots() <= p.slots.count && !p.hasSpaceMPSC(t.Slots()) {
			p.priority.since.Store(now) // there is not enough, but more than there was
		}
	}
	since, seen := p.priority.since.Load(), p.priority.seen.Load()
	patience := int64(p.priority.patience)
	if now-since < patience && now-seen < priorityMost*patience {
		return true
	}
	p.hot.Priority.CompareAndSwap(t, 0)
	killpoint.At(killpoint.PriorityEnded)
	return false
}

// holdBack is isKept for a call that does not wait. Since such calls are made again and
// again, patience is that of them all. Not inlined: see cacheReadPos.
//
//go:noinline
func (p *Producer) holdBack(k uint64) bool {
	if p.isKept(k) {
		now := int64(time.Since(origin))
		switch since := p.priority.tries.Load(); {
		case since == 0:
			p.priority.tries.Store(now)
			return true
		case now-since < int64(p.priority.patience):
			return true
		}
	}
	if p.priority.tries.Load() != 0 {
		p.priority.tries.Store(0)
	}
	return false
}

// holdBackIn is isKept for a call that waits, which there is room for. When it begins to hold
// back it reports false once: the call tries, is refused, and comes back to wait no longer
// than its patience lasts.
func (p *Producer) holdBackIn(k uint64, a *attempt) bool {
	if !p.isKept(k) {
		return false
	}
	if a.held.IsZero() {
		a.held = time.Now()
		return false
	}
	if time.Since(a.held) < p.priority.patience {
		return true
	}
	// Room that is known of is not kept; see reserveMPSC.
	if read := p.hot.ReadPos.Load(); int64(read-p.cachedReadPos.Load()) > 0 {
		p.cachedReadPos.Store(read)
	}
	return false
}

// claimPriority takes priority for a call that has waited for k slots for so long, if
// nobody has it.
func (p *Producer) claimPriority(k uint64, a *attempt) {
	waited := time.Since(a.begun)
	if a.priority != 0 && p.hot.Priority.Load() != a.priority {
		p.priority.own.CompareAndSwap(uint64(a.priority), 0)
		a.priority = 0         // taken away
		a.humbled = 2 * waited // it may be that we cannot be served: the others hold back ever more seldom
	}
	if a.priority != 0 || p.hot.Priority.Load() != 0 || waited < max(priorityAfter, a.humbled) {
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
