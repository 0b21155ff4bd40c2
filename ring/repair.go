package ring

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// ErrNotStalled: there is no unfinished claim at that position.
var ErrNotStalled = errors.New("shmring: no unfinished claim there")

// ErrRevoked: ForceSkip has given up this producer's claim, because it stalled. Close the
// handle and open another.
var ErrRevoked = errors.New(
	"shmring: claim was revoked while its owner stalled; close this producer and open another")

// repairLock serialises ForceSkip: the index that no participant has.
const repairLock = layout.MaxParticipants

// Unfinished describes the claim of an MPSC ring that begins at pos, if nobody has
// finished it. The error is ErrNotStalled or a *CorruptError. Age is 0: the ring does not
// say since when.
func Unfinished(v *layout.View, pos uint64) (StalledClaim, error) {
	var s segment
	s.init(v)
	_, claim, err := s.unfinishedClaim(pos)
	return claim, err
}

func (s *segment) unfinishedClaim(pos uint64) (layout.Ctl, StalledClaim, error) {
	not := func(why string) (layout.Ctl, StalledClaim, error) {
		return 0, StalledClaim{}, fmt.Errorf("%w: position %d: %s", ErrNotStalled, pos, why)
	}
	if !s.mpsc {
		return not(fmt.Sprintf("a ring of kind %v has no claims that others could see", s.view.Config.Kind))
	}
	for tries := 0; ; tries++ {
		read := s.hot.ReadPos.Load()
		claimed := s.hot.Tail.Load().Pos(read) - read
		if pos-read >= min(claimed, s.count) {
			return not(fmt.Sprintf("the ring holds %d to %d", read, read+claimed))
		}
		if s.isBegin(pos, read) {
			break
		}
		if s.hot.ReadPos.Load() == read || tries == 100 {
			return not("no claim begins there")
		}
	}
	v, found, err := s.claimAt(pos)
	if err != nil && int64(s.hot.ReadPos.Load()-pos) > 0 {
		return not("the consumer has released it meanwhile")
	}
	if err != nil {
		return 0, StalledClaim{}, err
	}
	if !found {
		return not("it is finished")
	}
	owner := int(v.Owner())
	return v, StalledClaim{
		Position: pos, Slots: int(v.Slots()), Producer: owner, PID: int(s.participants[owner].PID.Load()),
	}, nil
}

// ForceSkip makes the consumer pass an unfinished claim of an MPSC ring though its owner
// is alive. It first marks the owner as revoked: the owner's Commit of that claim returns
// ErrRevoked, and so does all it does with that handle from then on, and neither the
// claim's slots nor any behind them are given to other producers before the owner has
// closed the handle or died. Until then a ring of n slots takes at most n slots more. A
// process that cannot be woken to close its handle has to be killed in the end. If the
// owner is dead, ForceSkip does what the consumer would do by itself. locks are those of a
// handle that is no participant.
//
// Errors: ErrNotStalled, also when the claim was finished at the last moment; ErrBusy when
// another claim of the same owner is revoked already, or another process is at it;
// *CorruptError.
//
// The two cursors, one for delivery and one for space, make this safe: a late store of the
// owner's would otherwise land in somebody else's message.
//
// cfg needs Locks, and DataBell and ParkingLot to wake the consumer, which may go on.
func ForceSkip(v *layout.View, cfg Config, pos uint64) (_ StalledClaim, err error) {
	var h handle
	locks := cfg.Locks
	h.init(v, cfg)
	ok, err := locks.TryLock(repairLock)
	if err != nil {
		return StalledClaim{}, fmt.Errorf("shmring: repair lock: %w", err)
	}
	if !ok {
		return StalledClaim{}, fmt.Errorf("%w: another process is revoking a claim", ErrBusy)
	}
	defer func() { err = errors.Join(err, locks.Unlock(repairLock)) }()
	ctl, claim, err := h.unfinishedClaim(pos)
	if err != nil {
		return claim, err
	}
	owner := &h.participants[claim.Producer]
	state := owner.State.Load()
	dead, err := h.reapIfDead(claim.Producer)
	if err != nil {
		return claim, err
	}
	if !dead {
		if !h.revoke(claim.Producer, pos) { // F1
			return claim, fmt.Errorf("%w: another claim of the owner (pid %d) is revoked already, or the owner is leaving",
				ErrBusy, claim.PID)
		}
		if h.isFinishing(pos) {
			owner.State.CompareAndSwap(layout.Revoked, state)
			return claim, fmt.Errorf("%w: the owner (pid %d) stands right before the end of its commit of position %d: "+
				"let it go on, or kill it", ErrBusy, claim.PID, pos)
		}
	}
	if !h.discard(pos, ctl) {
		if !dead {
			owner.State.CompareAndSwap(layout.Revoked, state)
		}
		return claim, fmt.Errorf("%w: position %d: finished at the last moment", ErrNotStalled, pos)
	}
	h.record(layout.EventRevoked, claim.Producer, 0, pos)
	h.index = uint8(claim.Producer) // whose place it takes in waking the consumer
	h.wakeAll(&v.Hot.DataBell, cfg.DataBell)
	return claim, nil
}

// isFinishing tells whether the owner of the claim at pos, which is marked as revoked, may commit it by a
// plain store all the same, because it has looked at the mark before it was there. If not, it never will: see
// commitMPSC.
func (h *handle) isFinishing(pos uint64) bool {
	h.fenceAll() // F1
	return layout.IsFinishing(atomic.LoadUint64(&h.descAt(pos).Meta), h.lap(pos))
}

