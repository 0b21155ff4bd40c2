package ring

import (
	"io"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/layout"
)

// fates is what the consumer knows of how streams end.
type fates struct {
	ended  []uint32       // by producer: the epoch whose end was seen, 0: none
	ends   int            // how many ends were seen since the last io.EOF
	ending bool           // an end was seen and not yet reported (MPSC)
	asking bool           // and nobody looked yet whether it was the last one
	over   bool           // and it was, when a Poller looked
	dead   *PeerDeadError // a producer's death, to be reported behind its last message (SPSC)
	told   uint32         // epoch of the newest producer whose death was reported
	stall  atomic.Pointer[stall]
}

// report tells whether the death of an SPSC producer is to be reported, and notes that it
// was. It is not if that producer had ended its stream.
func (f *fates) report(epoch uint32) bool {
	if f.isReported(epoch) {
		return false
	}
	f.told = epoch
	return true
}

func (f *fates) isReported(epoch uint32) bool {
	return epoch == f.ended[1] || f.told != 0 && int32(epoch-f.told) <= 0
}

// nothingNext is what peek returns when no finished record is next.
func (c *Consumer) nothingNext() error {
	c.streak = 0
	if dead := c.fates.dead; dead != nil {
		c.fates.dead = nil
		if c.fates.report(dead.Epoch) {
			return c.wrap(dead)
		}
	}
	if c.fates.asking || c.fates.over {
		c.fates.asking = false
		return c.judgeEnd()
	}
	return ErrEmpty
}

// judgeEnd returns io.EOF when the stream is over, once; else ErrEmpty.
func (c *Consumer) judgeEnd() error {
	over, err := c.reapStreams()
	c.fates.over = false
	if err != nil {
		return err
	}
	if !over {
		return ErrEmpty
	}
	c.fates.ending, c.fates.ends = false, 0
	return io.EOF
}

// reapStreams looks for dead producers, and tells whether every producer has ended its
// stream, left or died, and nothing is on its way. The producers are looked at before
// Tail: one that attached, sent and left in between has moved Tail.
func (c *Consumer) reapStreams() (over bool, err error) {
	for i := range c.participants {
		if i == layout.ConsumerIndex || !c.isStreaming(i) {
			continue
		}
		if dead, err := c.reapIfDead(i); !dead {
			return false, err
		}
	}
	return c.hot.Tail.Load().Pos(c.pos) == c.pos, nil
}

// isStreaming tells whether a participant has attached and not ended its stream.
func (c *Consumer) isStreaming(i int) bool {
	m := &c.participants[i]
	state := m.State.Load()
	return (state == layout.Used || state == layout.Revoked) && m.Epoch.Load() != c.fates.ended[i]
}

// stalledSleep bounds sleeps while an unfinished claim is next: its owner may die, and
// nobody notifies us of that.
const stalledSleep = time.Millisecond

// maintain is what the consumer does before it sleeps and whenever a sleep brought
// nothing: it flushes what it has gathered and looks for dead producers. The error is what
// there is to say instead of a message.
func (c *Consumer) maintain() error {
	if err := c.lookAfter(); err != nil {
		return err
	}
	if c.batch.rest != nil || c.isReady() {
		return nil
	}
	err := ErrEmpty
	switch {
	case c.fates.dead != nil:
		err = c.nothingNext()
	case c.fates.ending:
		err = c.judgeEnd()
	}
	if err == ErrEmpty {
		return nil
	}
	return err
}

// lookAfter is maintain without saying anything: that is left to the next call. hasNews
// tells whether there is anything to say.
func (c *Consumer) lookAfter() error {
	c.flushReadPos()
	c.flushDeltas()
	if c.batch.rest != nil {
		return nil
	}
	// Revoked owners may have died or left meanwhile.
	for _, r := range c.revocations {
		if _, err := c.reapIfDead(r.owner); err != nil {
			return err
		}
	}
	if !c.mpsc {
		return c.detectProducerDeath()
	}
	if err := c.resolveHead(); err != nil {
		return err
	}
	if c.fates.ending && !c.isReady() {
		var err error
		c.fates.over, err = c.reapStreams()
		return err
	}
	return nil
}

