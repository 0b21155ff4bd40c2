package ring

import (
	"fmt"
	"time"

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
	var corrupt *CorruptError // matters only where no place is left
	for i := 1; i < len(h.participants); i++ {
		err := h.attachAt(i, role)
		if err == nil {
			return nil
		}
		if bad, ok := err.(*CorruptError); ok {
			corrupt = bad
			continue
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
	if corrupt != nil {
		return corrupt
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
	// The lock is ours: whoever had this place writes no more (L2), and no recoverer or
	// other newcomer touches its state.
	died := m.State.Load().Attached()
	if died {
		died = h.retire(i, layout.FateDied)
	}
	if role == layout.RoleProducer && h.isQuarantined(m) {
		if err := h.cfg.Locks.Unlock(i); err != nil {
			return lockFailed(i, err)
		}
		// What was claimed lies within a ringful of ReadPos, which moves on meanwhile. Farther away no
		// consumer would ever come.
		if to, read := m.DrainPos.Load(), h.hot.ReadPos.Load(); int64(to-read) > int64(h.slots.count) {
			return &CorruptError{"DrainPos of a producer that is gone", read, to}
		}
		busy.Draining = 1
		return busy
	}
	m.Role.Store(uint32(role))
	killpoint.At(killpoint.RoleStored)
	m.PID.Store(h.cfg.Identity.PID)
	m.Started.Store(h.cfg.Identity.Started)
	m.BootID.Store(h.cfg.Identity.BootID)
	m.PIDNamespace.Store(h.cfg.Identity.PIDNamespace)
	m.Since.Store(time.Now().UnixNano())
	m.Label.Store(h.cfg.Label)
	m.Progress.Store(0) // that of who had the place before
	killpoint.At(killpoint.WhoStored)
	// In this order: an epoch is a stream, and what is attached has one, or had.
	m.State.Store(layout.Used)
	killpoint.At(killpoint.StateUsed)
	epoch := m.Epoch.Add(1)
	killpoint.At(killpoint.EpochStored)
	h.index = uint8(i)
	h.base = h.counters(i)
	if died && role == layout.RoleProducer {
		h.count(layout.Deaths, 1)
	}
	h.att = Attachment{Index: i, Epoch: epoch, TookOver: died || lastDied(m)}
	if h.att.TookOver {
		h.record(layout.EventTookOver, i, 0, 0)
	} else {
		h.record(layout.EventAttached, i, 0, 0)
	}
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
	if m.State.Load().Attached() && h.retire(i, layout.FateDied) {
		h.count(layout.Deaths, 1)
	}
	if err := h.cfg.Locks.Unlock(i); err != nil {
		return false, lockFailed(i, err)
	}
	killpoint.At(killpoint.LifeUnlocked)
	return true, nil
}

// retire marks a participant as gone. f is the fate of a producer's stream that has none,
// and stored tells whether that was so; of a consumer, whether it was attached. The caller
// holds the participant's lock, or is itself the participant and can make no more claims.
func (s *segment) retire(i int, f layout.Fate) (stored bool) {
	m := &s.participants[i]
	going := layout.EventLeft
	if f == layout.FateDied {
		going = layout.EventDied
	}
	if i == layout.ConsumerIndex {
		s.storeGoing(m, f)
		s.record(going, i, f, s.hot.ReadPos.Load())
		s.free(i)
		return true
	}
	end := s.streamEnd()
	stored = s.storeFate(i, f, end)
	if !stored {
		_, word := newestFate(m)
		f, _ = word.Of(word.Upto())
	}
	s.record(going, i, f, end)
	if s.mpsc {
		s.drain(m)
		if s.hasUnfinished(uint8(i)) {
			return stored
		}
	}
	s.free(i)
	return stored
}

// drain marks an MPSC ring's producer as gone that may have left claims unfinished.
func (s *segment) drain(m *layout.Participant) {
	read := s.hot.ReadPos.Load()
	drain := s.hot.Tail.Load().Pos(read)
	m.DrainPos.Store(drain)
	killpoint.At(killpoint.DrainPosStored)
	m.State.Store(layout.Draining)
	killpoint.At(killpoint.StateDraining)
	if m.DrainPos.Load() != drain { // somebody was about to revoke a claim of this one, and is too late now
		m.DrainPos.Store(drain)
	}
}

// isQuarantined tells whether the consumer may still have to pass records that the former
// owner of a producer's slot claimed. Given to a newcomer now, the slot would make those
// look alive, and the consumer would wait for ever for claims that nobody will finish.
// Only claims of an MPSC ring name their owner before they are finished.
func (s *segment) isQuarantined(m *layout.Participant) bool {
	return s.mpsc && m.State.Load() != layout.Free && int64(s.hot.ReadPos.Load()-m.DrainPos.Load()) < 0
}

// free gives the place of a participant that is gone to whoever comes.
func (s *segment) free(i int) {
	s.participants[i].State.Store(layout.Free)
	killpoint.At(killpoint.StateFree)
}

// Detach gives back the participant slot of a closed handle. v is a view of the same
// segment through memory that no call of that handle can reach, because a call that was
// under way when the handle was closed may still be running. Whatever that call claimed
// and did not finish is left behind as claimed by a participant that is gone, and the
// consumer discards it. f is the fate of a producer's stream, if that was not said before,
// of which the consumer is notified by cfg's bells, which are of v too. Detach is the last
// thing a handle does before its lock goes.
func Detach(v *layout.View, a Attachment, f layout.Fate, cfg Config) {
	var h handle
	h.segment.init(v)
	h.cfg, h.index = cfg, uint8(a.Index)
	h.notifyWord, h.notifyBell = &v.Hot.DataBell, cfg.DataBell
	if h.retire(a.Index, f) && a.Index != layout.ConsumerIndex {
		h.notify()
	}
}
