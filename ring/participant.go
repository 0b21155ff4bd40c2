package ring

import (
	"fmt"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// lockFailed says what the system said about a life lock.
func lockFailed(i int, err error) error {
	return fmt.Errorf("shmring: life lock of participant %d: %w", i, err)
}

// attach takes a participant slot for a role: first its lock, then, under the lock, its
// state.
func (h *handle) attach(role layout.Role) error {
	if role == layout.RoleConsumer {
		return h.attachAt(layout.ConsumerIndex, role)
	}
	var busy BusyError
	for i := 1; i < len(h.participants); i++ {
		err := h.attachAt(i, role)
		if err == nil {
			return nil
		}
		b, ok := err.(*BusyError)
		if !ok {
			return err
		}
		busy = BusyError{Role: role, Slots: len(h.participants) - 1, Draining: busy.Draining + b.Draining}
		if busy.Slots == 1 {
			busy.PID = b.PID
		}
	}
	return &busy
}

func (h *handle) attachAt(i int, role layout.Role) error {
	m := &h.participants[i]
	ok, err := h.cfg.Locks.TryLock(i)
	busy := &BusyError{Role: role, PID: int(m.PID.Load()), Slots: 1}
	if err != nil {
		return lockFailed(i, err)
	}
	if !ok {
		return busy
	}
	killpoint.At(killpoint.LifeLocked)
	// The lock is ours: whoever had this slot writes no more (L2), and no recoverer or
	// other newcomer touches its state.
	state := m.State.Load()
	died := state == layout.Used || state == layout.Revoked
	if state.Attached() && h.mpsc && role == layout.RoleProducer {
		h.retire(i) // who dies before it is attached itself leaves a quarantine behind
	}
	if role == layout.RoleProducer && h.isQuarantined(m) {
		if err := h.cfg.Locks.Unlock(i); err != nil {
			return lockFailed(i, err)
		}
		busy.Draining = 1
		return busy
	}
	h.former = PeerDeadError{PID: int(m.PID.Load()), Epoch: m.Epoch.Load()}
	m.Role.Store(uint32(role))
	killpoint.At(killpoint.RoleStored)
	m.PID.Store(h.cfg.Identity.PID)
	m.Started.Store(h.cfg.Identity.Started)
	m.BootID.Store(h.cfg.Identity.BootID)
	m.PIDNamespace.Store(h.cfg.Identity.PIDNamespace)
	killpoint.At(killpoint.WhoStored)
	h.epoch = m.Epoch.Add(1)
	killpoint.At(killpoint.EpochStored)
	m.State.Store(layout.Used)
	killpoint.At(killpoint.StateUsed)
	h.index = uint8(i)
	h.base = h.counters(i)
	if died && role == layout.RoleProducer {
		h.count(layout.Deaths, 1)
	}
	h.att = Attachment{Index: i, Epoch: h.epoch, TookOver: died || state == layout.Draining}
	return nil
}

// reapIfDead retires a participant that has died, and tells whether it can never again
// write to the ring. Taking the lock, not only asking for it, is what keeps two recoverers
// and a newcomer apart. i is not this handle's own index.
func (h *handle) reapIfDead(i int) (dead bool, err error) {
	m := &h.participants[i]
	// Free may be a newcomer between its lock and its state.
	switch state := m.State.Load(); {
	case state == layout.Draining:
		return true, nil
	case !state.Attached() && state != layout.Free:
		return false, h.corrupt("participant state", uint64(i), uint64(state))
	}
	ok, err := h.cfg.Locks.TryLock(i)
	if err != nil {
		return false, lockFailed(i, err)
	}
	if !ok {
		return false, nil
	}
	killpoint.At(killpoint.LifeLocked)
	if state := m.State.Load(); state.Attached() {
		if state != layout.Ended {
			h.count(layout.Deaths, 1)
		}
		h.retire(i)
	}
	if err := h.cfg.Locks.Unlock(i); err != nil {
		return false, lockFailed(i, err)
	}
	killpoint.At(killpoint.LifeUnlocked)
	return true, nil
}

// Detach gives back the participant slot of a closed handle. v is a view of the same
// segment through memory that no call of that handle can reach, because a call that was
// under way when the handle was closed may still be running. Whatever that call claimed
// and did not finish is left behind as claimed by a participant that is gone, and the
// consumer discards it. Detach is the last thing a handle does before its lock goes.
func Detach(v *layout.View, a Attachment) {
	var s segment
	s.init(v)
	s.retire(a.Index)
	if a.Index == layout.ConsumerIndex || !s.mpsc || !s.hasUnfinished(uint8(a.Index)) {
		s.free(a.Index)
	}
}
