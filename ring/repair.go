package ring

import (
	"errors"
	"fmt"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// ErrNotStalled: there is no unfinished claim at that position.
var ErrNotStalled = errors.New("shmring: no unfinished claim there")

// ErrRevoked: ForceSkip has given up this producer's claim, because it stalled. Close
// the handle and open another.
var ErrRevoked = errors.New("shmring: claim was revoked while its owner stalled; close this producer and open another")

// repairLock serialises ForceSkip: the index that no participant has.
const repairLock = layout.MaxParticipants

// Unfinished describes the claim of an MPSC ring that begins at pos, if nobody has
// finished it. The error is ErrNotStalled or a *CorruptError. Age is 0: the ring does
// not say since when.
func Unfinished(v *layout.View, pos uint64) (StalledClaim, error) {
	var c core
	c.init(v, Config{})
	_, s, err := c.unfinishedClaim(pos)
	return s, err
}

func (c *core) unfinishedClaim(pos uint64) (layout.Ctl, StalledClaim, error) {
	not := func(why string) (layout.Ctl, StalledClaim, error) {
		return 0, StalledClaim{}, fmt.Errorf("%w: position %d: %s", ErrNotStalled, pos, why)
	}
	if !c.shared {
		return not("an SPSC ring has no claims that others could see")
	}
	for tries := 0; ; tries++ {
		read := c.hot.ReadPos.Load()
		claimed := layout.Tail(c.hot.Tail.Load()).Pos(read) - read
		if pos-read >= min(claimed, c.slots) {
			return not(fmt.Sprintf("the ring holds %d to %d", read, read+claimed))
		}
		if c.recordBegins(read, pos) {
			break
		}
		if c.hot.ReadPos.Load() == read || tries == 100 {
			return not("no claim begins there")
		}
	}
	v, found, err := c.claimAt(pos)
	if err != nil {
		return 0, StalledClaim{}, err
	}
	if !found {
		return not("it is finished")
	}
	owner := int(v.Owner())
	return v, StalledClaim{Position: pos, Slots: int(v.Slots()), Producer: owner, PID: int(c.members[owner].PID.Load())}, nil
}

// recordBegins tells whether a record begins at pos, seen from one at an earlier
// position.
func (c *core) recordBegins(at, pos uint64) bool {
	for at != pos {
		v := layout.Ctl(c.desc[at&c.mask].Ctl.Load())
		k := v.Slots()
		if !v.On(layout.LapOf(at, c.shift)) || k == 0 || k > pos-at {
			return false
		}
		at += k
	}
	return true
}

// ForceSkip makes the consumer pass over an unfinished claim of an MPSC ring though
// its owner lives. It fences the owner first: the owner's Commit of that claim returns
// ErrRevoked, and so does all it does with that handle from then on, and neither the
// claim's slots nor any behind them are given to other producers before the owner has
// closed the handle or died. Until then a ring of n slots takes at most n slots more; a process that
// cannot be woken to close its handle has to be killed in the end. If the owner is
// dead, it does what the consumer would do by itself. locks are those of a handle
// that is no participant.
//
// Errors: ErrNotStalled, also when the claim was finished at the last moment;
// ErrBusy when another claim of the same owner is revoked already, or another
// process is at it; *CorruptError.
//
// The two cursors, one for delivery and one for space, are what makes this safe: a
// late store of the owner's would otherwise land in somebody else's message.
func ForceSkip(v *layout.View, locks Locks, pos uint64) (_ StalledClaim, err error) {
	var c core
	c.init(v, Config{Locks: locks})
	ok, err := locks.TryLock(repairLock)
	if err != nil {
		return StalledClaim{}, fmt.Errorf("shmring: repair lock: %w", err)
	}
	if !ok {
		return StalledClaim{}, fmt.Errorf("%w: another process is revoking a claim", ErrBusy)
	}
	defer func() { err = errors.Join(err, locks.Unlock(repairLock)) }()
	ctl, claim, err := c.unfinishedClaim(pos)
	if err != nil {
		return claim, err
	}
	state := c.members[claim.Producer].State.Load()
	gone, err := c.dead(claim.Producer)
	if err != nil {
		return claim, err
	}
	if !gone && !c.fence(claim.Producer, pos) { // F1
		return claim, fmt.Errorf("%w: another claim of the owner (pid %d) is revoked already, or the owner is on its way out", ErrBusy, claim.PID)
	}
	if !c.skip(pos, ctl) {
		if !gone {
			c.members[claim.Producer].State.CompareAndSwap(uint32(layout.Revoked), state)
		}
		return claim, fmt.Errorf("%w: position %d: finished at the last moment", ErrNotStalled, pos)
	}
	return claim, nil
}

// fence marks an owner as fenced at pos. It does not if a claim of its is revoked
// already, or if the owner leaves or dies meanwhile. A mark that somebody left who was
// killed before the claim was revoked is taken over.
func (c *core) fence(owner int, pos uint64) bool {
	m := &c.members[owner]
	epoch, drain, state := m.Epoch.Load(), m.DrainPos.Load(), m.State.Load()
	switch s := layout.ParticipantState(state); {
	case !s.Attached(), s == layout.Revoked && c.revoked(owner, drain):
		return false
	}
	// By CAS: if the owner dies now, its recoverer's DrainPos must stay.
	if !m.DrainPos.CompareAndSwap(drain, pos) {
		return false
	}
	killpoint.At(killpoint.RevokedPosStored)
	fenced := m.State.CompareAndSwap(state, uint32(layout.Revoked))
	killpoint.At(killpoint.StateRevoked)
	switch {
	case !fenced:
		m.DrainPos.CompareAndSwap(pos, drain)
	case m.Epoch.Load() != epoch: // another one has the place by now
		m.State.CompareAndSwap(uint32(layout.Revoked), uint32(layout.Used))
		fenced = false
	}
	return fenced
}

// revoked tells whether the claim at pos, of an owner that is fenced there, is one to
// be passed over and was not released.
func (c *core) revoked(owner int, pos uint64) bool {
	v := layout.Ctl(c.desc[pos&c.mask].Ctl.Load())
	return pos-c.hot.ReadPos.Load() < c.slots && v.Done(layout.LapOf(pos, c.shift)) && v.State() == layout.Discarded && int(v.Owner()) == owner
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

// Repair does at once, on a ring that nobody uses, what its next users would do one
// by one: it frees the participant slots of the dead and gives up their unfinished
// claims. Messages that wait stay. The caller makes sure that nobody attaches
// meanwhile. Errors: *BusyError when a participant lives, *CorruptError.
func Repair(v *layout.View, locks Locks) (r Repaired, err error) {
	var c core
	c.init(v, Config{Locks: locks})
	for i := range c.members {
		m := &c.members[i]
		ok, err := locks.TryLock(i)
		if err != nil {
			return r, fmt.Errorf("shmring: life lock of participant %d: %w", i, err)
		}
		if !ok {
			return r, &BusyError{Role: layout.Role(m.Role.Load()), PID: int(m.PID.Load()), Slots: 1}
		}
		defer func() { err = errors.Join(err, locks.Unlock(i)) }()
	}
	for i := range c.members {
		m := &c.members[i]
		switch state := layout.ParticipantState(m.State.Load()); {
		case state > layout.Revoked:
			return r, &CorruptError{"participant state", uint64(i), uint64(state)}
		case state.Attached():
			if state != layout.Ended {
				r.Dead = append(r.Dead, DeadPeer{layout.Role(m.Role.Load()), i, int(m.PID.Load())})
			}
			c.bury(i)
		}
	}
	read := c.hot.ReadPos.Load()
	end, err := c.walk(read)
	if err != nil {
		return r, err
	}
	if c.shared {
		tail := layout.Tail(c.hot.Tail.Load()).Pos(read)
		if tail-read > c.slots {
			return r, &CorruptError{"distance from ReadPos to Tail", read, tail - read}
		}
		for end != tail {
			ctl, found, err := c.claimAt(end)
			if err != nil {
				return r, err
			}
			if k := ctl.Slots(); !found || k == 0 || k > tail-end || end&c.mask+k > c.slots {
				return r, &CorruptError{"control word of a claim", end, uint64(ctl)}
			}
			if !c.skip(end, ctl) {
				return r, &CorruptError{"control word of a claim", end, c.desc[end&c.mask].Ctl.Load()}
			}
			r.Skipped++
			if end, err = c.walk(end); err != nil {
				return r, err
			}
			if end-read > tail-read {
				return r, &CorruptError{"end of the last record", tail, end}
			}
		}
	}
	r.Used = int(end - read)
	for i := range c.members {
		c.members[i].State.Store(uint32(layout.Free)) // no unfinished claim is left, so no quarantine
		killpoint.At(killpoint.StateFree)
	}
	c.hot.DataBell.And(^uint32(1))
	c.hot.SpaceBell.And(^uint32(1))
	killpoint.At(killpoint.BellsReset)
	return r, nil
}
