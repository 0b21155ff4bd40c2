package ring

import (
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// On an MPSC ring that is full, room goes to whoever is quickest, and a producer that
// needs many slots in a row would hardly ever find them free: others take each as it
// comes. So one that has waited for turnAfter asks for the turn. While somebody has it,
// the others treat the ring as full once the room that they know of is used up.
//
// The turn is a courtesy, not a lock. It holds nothing up for longer than turnPatience
// after there was room for its owner, who may have been stopped or killed: then whoever
// notices takes it away. Nothing else depends on it.
const (
	turnAfter    = 5 * time.Millisecond
	turnPatience = 20 * time.Millisecond
)

// courtesy is what a producer handle remembers of turns. Its goroutines share it.
type courtesy struct {
	own   atomic.Uint64 // the turn that one of our goroutines has
	other atomic.Uint64 // the turn of somebody else that we hold back for
	since atomic.Int64  // since when there was room for its owner, or 0
}

// origin of the times in courtesy.
var origin = time.Now()

// yields tells whether the room that there may be for a record of k slots is kept for
// somebody else. Not inlined: see saw.
//
//go:noinline
func (p *Producer) yields(k uint64) bool {
	t := layout.Priority(p.hot.Priority.Load())
	if t == 0 || uint64(t) == p.turn.own.Load() && k >= t.Slots() {
		return false // other goroutines of ours, with less to send, hold back too
	}
	if p.turn.other.Load() != uint64(t) {
		p.turn.since.Store(0)
		p.turn.other.Store(uint64(t))
	}
	if t.Slots() <= p.slots && !p.roomFor(t.Slots()) {
		return true
	}
	now := int64(time.Since(origin))
	since := p.turn.since.Load()
	if since == 0 {
		p.turn.since.Store(now)
		return true
	}
	if now-since < int64(turnPatience) {
		return true
	}
	p.hot.Priority.CompareAndSwap(uint64(t), 0)
	killpoint.At(killpoint.PriorityEnded)
	return false
}

// roomFor tells whether a record of k slots, or the padding before it, would fit. It
// loads Tail and ReadPos afresh; see roomOwn and claimShared for the order.
func (p *Producer) roomFor(k uint64) bool {
	read := p.hot.ReadPos.Load() // S2
	pos := p.pos
	if p.shared {
		pos = layout.Tail(p.hot.Tail.Load()).Pos(read)
	}
	need, _ := p.room(pos, k)
	return pos+need-read <= p.slots
}

// askTurn takes the turn for a call that has waited for k slots for so long, if nobody
// has it.
func (p *Producer) askTurn(k uint64, a *attempt) {
	if a.turn != 0 && p.hot.Priority.Load() != uint64(a.turn) {
		p.turn.own.CompareAndSwap(uint64(a.turn), 0)
		a.turn = 0 // taken away
	}
	if a.turn != 0 || p.hot.Priority.Load() != 0 || time.Since(a.begun) < turnAfter {
		return
	}
	t := layout.PackPriority(uint64(time.Since(origin)), k, p.me)
	if !p.turn.own.CompareAndSwap(0, uint64(t)) {
		return // another goroutine of ours has it, or is about to
	}
	if !p.hot.Priority.CompareAndSwap(0, uint64(t)) {
		p.turn.own.Store(0)
		return
	}
	killpoint.At(killpoint.PriorityTaken)
	a.turn = t
}

// endTurn gives the turn back, if this call had it, and wakes those who held back.
func (p *Producer) endTurn(a *attempt) {
	if a.turn == 0 {
		return
	}
	had := p.hot.Priority.CompareAndSwap(uint64(a.turn), 0)
	killpoint.At(killpoint.PriorityEnded)
	p.turn.own.CompareAndSwap(uint64(a.turn), 0)
	a.turn = 0
	if had {
		p.rouse(p.sleepWord, p.sleepBell)
	}
}
