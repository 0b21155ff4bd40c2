package ring

import (
	"sync/atomic"
	"time"
)

// eagerness decides how long a wait busy-waits before it sleeps. Spinning is worth it
// where the peer mostly answers within the budget; where it does not, the processor
// time is for nothing. So a handle remembers how it went.
//
// Two sides that both have stopped spinning must be able to find back: each then only
// sees answers that are late by the other's waking up. Two things see to that. Every
// wait looks for a moment, which finds a peer that spins. And now and then one
// waits for longer than waking up takes, which finds one that sleeps: its answer comes,
// after which the prober spins in the waits that follow, and the peer's momentary looks
// find it so.
type eagerness struct {
	score atomic.Int32 // 0 to eagerMost: a moving average of how often it paid
	waits atomic.Int32 // since the last probe
}

const (
	eagerMost   = 1024
	eagerEnough = eagerMost / 3
	eagerAgain  = eagerMost / 2 // after a probe that paid
	eagerShift  = 3             // how fast it forgets: 1/8 at each wait
	probeEvery  = 16            // waits
	probeFactor = 5             // times the budget: about what waking a sleeper takes
	momentShare = 8             // of the budget: a peer that spins answers within that
)

// budget is how long to spin in the next wait beyond the first moment; most is what the
// user allows.
func (e *eagerness) budget(most time.Duration) (budget time.Duration, probe bool) {
	if e.score.Load() >= eagerEnough {
		return most, false
	}
	if e.waits.Add(1) < probeEvery {
		return most / momentShare, false
	}
	e.waits.Store(0)
	return probeFactor * most, true
}

// resume is learn after a probe that paid.
func (e *eagerness) resume() { e.score.Store(eagerAgain) }

// learn notes whether what was waited for came within the budget, or would have.
func (e *eagerness) learn(paid bool) {
	// Several goroutines may do this at once: a lost update is no harm.
	s := e.score.Load()
	if paid {
		s += (eagerMost - s) >> eagerShift
	} else {
		s -= (s + 1<<eagerShift - 1) >> eagerShift
	}
	e.score.Store(s)
}
