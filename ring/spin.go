package ring

import (
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/internal/spin"
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

// adaptive decides how long a wait busy-waits before it sleeps. Spinning is worth it where
// the peer mostly answers within the budget. Elsewhere the processor time is wasted. So a
// handle learns how often spinning paid. The consumers' waits, the producers' and the
// poller's all learn in this one way.
//
// Two sides that have both stopped spinning must be able to find back: each then sees only
// answers that are late by the other's waking up. Two things see to that. Every wait looks
// for a moment, which finds a peer that spins. And now and then one waits for longer than
// waking up takes, which finds a peer that sleeps: its answer comes, the prober spins in
// the waits that follow, and the peer's momentary looks find it spinning.
type adaptive struct {
	score atomic.Int32 // 0 to adaptiveMax: a moving average of how often it paid
	waits atomic.Int32 // since the last probe
}

const (
	adaptiveMax    = 1024
	adaptiveEnough = adaptiveMax / 3
	adaptiveResume = adaptiveMax / 2 // after a probe that paid
	adaptiveShift  = 3               // how fast it forgets: 1/8 at each wait
	probeEvery     = 16              // waits
	probeFactor    = 5               // times the budget: about what waking a sleeper takes
	momentShare    = 8               // of the budget: a peer that spins answers within that
)

// start makes it expect that spinning pays.
func (a *adaptive) start() { a.score.Store(adaptiveMax) }

// budget is how long to spin in the next wait beyond the first moment; most is what the
// user allows. A probe is a long one that learned calls back.
func (a *adaptive) budget(most time.Duration) (budget time.Duration, probe bool) {
	if a.score.Load() >= adaptiveEnough {
		return most, false
	}
	if a.waits.Add(1) < probeEvery {
		return most / momentShare, false
	}
	a.waits.Store(0)
	return probeFactor * most, true
}

// resume takes the place of learn after a probe that paid.
func (a *adaptive) resume() { a.score.Store(adaptiveResume) }

// learn notes whether what was waited for came within the budget, or would have.
func (a *adaptive) learn(paid bool) {
	// Several goroutines may do this at once: a lost update does no harm.
	s := a.score.Load()
	if paid {
		s += (adaptiveMax - s) >> adaptiveShift
	} else {
		s -= (s + 1<<adaptiveShift - 1) >> adaptiveShift
	}
	a.score.Store(s)
}
