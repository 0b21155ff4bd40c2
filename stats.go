package shmring

import (
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/ring"
)

// Stats are the counters of one participant, and what holds it up.
type Stats struct {
	Messages uint64 `json:"messages"` // delivered; of a producer: of those it sent
	Bytes    uint64 `json:"bytes"`    // likewise, payload
	Full     uint64 `json:"full"`     // sends that met a full ring
	// Dropped counts messages given up because the ring was full. Of a consumer: records
	// passed over because a former one may have seen them (DeliveryAtMostOnce).
	Dropped uint64 `json:"dropped"`
	Sleeps  uint64 `json:"sleeps"` // times it began to sleep; a few find something at the last look
	Wakes   uint64 `json:"wakes"`  // times it woke a sleeping peer
	// SpuriousWakeups are sleeps that ended with nothing to do.
	SpuriousWakeups uint64 `json:"spurious_wakeups"`
	// TimeoutWakeups are sleeps that nobody ended, or had begun to end, though there was
	// something to do.
	TimeoutWakeups uint64 `json:"timeout_wakeups"`
	// LateWakeups are sleeps that ran out though somebody had begun to wake it, and was held
	// up or killed.
	LateWakeups uint64 `json:"late_wakeups"`
	Spins       uint64 `json:"spins"`   // waits in which it busy-waited for longer than a moment
	Skipped     uint64 `json:"skipped"` // claims of dead producers passed over
	Deaths      uint64 `json:"deaths"`  // dead producers found

	// Asleep is how long it slept, for all its goroutines together.
	Asleep time.Duration `json:"asleep_ns"`

	// HighWater is, of producers, the most slots of the ring that were taken when one of them asked how
	// much room there is: all the slots when it met a full ring. It asks when the room that it knew of
	// is used up, once in a ringful of slots at least, so a burst in between may have been missed. It
	// is over all that ever had its participant slot.
	HighWater uint64 `json:"high_water_slots"`

	// Fallbacks are better ways of waiting that the handle does without, and why.
	Fallbacks []string `json:"fallbacks,omitempty"`

	// Stalled is the claim of a live producer that an MPSC ring's consumer waits for at
	// present, or nil.
	Stalled *StalledClaim `json:"stalled,omitempty"`
}

// StalledClaim describes a claim at the head of an MPSC ring whose owner is alive and has
// not finished it: stopped, debugged, starved of processor time, or just slow. The consumer
// waits for it, however long it takes; [ForceSkip] is for those who know better.
type StalledClaim struct {
	Position Position      `json:"position"`
	Slots    int           `json:"slots"`
	Producer int           `json:"producer"` // participant slot
	PID      int           `json:"pid"`      // as the owner sees itself; for people
	Age      time.Duration `json:"age_ns"`   // since the consumer first met it
}

// SkippedClaim describes a claim that was passed over because its owner died.
type SkippedClaim struct {
	Position Position
	Slots    int
	PID      int // of the dead producer, as it saw itself
}

// plus adds the counters of another participant.
func (s Stats) plus(b Stats) Stats {
	s.Messages += b.Messages
	s.Bytes += b.Bytes
	s.Full += b.Full
	s.Dropped += b.Dropped
	s.Sleeps += b.Sleeps
	s.Wakes += b.Wakes
	s.SpuriousWakeups += b.SpuriousWakeups
	s.TimeoutWakeups += b.TimeoutWakeups
	s.LateWakeups += b.LateWakeups
	s.Spins += b.Spins
	s.Skipped += b.Skipped
	s.Deaths += b.Deaths
	s.Asleep += b.Asleep
	s.HighWater = max(s.HighWater, b.HighWater)
	return s
}

// finalStats are those of a handle that was closed: its segment does not show them any more.
type finalStats struct{ atomic.Pointer[Stats] }

func (f *finalStats) keep(s Stats) {
	s.Stalled = nil
	f.Store(&s)
}

// or returns them, or those of now. What now reads while the segment goes may be anything; but
// then they are kept already.
func (f *finalStats) or(now func() Stats) Stats {
	s := Stats{}
	if f.Load() == nil {
		s = now()
	}
	if last := f.Load(); last != nil {
		return *last
	}
	return s
}

func stalledOf(c ring.StalledClaim) StalledClaim {
	return StalledClaim{Position{Record: c.Position}, c.Slots, c.Producer, c.PID, c.Age}
}

func skippedOf(c ring.SkippedClaim) SkippedClaim {
	return SkippedClaim{Position{Record: c.Position}, c.Slots, c.PID}
}

func statsOf(s ring.Stats) Stats {
	own := Stats{
		Messages: s.Messages, Bytes: s.Bytes, Full: s.Full, Dropped: s.Dropped, Sleeps: s.Sleeps, Wakes: s.Wakes,
		SpuriousWakeups: s.SpuriousWakeups, TimeoutWakeups: s.TimeoutWakeups, LateWakeups: s.LateWakeups, Spins: s.Spins,
		Skipped: s.Skipped, Deaths: s.Deaths, Asleep: s.Asleep, HighWater: s.HighWater, Fallbacks: s.Fallbacks,
	}
	if s.Stalled != nil {
		claim := stalledOf(*s.Stalled)
		own.Stalled = &claim
	}
	return own
}
