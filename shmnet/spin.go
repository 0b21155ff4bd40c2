package shmnet

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/internal/spin"
)

// spinner decides how long a call looks before it sleeps. It is used by one goroutine at a time.
type spinner struct {
	off   bool
	score int32 // 0 to scoreMax: a moving average of how often it paid
	waits int32 // since it was tried last
	after int32 // how many of them there are to be before it is tried again
	// The last wait that was longer than a moment: which of turns it was, when, and whether it was one of many.
	turn  uint32
	at    time.Duration
	oneOf bool
}

const (
	scoreMax    = 1024
	scoreEnough = scoreMax / 3
	scoreShift  = 4
	// moment is how many looks come first, always.
	moment = 32
	// spinFor is about what sleeping and waking cost the two sides together.
	spinFor = 30 * time.Microsecond
	// probeFor is longer than waking takes, so that two who both sleep find back.
	probeFor   = 100 * time.Microsecond
	probeFirst = 16 // waits
	probeLast  = 256
	glance     = 4
	// calmAfter is how long nobody spins after somebody had use for the processor.
	calmAfter = 50 * time.Microsecond
	// busy is how long it takes to let others run where there are some.
	busy = 3 * time.Microsecond
	// preempted is what is more than goroutines take mostly: the system had use for the processor.
	preempted = 50 * time.Microsecond
	// closely is how long after each other waits come that are made by goroutines which take turns.
	closely = 100 * time.Microsecond
)

// turns is how many waits of this process were longer than a moment.
var turns atomic.Uint32

// processors is GOMAXPROCS of a moment ago: to ask for it takes a lock of the runtime's scheduler.
var processors atomic.Int32

const askProcessors = 1 << 10 // turns

// spinners is how many goroutines of this process spin. More than one for two processors take from
// those who have something to do.
var spinners atomic.Int32

// busyUntil is the time since began until which nobody spins.
var busyUntil atomic.Int64

func (s *spinner) start(off bool) {
	*s = spinner{off: off, score: scoreMax, after: probeFirst, turn: turns.Load()}
	processors.Store(int32(runtime.GOMAXPROCS(0)))
}

// takesTurns notes a wait, and whether it is one of so many of this process that there is work for every
// processor (oneOf). Who spins then keeps a processor from goroutines that are to run on another one:
// runtime.Gosched does not look for those, but a processor that has nothing to do does.
func (s *spinner) takesTurns(now time.Duration) {
	turn, elapsed := turns.Add(1), now-s.at
	if turn%askProcessors == 0 {
		processors.Store(int32(runtime.GOMAXPROCS(0)))
	}
	others := turn - s.turn - 1 // since the last one
	s.turn, s.at = turn, now
	s.oneOf = others >= uint32(processors.Load()) && time.Duration(others)*closely > elapsed
}

// spin looks until something is ready, while that is likely to pay.
func (s *spinner) spin(ready func() bool) bool {
	if s.off {
		return ready()
	}
	pays := s.score >= scoreEnough
	looks := moment
	now := time.Since(began)
	if !pays || s.oneOf || now < time.Duration(busyUntil.Load()) {
		looks = glance
	}
	for range looks {
		if ready() {
			s.learn(true)
			return true
		}
		spin.Pause()
	}
	if s.takesTurns(now); s.oneOf || pays && looks == glance {
		return false
	}
	budget, probe := spinFor, false
	if !pays {
		if s.waits++; s.waits < s.after {
			return false
		}
		s.waits, s.after = 0, min(2*s.after, probeLast)
		budget, probe = probeFor, true
	}
	if spinners.Add(1) > max(1, processors.Load()/2) {
		spinners.Add(-1)
		return false
	}
	found, left := spinUntil(ready, budget)
	spinners.Add(-1)
	if paid := found && !left; paid && probe {
		s.score = scoreMax / 2
	} else {
		s.learn(paid)
	}
	return found
}

// spinUntil looks for so long, and lets others run now and then. If one did it has left the processor to them: what it
// finds then does not say that looking pays, and where there is work for the processor, sleeping lets that come first.
func spinUntil(ready func() bool, budget time.Duration) (found, left bool) {
	for begin := time.Now(); ; {
		for range moment {
			if ready() {
				return true, false
			}
			spin.Pause()
		}
		now := time.Since(begin)
		if now >= budget {
			return false, false
		}
		runtime.Gosched()
		if took := time.Since(begin) - now; took > busy {
			if took < preempted { // else it may have been the system, and a while ago
				busyUntil.Store(int64(time.Since(began) + calmAfter))
			}
			return ready(), true
		}
	}
}

func (s *spinner) learn(paid bool) {
	if paid {
		if s.score >= scoreEnough {
			s.after = probeFirst
		}
		s.score += (scoreMax - s.score) >> scoreShift
	} else {
		s.score -= (s.score + 1<<scoreShift - 1) >> scoreShift
	}
}
