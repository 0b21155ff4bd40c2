package ring

import (
	"fmt"
	"time"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// Attachment tells what a handle found when it took its participant slot.
type Attachment struct {
	Index    int    // participant slot
	Epoch    uint32 // how often this slot has been taken, this time included
	TookOver bool   // the slot's former owner had died without leaving, or left a claim unfinished
}

// attach takes a participant slot for a role: first its lock, then, under the lock,
// its state.
func (c *core) attach(role layout.Role) (Attachment, error) {
	if role == layout.RoleConsumer {
		return c.attachAt(layout.ConsumerIndex, role)
	}
	var busy BusyError
	for i := 1; i < len(c.members); i++ {
		a, err := c.attachAt(i, role)
		if err == nil {
			return a, nil
		}
		b, ok := err.(*BusyError)
		if !ok {
			return a, err
		}
		busy = BusyError{Role: role, Slots: len(c.members) - 1, Draining: busy.Draining + b.Draining}
		if busy.Slots == 1 {
			busy.PID = b.PID
		}
	}
	return Attachment{}, &busy
}

func (c *core) attachAt(i int, role layout.Role) (Attachment, error) {
	m := &c.members[i]
	ok, err := c.cfg.Locks.TryLock(i)
	busy := &BusyError{Role: role, PID: int(m.PID.Load()), Slots: 1}
	if err != nil {
		return Attachment{}, fmt.Errorf("shmring: life lock of participant %d: %w", i, err)
	}
	if !ok {
		return Attachment{}, busy
	}
	killpoint.At(killpoint.LifeLocked)
	// The lock is ours: whoever had this slot writes no more (L2), and no recoverer or
	// other newcomer touches its state.
	state := layout.ParticipantState(m.State.Load())
	died := state == layout.Used || state == layout.Revoked
	if state.Attached() && c.shared && role == layout.RoleProducer {
		c.bury(i) // who dies before it is attached itself leaves a quarantine behind
	}
	if c.quarantined(role, m) {
		if err := c.cfg.Locks.Unlock(i); err != nil {
			return Attachment{}, fmt.Errorf("shmring: life lock of participant %d: %w", i, err)
		}
		busy.Draining = 1
		return Attachment{}, busy
	}
	c.former = PeerDeadError{PID: int(m.PID.Load()), Epoch: m.Epoch.Load()}
	m.Role.Store(uint32(role))
	killpoint.At(killpoint.RoleStored)
	m.PID.Store(c.cfg.Identity.PID)
	m.Started.Store(c.cfg.Identity.Started)
	m.BootID.Store(c.cfg.Identity.BootID)
	m.PIDNamespace.Store(c.cfg.Identity.PIDNamespace)
	killpoint.At(killpoint.WhoStored)
	epoch := m.Epoch.Add(1)
	killpoint.At(killpoint.EpochStored)
	m.State.Store(uint32(layout.Used))
	killpoint.At(killpoint.StateUsed)
	c.me = uint8(i)
	c.epoch = epoch
	c.base = c.counters(i)
	if died && role == layout.RoleProducer {
		c.count(layout.Deaths, 1)
	}
	return Attachment{Index: i, Epoch: epoch, TookOver: died || state == layout.Draining}, nil
}

// quarantined tells whether records claimed by the slot's former owner may still be
// ahead of the consumer. Given to a newcomer now, the slot would make them look
// alive, and the consumer would wait for ever for claims that nobody will finish.
// Only claims of an MPSC ring name their owner before they are finished.
func (c *core) quarantined(role layout.Role, m *layout.Participant) bool {
	return role == layout.RoleProducer && c.shared &&
		layout.ParticipantState(m.State.Load()) != layout.Free &&
		int64(c.hot.ReadPos.Load()-m.DrainPos.Load()) < 0
}

// bury marks a participant as gone. The caller holds its lock, or is itself the
// participant and can make no more claims.
func (c *core) bury(i int) {
	m := &c.members[i]
	if i == layout.ConsumerIndex || !c.shared {
		m.State.Store(uint32(layout.Draining))
		killpoint.At(killpoint.StateDraining)
		return
	}
	read := c.hot.ReadPos.Load()
	drain := layout.Tail(c.hot.Tail.Load()).Pos(read)
	m.DrainPos.Store(drain)
	killpoint.At(killpoint.DrainPosStored)
	m.State.Store(uint32(layout.Draining))
	killpoint.At(killpoint.StateDraining)
	if m.DrainPos.Load() != drain { // somebody was about to fence a claim of this one, and is too late now
		m.DrainPos.Store(drain)
	}
}

// dead tells whether a participant can never again write to the ring, and makes sure
// of it: taking the lock, not only asking for it, is what keeps two recoverers and a
// newcomer apart. i is not this handle's own index.
func (c *core) dead(i int) (bool, error) {
	m := &c.members[i]
	// Free may be a newcomer between its lock and its state.
	switch state := layout.ParticipantState(m.State.Load()); {
	case state == layout.Draining:
		return true, nil
	case !state.Attached() && state != layout.Free:
		return false, c.corrupt("participant state", uint64(i), uint64(state))
	}
	ok, err := c.cfg.Locks.TryLock(i)
	if err != nil {
		return false, fmt.Errorf("shmring: life lock of participant %d: %w", i, err)
	}
	if !ok {
		return false, nil
	}
	killpoint.At(killpoint.LifeLocked)
	if state := layout.ParticipantState(m.State.Load()); state.Attached() {
		if state != layout.Ended {
			c.count(layout.Deaths, 1)
		}
		c.bury(i)
	}
	if err := c.cfg.Locks.Unlock(i); err != nil {
		return false, fmt.Errorf("shmring: life lock of participant %d: %w", i, err)
	}
	killpoint.At(killpoint.LifeUnlocked)
	return true, nil
}

// Leave gives back the participant slot of a halted handle. v is a view of the same
// segment through memory that no call of that handle can reach, because a call that
// was under way when it was halted may still be running: whatever that call claimed
// and did not finish is left behind as claimed by a participant that is gone, which
// the consumer passes over. Leave is the last thing a handle does before its lock
// goes.
func Detach(v *layout.View, a Attachment) {
	var c core
	c.init(v, Config{})
	c.bury(a.Index)
	if a.Index == layout.ConsumerIndex || !c.shared || !c.unfinished(uint8(a.Index)) {
		c.members[a.Index].State.Store(uint32(layout.Free))
		killpoint.At(killpoint.StateFree)
	}
}

// unfinished tells whether an owner that makes no more claims has one in the ring
// that it did not finish. When in doubt it says yes, which only costs a quarantine.
func (c *core) unfinished(owner uint8) bool {
	read := c.hot.ReadPos.Load()
	w := layout.Tail(c.hot.Tail.Load())
	end := w.Pos(read)
	if end-read > c.slots {
		return true // the ring has moved on between the two loads
	}
	for pos := read; pos != end; {
		v := layout.Ctl(c.desc[pos&c.mask].Ctl.Load())
		k := v.Slots()
		switch {
		case v.On(layout.LapOf(pos, c.shift)):
			if v.State() == layout.Claimed && v.Owner() == owner || k == 0 || end-pos < k {
				return true
			}
		case end-pos == w.Slots(): // the newest claim, not on record
			if k = w.Slots(); w.Owner() == owner || k == 0 {
				return true
			}
		default:
			return true // released and claimed again since we loaded ReadPos
		}
		pos += k
	}
	return false
}

// Stats are the counters of one participant, and what holds it up.
type Stats struct {
	Messages        uint64 `json:"messages"`         // delivered; of a producer: of those it sent
	Bytes           uint64 `json:"bytes"`            // likewise, payload
	Full            uint64 `json:"full"`             // sends that met a full ring
	Dropped         uint64 `json:"dropped"`          // messages given up because the ring was full; of a consumer: records passed over because a former one may have seen them (Config.AtMostOnce)
	Sleeps          uint64 `json:"sleeps"`           // times it lay down to sleep; a few find something at the last look
	Wakes           uint64 `json:"wakes"`            // times it woke a sleeping peer
	SpuriousWakeups uint64 `json:"spurious_wakeups"` // sleeps that ended with nothing to do
	TimeoutWakeups  uint64 `json:"timeout_wakeups"`  // sleeps that nobody ended, or had begun to end, though there was something to do
	LateWakeups     uint64 `json:"late_wakeups"`     // sleeps that ran out though somebody had begun to wake it, and was held up or killed
	Spins           uint64 `json:"spins"`            // waits in which it busy-waited for longer than a moment
	Skipped         uint64 `json:"skipped"`          // claims of dead producers passed over
	Deaths          uint64 `json:"deaths"`           // dead producers found

	// Asleep is how long it slept, for all its goroutines together.
	Asleep time.Duration `json:"asleep_ns"`

	// Fallbacks are better ways of waiting that the handle does without, and why.
	Fallbacks []string `json:"fallbacks,omitempty"`

	// Stalled is the claim of a live producer that an MPSC ring's consumer waits for at
	// present, or nil.
	Stalled *StalledClaim `json:"stalled,omitempty"`
}

func (c *core) counters(i int) Stats {
	n := func(w layout.Counter) uint64 { return c.members[i].Counters[w].Load() }
	return Stats{
		Messages: n(layout.Messages), Bytes: n(layout.Bytes), Full: n(layout.Full), Dropped: n(layout.Dropped),
		Sleeps: n(layout.Sleeps), Wakes: n(layout.Wakes), SpuriousWakeups: n(layout.SpuriousWakeups), TimeoutWakeups: n(layout.TimeoutWakeups),
		LateWakeups: n(layout.LateWakeups), Spins: n(layout.Spins), Skipped: n(layout.Skipped), Deaths: n(layout.Deaths), Asleep: time.Duration(n(layout.Asleep)),
	}
}

// Stats returns what this handle has counted so far. Any goroutine may ask while the
// handle is open. Messages and Bytes are written by the consumer, now and then:
// before it sleeps, when it closes, and every few thousand messages.
func (c *core) Stats() Stats {
	s, b := c.counters(int(c.me)), c.base
	fallbacks := c.cfg.Fallbacks
	if err := c.lotFailed.Load(); err != nil {
		fallbacks = append(fallbacks[:len(fallbacks):len(fallbacks)], "sleepers take a thread each: "+(*err).Error())
	}
	return Stats{
		Messages: s.Messages - b.Messages, Bytes: s.Bytes - b.Bytes, Full: s.Full - b.Full, Dropped: s.Dropped - b.Dropped,
		Sleeps: s.Sleeps - b.Sleeps, Wakes: s.Wakes - b.Wakes, SpuriousWakeups: s.SpuriousWakeups - b.SpuriousWakeups, TimeoutWakeups: s.TimeoutWakeups - b.TimeoutWakeups,
		LateWakeups: s.LateWakeups - b.LateWakeups, Spins: s.Spins - b.Spins, Skipped: s.Skipped - b.Skipped, Deaths: s.Deaths - b.Deaths, Asleep: s.Asleep - b.Asleep, Fallbacks: fallbacks,
	}
}

// Stats returns what this handle has counted so far, and the claim that holds it up.
// Any goroutine may ask while the handle is open. Messages and Bytes may be behind: they
// are written before it sleeps, when it closes, and every few thousand messages.
func (c *Consumer) Stats() Stats {
	s := c.core.Stats()
	s.Stalled = c.stalledClaim()
	return s
}
