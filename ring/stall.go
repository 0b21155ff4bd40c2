package ring

import (
	"time"

	"github.com/shmring/shmring/layout"
)

// StalledClaim describes a claim at the head of an MPSC ring whose owner is alive and
// has not finished it: stopped, debugged, starved of processor time, or just slow.
// The consumer waits for it, however long it takes; [ForceSkip] is for those who know
// better.
type StalledClaim struct {
	Position uint64        `json:"position"`
	Slots    int           `json:"slots"`
	Producer int           `json:"producer"` // participant slot
	PID      int           `json:"pid"`      // as the owner sees itself; for people
	Age      time.Duration `json:"age_ns"`   // since the consumer first met it
}

// stall is a StalledClaim while it lasts.
type stall struct {
	StalledClaim
	ctl   layout.Ctl
	since time.Time
	told  bool
}

// stallNotice is how old a stalled claim is when Config.OnStall is told.
const stallNotice = time.Second

// meetStall notes that the claim at h is unfinished and its owner alive.
func (c *Consumer) meetStall(h uint64, v layout.Ctl) error {
	s := c.stall.Load()
	if s == nil || s.Position != h {
		owner := int(v.Owner())
		s = &stall{ctl: v, since: time.Now()}
		s.StalledClaim = StalledClaim{Position: h, Slots: int(v.Slots()), Producer: owner, PID: int(c.members[owner].PID.Load())}
		c.stall.Store(s)
	}
	if age := time.Since(s.since); !s.told && c.cfg.OnStall != nil && age >= stallNotice {
		s.told = true
		told := s.StalledClaim
		told.Age = age
		return c.callOut(func() { c.cfg.OnStall(told) })
	}
	return nil
}

// callOut calls the user's code, which may close the handle, or panic.
func (c *Consumer) callOut(f func()) error {
	c.leave()
	f()
	if !c.enter() {
		return c.why()
	}
	return nil
}

// stalledClaim is the claim that holds the ring up at present, or nil. Any goroutine
// may ask.
func (c *Consumer) stalledClaim() *StalledClaim {
	s := c.stall.Load()
	if s == nil || layout.Ctl(c.desc[s.Position&c.mask].Ctl.Load()) != s.ctl {
		return nil
	}
	now := s.StalledClaim
	now.Age = time.Since(s.since)
	return &now
}

// fence is a revoked claim: one that the consumer has passed though its owner lives.
// The owner may still be writing into the claim's slots, so they are not released,
// and nothing behind them, until its lock is free.
type fence struct {
	owner int
	pos   uint64
}

// holds reports whether the owner may still write.
func (c *core) holds(f fence) bool {
	m := &c.members[f.owner]
	return m.DrainPos.Load() == f.pos && layout.ParticipantState(m.State.Load()) == layout.Revoked
}

// meetSkip looks whether a record to be passed over is a revoked claim. ForceSkip
// marks the owner before the claim, so whoever sees the claim skipped sees the mark (F2).
func (c *Consumer) meetSkip(h uint64, v layout.Ctl) {
	f := fence{int(v.Owner()), h}
	if f.owner == layout.ConsumerIndex || f.owner >= len(c.members) || !c.holds(f) {
		return
	}
	for i, known := range c.fences {
		if known.owner == f.owner {
			c.fences[i] = f // an owner has one at a time
			return
		}
	}
	c.fences = append(c.fences, f)
}

// behindFences is how far ReadPos may go.
func (c *Consumer) behindFences(to uint64) uint64 {
	standing := c.fences[:0]
	for _, f := range c.fences {
		if !c.holds(f) {
			continue
		}
		standing = append(standing, f)
		if int64(to-f.pos) > 0 {
			to = f.pos
		}
	}
	c.fences = standing
	if int64(to-c.released) < 0 {
		return c.released // cannot be, unless a peer has tampered
	}
	return to
}

// liftFences finds fenced owners that have died or left meanwhile.
func (c *Consumer) liftFences() error {
	for _, f := range c.fences {
		if _, err := c.dead(f.owner); err != nil {
			return err
		}
	}
	return nil
}
