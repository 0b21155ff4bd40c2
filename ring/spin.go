package ring

import (
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/internal/spin"
	"github.com/shmring/shmring/layout"
)

// pollUntil looks up to times times whether something is ready.
func pollUntil(ready func() bool, times int) bool {
	for range times {
		if ready() {
			return true
		}
		spin.Pause()
	}
	return false
}

// currentCPU is spin.CPU. Only tests replace it.
var currentCPU = spin.CPU

// locate notes on which processor this handle begins to wait, and returns that as it stands in
// the segment; 0: nobody knows.
func (h *handle) locate() uint32 {
	cpu := uint32(currentCPU() + 1)
	if own := &h.participants[h.index].CPU; own.Load() != cpu { // else the line stays with those who read it
		own.Store(cpu)
		killpoint.At(killpoint.CPUStored)
	}
	return cpu
}

// sharesCPU tells whether everybody that may be waited for has begun to wait on the processor
// that we are on: then nothing happens while we spin. What is not known does not count. A peer
// that lies costs itself time.
func (h *handle) sharesCPU() bool {
	cpu := h.locate()
	peers := h.participants[:layout.ConsumerIndex+1]
	if h.index == layout.ConsumerIndex {
		peers = h.participants[layout.ConsumerIndex+1:]
	}
	shared := false
	for i := range peers {
		if !peers[i].State.Load().Attached() {
			continue
		}
		if shared = cpu != 0 && peers[i].CPU.Load() == cpu; !shared {
			break
		}
	}
	if h.crowded.Load() != shared {
		h.crowded.Store(shared)
		if !shared {
			h.adaptive.apart()
		}
	}
	return shared
}

// adaptive decides how long a wait busy-waits before it sleeps. Spinning is worth it where
// the peer mostly answers within the budget. Elsewhere the processor time is wasted. So a
// handle learns how often spinning paid. The consumers' waits, the producers' and the
// poller's all learn in this one way.
//
// Two sides that have both stopped spinning must be able to find back: each then sees only
// answers that are late by the other's waking up. Two things see to that. Every wait looks
// for a moment, which finds a peer that spins. And now and then one waits for longer than
// waking up takes, which finds a peer that sleeps: its answer comes, the prober spins in
// the waits that follow, and the peer's momentary looks find it spinning. A probe after which
// nothing changes for the better is repeated ever more seldom.
type adaptive struct {
	waking time.Duration // how long a peer may sleep that has been rung for, if that is more than usual
	score  atomic.Int32  // 0 to adaptiveMax: a moving average of how often it paid
	waits  atomic.Int32  // since the last probe
	after  atomic.Int32  // how many of them there are to be before the next
	// together counts the waits in which the peer was on the same processor, since moveFor was
	// tried last, and moveAfter is after how many that is tried again.
	together, moveAfter atomic.Int32
}

const (
	adaptiveMax    = 1024
	adaptiveEnough = adaptiveMax / 3
	adaptiveResume = adaptiveMax / 2 // after a probe that paid
	adaptiveShift  = 3               // how fast it forgets: 1/8 at each wait
	probeFirst     = 16              // waits
	probeLast      = 256
	probeFactor    = 5 // times the budget: about what waking a sleeper takes
	momentShare    = 8 // of the budget: a peer that spins answers within that
	// napping is what a nap takes with the poll doorbell, and some more: the system's timers are
	// of a millisecond.
	napping = 3 * time.Millisecond

	// Two that take turns on one processor seem to need no more, so the system leaves them
	// there. It looks at its ticks, up to 10 ms apart, whether one waits for a processor that the
	// other does not give up.
	moveFor   = 10 * time.Millisecond
	moveFirst = 1 << 6 // waits
	moveLast  = 1 << 14
)

// start makes it expect that spinning pays.
func (a *adaptive) start(waking time.Duration) {
	a.waking = waking
	a.score.Store(adaptiveMax)
	a.after.Store(probeFirst)
	a.moveAfter.Store(moveFirst)
}

// moveDue is asked in each wait with the peer on the same processor: is it time to hold on to
// it until the system moves one of the two? It is ever less often.
func (a *adaptive) moveDue() bool {
	after := a.moveAfter.Load()
	if a.together.Add(1) < after {
		return false
	}
	a.together.Store(0)
	a.moveAfter.Store(min(2*after, moveLast))
	return true
}

// apart ends what moveDue counts.
func (a *adaptive) apart() {
	a.together.Store(0)
	a.moveAfter.Store(moveFirst)
}

// budget is how long to spin in the next wait beyond the first moment; most is what the
// user allows. A probe is a long one that learned calls back.
func (a *adaptive) budget(most time.Duration) (budget time.Duration, probe bool) {
	if a.score.Load() >= adaptiveEnough {
		return most, false
	}
	after := a.after.Load()
	if a.waits.Add(1) < after {
		return most / momentShare, false
	}
	a.waits.Store(0)
	a.after.Store(min(2*after, probeLast))
	return max(probeFactor*most, a.waking), true
}

// resume takes the place of learn after a probe that paid.
func (a *adaptive) resume() { a.score.Store(adaptiveResume) }

// learn notes whether what was waited for came within the budget, or would have.
func (a *adaptive) learn(paid bool) {
	// Several goroutines may do this at once: a lost update does no harm.
	s := a.score.Load()
	if paid {
		if s >= adaptiveEnough && a.after.Load() != probeFirst {
			a.after.Store(probeFirst)
		}
		s += (adaptiveMax - s) >> adaptiveShift
	} else {
		s -= (s + 1<<adaptiveShift - 1) >> adaptiveShift
	}
	a.score.Store(s)
}
