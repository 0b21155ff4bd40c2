package ring

import (
	"time"

	"github.com/shmring/shmring/layout"
)

// Stats are the counters of one participant, and what holds it up.
type Stats struct {
	Messages uint64 `json:"messages"` // delivered; of a producer: of those it sent
	Bytes    uint64 `json:"bytes"`    // likewise, payload
	Full     uint64 `json:"full"`     // sends that met a full ring
	// Dropped are messages given up because the ring was full; of a consumer: records skipped
	// because a former one may have seen them (Config.AtMostOnce).
	Dropped         uint64 `json:"dropped"`
	Sleeps          uint64 `json:"sleeps"`           // times it went to sleep; a few find something at the last look
	Wakes           uint64 `json:"wakes"`            // times it woke a sleeping peer
	SpuriousWakeups uint64 `json:"spurious_wakeups"` // sleeps that ended with nothing to do
	// TimeoutWakeups are sleeps that nobody ended, or had begun to end, though there was
	// something to do.
	TimeoutWakeups uint64 `json:"timeout_wakeups"`
	// LateWakeups are sleeps that ran out though a peer had begun to end them: it was held up,
	// or killed.
	LateWakeups uint64 `json:"late_wakeups"`
	Spins       uint64 `json:"spins"`   // waits in which it busy-waited for longer than a moment
	Skipped     uint64 `json:"skipped"` // claims of dead producers discarded
	Deaths      uint64 `json:"deaths"`  // dead producers found

	// Asleep is how long it slept, for all its goroutines together.
	Asleep time.Duration `json:"asleep_ns"`

	// HighWater is, of producers, the most slots of the ring that were taken when one asked how much room
	// there is, over all that ever had this place: the greatest depth that was seen, which may have been
	// exceeded for less than a ringful of messages.
	HighWater uint64 `json:"high_water_slots"`

	// Fallbacks are better ways of waiting that the handle does without, and why.
	Fallbacks []string `json:"fallbacks,omitempty"`

	// Stalled is the claim of a live producer that an MPSC ring's consumer waits for at
	// present, or nil.
	Stalled *StalledClaim `json:"stalled,omitempty"`
}

// minus is what was counted since b.
func (s Stats) minus(b Stats) Stats {
	s.Messages -= b.Messages
	s.Bytes -= b.Bytes
	s.Full -= b.Full
	s.Dropped -= b.Dropped
	s.Sleeps -= b.Sleeps
	s.Wakes -= b.Wakes
	s.SpuriousWakeups -= b.SpuriousWakeups
	s.TimeoutWakeups -= b.TimeoutWakeups
	s.LateWakeups -= b.LateWakeups
	s.Spins -= b.Spins
	s.Skipped -= b.Skipped
	s.Deaths -= b.Deaths
	s.Asleep -= b.Asleep
	return s
}

// counters are those of a participant slot, over all the owners it had.
func (s *segment) counters(i int) Stats {
	n := func(which layout.Counter) uint64 { return s.participants[i].Counters[which].Load() }
	return Stats{
		Messages: n(layout.Messages), Bytes: n(layout.Bytes), Full: n(layout.Full), Dropped: n(layout.Dropped),
		Sleeps: n(layout.Sleeps), Wakes: n(layout.Wakes), SpuriousWakeups: n(layout.SpuriousWakeups),
		TimeoutWakeups: n(layout.TimeoutWakeups), LateWakeups: n(layout.LateWakeups), Spins: n(layout.Spins),
		Skipped: n(layout.Skipped), Deaths: n(layout.Deaths), Asleep: time.Duration(n(layout.Asleep)),
		HighWater: n(layout.HighWater),
	}
}

// Stats returns what this handle has counted so far. Any goroutine may ask while the
// handle is open. The consumer writes Messages and Bytes now and then: before it sleeps,
// when it closes, and every few thousand messages.
func (h *handle) Stats() Stats {
	s := h.counters(int(h.index)).minus(h.base)
	s.Fallbacks = h.cfg.Fallbacks
	if err := h.lotFailed.Load(); err != nil {
		known := s.Fallbacks[:len(s.Fallbacks):len(s.Fallbacks)]
		s.Fallbacks = append(known, "sleepers take a thread each: "+(*err).Error())
	}
	return s
}