// revoke marks an owner as revoked at pos. It does not if a claim of that owner is revoked
// already, or if the owner leaves or dies meanwhile. It takes over a mark that somebody
// left who was killed before the claim was discarded.
func (s *segment) revoke(owner int, pos uint64) bool {
	m := &s.participants[owner]
	epoch, drain, state := m.Epoch.Load(), m.DrainPos.Load(), m.State.Load()
	switch {
	case !state.Attached(), state == layout.Revoked && s.isRevoked(owner, drain):
		return false
	}
	// By CAS: if the owner dies now, its recoverer's DrainPos must stay.
	if !m.DrainPos.CompareAndSwap(drain, pos) {
		return false
	}
	killpoint.At(killpoint.RevokedPosStored)
	marked := m.State.CompareAndSwap(state, layout.Revoked)
	killpoint.At(killpoint.StateRevoked)
	switch {
	case !marked:
		m.DrainPos.CompareAndSwap(pos, drain)
	case m.Epoch.Load() != epoch: // another one has the place by now
		m.State.CompareAndSwap(layout.Revoked, layout.Used)
		marked = false
	}
	return marked
}

// isRevoked tells whether the claim at pos, of an owner that is marked as revoked there,
// was discarded and is not released.
func (s *segment) isRevoked(owner int, pos uint64) bool {
	v := s.ctl(pos).Load()
	return pos-s.hot.ReadPos.Load() < s.count && v.IsFinished(s.lap(pos)) &&
		v.State() == layout.Discarded && int(v.Owner()) == owner
}

// Repaired tells what Repair found and did.
type Repaired struct {
	Dead    []DeadPeer `json:"dead,omitempty"` // participants that had died without leaving
	Skipped int        `json:"skipped"`        // unfinished claims that were given up
	Used    int        `json:"used"`           // slots that wait for a consumer
}

// DeadPeer is a participant that died without leaving.
type DeadPeer struct {
	Role  layout.Role `json:"role"`
	Index int         `json:"participant"`
	PID   int         `json:"pid"` // as it saw itself
}

// Repair does at once, on a ring that nobody uses, what its next users would do one by
// one: it frees the participant slots of the dead and gives up their unfinished claims.
// Messages that wait stay. The caller makes sure that nobody attaches meanwhile. Errors:
// *BusyError when a participant is alive, *CorruptError.
func Repair(v *layout.View, locks Locks) (r Repaired, err error) {
	var s segment
	s.init(v)
	for i := range s.participants {
		m := &s.participants[i]
		ok, err := locks.TryLock(i)
		if err != nil {
			return r, lockFailed(i, err)
		}
		if !ok {
			return r, &BusyError{Role: layout.Role(m.Role.Load()), PID: int(m.PID.Load()), Slots: 1}
		}
		defer func() { err = errors.Join(err, locks.Unlock(i)) }()
	}
	for i := range s.participants {
		m := &s.participants[i]
		switch state := m.State.Load(); {
		case state > layout.Revoked:
			return r, &CorruptError{"participant state", uint64(i), uint64(state)}
		case state.Attached():
			if s.retire(i, layout.FateDied) {
				r.Dead = append(r.Dead, DeadPeer{layout.Role(m.Role.Load()), i, int(m.PID.Load())})
			}
		}
	}
	if r.Used, r.Skipped, err = s.discardUnfinished(); err != nil {
		return r, err
	}
	for i := range s.participants {
		s.free(i) // no unfinished claim is left, so no quarantine
	}
	s.hot.DataBell.And(^layout.BellSleeper)
	s.hot.SpaceBell.And(^layout.BellSleeper)
	killpoint.At(killpoint.BellsReset)
	s.record(layout.EventRecovered, layout.ConsumerIndex, 0, s.hot.ReadPos.Load())
	return r, nil
}

// discardUnfinished gives up every unfinished claim of a ring that nobody uses. used is
// how many slots wait for a consumer then.
func (s *segment) discardUnfinished() (used, discarded int, err error) {
	read := s.hot.ReadPos.Load()
	if !s.mpsc {
		end, err := s.walk(read, s.load)
		if s.broadcast {
			return 0, 0, err // nobody has yet to get anything
		}
		return s.inSlots(end - read), 0, err
	}
	end, err := s.finished(read)
	if err != nil {
		return int(end - read), 0, err
	}
	tail := s.hot.Tail.Load().Pos(read)
	if tail-read > s.count {
		return 0, 0, &CorruptError{"distance from ReadPos to Tail", read, tail - read}
	}
	for end != tail {
		ctl, found, err := s.claimAt(end)
		if err != nil {
			return 0, 0, err
		}
		if k := ctl.Slots(); !found || k == 0 || k > tail-end || end&s.mask+k > s.count {
			return 0, 0, &CorruptError{"control word of a claim", end, uint64(ctl)}
		}
		if !s.discard(end, ctl) {
			return 0, 0, &CorruptError{"control word of a claim", end, uint64(s.ctl(end).Load())}
		}
		discarded++
		was := end
		if end, err = s.finished(was); err != nil {
			return 0, 0, err
		}
		if end == was { // somebody has claimed it again, and might for ever
			return 0, 0, &CorruptError{"control word of a claim", was, uint64(s.ctl(was).Load())}
		}
		if end-read > tail-read {
			return 0, 0, &CorruptError{"end of the last record", tail, end}
		}
	}
	return int(end - read), discarded, nil
}
