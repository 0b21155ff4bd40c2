package ring

import (
	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// segment is the shared memory of a ring as one handle sees it, with what anybody may do
// to it who has it mapped: help, discard. It has no state of its own.
type segment struct {
	slots
	area
	origin       *byte  // from here on Messages count where their bytes are
	span         uint64 // how many positions there are in a lap: slots, or bytes of the area
	view         *layout.View
	hot          *layout.Hot
	participants []layout.Participant
	events       []layout.Event
	mpsc         bool
	broadcast    bool
}

func (s *segment) init(v *layout.View) {
	s.slots.init(v)
	s.area.init(v)
	s.view, s.hot, s.participants, s.events = v, v.Hot, v.Participants, v.Events
	s.broadcast = v.Config.Kind == layout.Broadcast
	s.mpsc = v.Config.Kind == layout.MPSC
	s.setOrigin()
	if s.span = s.size; s.mpsc {
		s.span = s.count
	}
}

// inSlots is how many slots so many positions are; of an SPSC ring, whose records lie in no
// slots, how many of the equal parts of its area that would be, rounded up.
func (s *segment) inSlots(n uint64) int {
	if s.mpsc {
		return int(n)
	}
	part := s.size / s.count
	return int((n + part - 1) / part)
}

// glanceEnd is the end of the newest record of an SPSC ring as somebody sees it who has no part
// in it. read is a ReadPos, and becomes the one that goes with it: records that are not released
// stay as they are. Where it keeps changing, and where a record is not sound, it is as far as one
// could see.
func (s *segment) glanceEnd(read *uint64) (end uint64) {
	for range 3 {
		end, _ = s.walk(*read, s.glance)
		now := s.hot.ReadPos.Load()
		if now == *read {
			break
		}
		if *read = now; int64(end-now) < 0 {
			end = now
		}
	}
	return end
}

// sentUpTo is streamEnd for those who only look.
func (s *segment) sentUpTo() uint64 {
	read := s.hot.ReadPos.Load()
	if s.mpsc {
		return s.hot.Tail.Load().Pos(read)
	}
	return s.glanceEnd(&read)
}

// hasSpaceMPSC tells whether a record of k slots, or the padding before it, would fit behind
// the newest claim of an MPSC ring. It loads Tail and ReadPos afresh.
func (s *segment) hasSpaceMPSC(k uint64) bool {
	read := s.hot.ReadPos.Load() // S2
	pos := s.hot.Tail.Load().Pos(read)
	need, _ := s.slots.fit(pos, k)
	return pos+need-read <= s.count
}

// help records the newest claim, whoever made it, if t still names it. It returns a fresh
// ReadPos.
//
// The first load of Tail below says that t is still the newest claim after ReadPos was
// read, so its position is right. The second says so after the descriptor was read: then
// a descriptor without the claim's lap is older than the claim, not newer, and the CAS
// either records exactly this claim or loses to someone who did.
func (s *segment) help(t layout.Tail) (read uint64) {
	read = s.hot.ReadPos.Load()
	if s.hot.Tail.Load() != t {
		return read
	}
	k := t.Slots()
	pos := t.Pos(read) - k
	ctl := s.ctl(pos)
	v := ctl.Load()
	lap := s.lap(pos)
	if v.IsRecorded(lap) || s.hot.Tail.Load() != t {
		return read
	}
	ctl.CompareAndSwap(v, layout.PackCtl(lap, k, t.Owner(), layout.Claimed))
	killpoint.At(killpoint.ClaimRecorded)
	return read
}

// claimAt returns the control word of the claim that begins at pos, if it is unfinished.
// It records a claim that is not recorded yet. pos lies between ReadPos and Tail, and a
// record begins there. The owner of the claim is a producer's index.
func (s *segment) claimAt(pos uint64) (v layout.Ctl, found bool, err error) {
	lap := s.lap(pos)
	ctl := s.ctl(pos)
	if v = ctl.Load(); !v.IsRecorded(lap) {
		t := s.hot.Tail.Load()
		claimed := t.Pos(pos) - pos
		switch {
		case claimed == 0:
			return v, false, nil // empty
		case claimed > s.count:
			return v, false, &CorruptError{"distance from ReadPos to Tail", pos, claimed}
		case claimed == t.Slots():
			s.help(t)
		}
		// Either we have recorded the claim at pos, or Tail has moved on and somebody else
		// had to record it before (H1).
		if v = ctl.Load(); !v.IsRecorded(lap) {
			return v, false, &CorruptError{"control word of a claim", pos, uint64(v)}
		}
	}
	if v.State() != layout.Claimed {
		return v, false, nil
	}
	if owner := int(v.Owner()); !s.isProducer(owner) {
		return v, false, &CorruptError{"claim owner", pos, uint64(owner)}
	}
	return v, true, nil
}

// isProducer tells whether a participant index is one that a producer can have.
func (s *segment) isProducer(i int) bool { return i != layout.ConsumerIndex && i < len(s.participants) }

// discard makes an unfinished claim one that the consumer skips; false: its owner has
// finished it meanwhile.
func (s *segment) discard(pos uint64, v layout.Ctl) bool {
	won := s.ctl(pos).CompareAndSwap(v, layout.PackCtl(v.Lap(), v.Slots(), v.Owner(), layout.Discarded))
	killpoint.At(killpoint.ClaimDiscarded)
	return won
}

// ClaimState is what has become of a claim.
type ClaimState int

const (
	ClaimForgotten ClaimState = iota // its slots are others' by now
	ClaimUnsent                      // it is not committed
	ClaimSent                        // it is
)

// claimState tells what has become of the claim that a producer of an MPSC ring made at pos. While ReadPos is not
// behind it the control word says so, which is of an older lap if the claim was never recorded.
// After that the word stays until somebody claims the slot again. ReadPos is loaded last: where it
// has not passed pos by then, nobody could claim the slot before the word was loaded.
func (s *segment) claimState(pos uint64) ClaimState {
	v := s.ctl(pos).Load() // D2
	read := s.hot.ReadPos.Load()
	switch {
	case v.IsRecorded(s.lap(pos)):
		if v.State() == layout.Committed {
			return ClaimSent
		}
		return ClaimUnsent
	case pos-read < s.count:
		return ClaimUnsent
	}
	return ClaimForgotten
}

// hasUnfinished tells whether an owner that makes no more claims has left one unfinished.
// In doubt it says yes, which only costs a quarantine.
func (s *segment) hasUnfinished(owner uint8) bool {
	read := s.hot.ReadPos.Load()
	t := s.hot.Tail.Load()
	end := t.Pos(read)
	if end-read > s.count {
		return true // the ring has moved on between the two loads
	}
	next := read
	for pos, v := range s.slots.records(read, end) {
		k := v.Slots()
		if v.State() == layout.Claimed && v.Owner() == owner || k == 0 || end-pos < k {
			return true
		}
		next = pos + k
	}
	switch end - next {
	case 0:
		return false
	case t.Slots():
		return t.Owner() == owner // the newest claim, not recorded
	}
	return true // released and claimed again since we loaded ReadPos
}

// revocation is a claim that the consumer has passed though its owner is alive. The owner
// may still be writing into the claim's slots, so they are not released, and nothing
// behind them, until its lock is free.
type revocation struct {
	owner int
	pos   uint64
}

// stands tells whether the owner may still write.
func (s *segment) stands(r revocation) bool {
	m := &s.participants[r.owner]
	return m.DrainPos.Load() == r.pos && m.State.Load() == layout.Revoked
}
