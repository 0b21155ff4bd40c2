package ring

import (
	"errors"
	"time"

	"github.com/shmring/shmring/layout"
)

// ParkEverybody makes all sleepers of this process park, until undone. No
// handle may be in use when it is called.
func ParkEverybody() (undo func()) {
	was := maxThreads
	maxThreads = 0
	return func() { maxThreads = was }
}

// Adaptive is how much a consumer expects that spinning pays, from 0 to 1024.
func (c *Consumer) Adaptive() int { return int(c.adaptive.score.Load()) }

// FakeCPU replaces the processor that everybody believes to be on, until undone.
func FakeCPU(f func() int) (undo func()) {
	was := currentCPU
	currentCPU = f
	return func() { currentCPU = was }
}

// MoveAfter is after how many crowded waits a producer tries to be moved.
func (p *Producer) MoveAfter() int { return int(p.adaptive.moveAfter.Load()) }

// HoldBackFor makes a producer patient with the priority claims of others for so long. Nobody may
// use it when it is called.
func (p *Producer) HoldBackFor(d time.Duration) { p.priority.patience = d }

// LookAgain and CheckEvery are how often Config.Check is asked, at most.
const (
	LookAgain  = lookAgain
	CheckEvery = checkEvery
)

// PlainStores says that there are such.
const PlainStores = plainStores

// IsPlain tells whether the next message is published without a full barrier.
func (p *Producer) IsPlain() bool {
	if p.mpsc {
		return p.claims.storeIn.Load() != inNone
	}
	return p.plain
}

// JoinAfterSlots makes producers of MPSC rings think of joining after so many slots, until undone.
func JoinAfterSlots(n uint64) (undo func()) {
	was := joinAfterSlots
	joinAfterSlots = n
	return func() { joinAfterSlots = was }
}

// PutByHand stores the word of the next record, and does nothing else.
func (p *Producer) PutByHand(w uint64) { p.area.publish(p.pos, layout.Record(w)) }

// SendBetween is TrySend by the short way of an MPSC ring, with something that happens between claim and commit.
func (p *Producer) SendBetween(msg []byte, happens func()) error {
	pos, ok := p.reserveShortMPSC()
	if !ok {
		return ErrNoShortWay
	}
	happens()
	return p.fillShortMPSC(pos, msg, 0)
}

// Settle waits as a sleeper does behind Config.Barrier.
func Settle() { settle(func() bool { return false }) }

// ErrNoShortWay: nothing was sent.
var ErrNoShortWay = errors.New("no short way")