// hasNews tells whether the next call has something to say.
func (c *Consumer) hasNews() bool {
	f := &c.fates
	return c.batch.rest != nil || c.isReady() || f.asking || f.over || f.dead != nil || c.Closed()
}

// detectProducerDeath finds the death of an SPSC ring's producer. The lock was taken (L2),
// so everything that producer committed is visible now: if there is any, it goes first.
func (c *Consumer) detectProducerDeath() error {
	const i = 1
	if !c.isStreaming(i) {
		return nil
	}
	m := &c.participants[i]
	lost := &PeerDeadError{PID: int(m.PID.Load()), Epoch: m.Epoch.Load()}
	dead, err := c.reapIfDead(i)
	if dead && err == nil && !c.fates.isReported(lost.Epoch) {
		c.fates.dead = lost
	}
	return err
}

// resolveHead deals with an unfinished claim at the head of an MPSC ring: it records the
// claim if nobody has, and discards it if its owner is dead. It waits for a live owner,
// however long that takes.
func (c *Consumer) resolveHead() error {
	pos := c.pos
	c.stalled = false
	v, found, err := c.claimAt(pos)
	if err != nil {
		return c.failWith(err)
	}
	if !found {
		return nil
	}
	owner := int(v.Owner())
	dead, err := c.reapIfDead(owner)
	if err != nil {
		return err
	}
	if !dead {
		c.stalled = true
		return c.noteStall(pos, v)
	}
	if !c.discard(pos, v) {
		return nil // its owner had committed before it died
	}
	c.count(layout.Skipped, 1)
	if c.cfg.OnSkip != nil {
		k := SkippedClaim{Position: pos, Slots: int(v.Slots()), PID: int(c.participants[owner].PID.Load())}
		return c.callOut(func() { c.cfg.OnSkip(k) })
	}
	return nil
}

// StalledClaim describes a claim at the head of an MPSC ring whose owner is alive and has
// not finished it: stopped, debugged, starved of processor time, or just slow. The
// consumer waits for it, however long it takes; [ForceSkip] is for those who know better.
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
	ctl      layout.Ctl
	since    time.Time
	reported bool
}

// reportStallAfter is how old a stalled claim is when Config.OnStall is called.
const reportStallAfter = time.Second

// noteStall notes that the claim at pos is unfinished and its owner alive.
func (c *Consumer) noteStall(pos uint64, v layout.Ctl) error {
	s := c.fates.stall.Load()
	if s == nil || s.Position != pos {
		owner := int(v.Owner())
		s = &stall{ctl: v, since: time.Now()}
		s.StalledClaim = StalledClaim{
			Position: pos, Slots: int(v.Slots()), Producer: owner, PID: int(c.participants[owner].PID.Load()),
		}
		c.fates.stall.Store(s)
	}
	if age := time.Since(s.since); !s.reported && c.cfg.OnStall != nil && age >= reportStallAfter {
		s.reported = true
		claim := s.StalledClaim
		claim.Age = age
		return c.callOut(func() { c.cfg.OnStall(claim) })
	}
	return nil
}

// callOut calls the user's code, which may close the handle, or panic.
func (c *Consumer) callOut(f func()) error {
	c.leave()
	c.callUser(f)
	if !c.enter() {
		return c.closeReason()
	}
	return nil
}

// stalledClaim is the claim that holds the ring up at present, or nil. Any goroutine may
// ask.
func (c *Consumer) stalledClaim() *StalledClaim {
	s := c.fates.stall.Load()
	if s == nil || c.ctl(s.Position).Load() != s.ctl {
		return nil
	}
	now := s.StalledClaim
	now.Age = time.Since(s.since)
	return &now
}
