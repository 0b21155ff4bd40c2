package ring

import (
	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// The way of a record on an SPSC ring. Everything from the producer's position to
// ReadPos+C is its own, so reserving is arithmetic on private words, and nothing is shared
// until D1. See mpsc.go for its twin: the same functions in the same order.

// spsc is the state of an SPSC ring's producer, touched by the one goroutine inside enter
// and leave.
type spsc struct {
	pos     uint64 // next position
	bound   uint64 // before it there is room, and nothing else to look at
	looked  uint64 // where errLook was returned last
	fastMax int    // longest message that sendFast may send without asking; −1: none
	open    bool   // a Claim is neither committed nor aborted
}

// reserveSPSC makes the slots of a record of k slots at p.pos this producer's, behind
// padding if need be. The caller is inside enter.
func (p *Producer) reserveSPSC(k uint64) error {
	for {
		need, pad := p.fit(p.pos, k)
		if int64(p.pos+need-p.bound) > 0 {
			if err := p.extendSPSC(need); err != nil {
				return err
			}
		}
		if need > 1 {
			p.renew(p.pos, need, p.index)
		}
		if !pad {
			return nil
		}
		p.publishSPSC(need, layout.Discarded) // there may be no room for the rest before the consumer has passed this
		p.spsc.looked = p.pos                 // padding is no message
	}
}

// extendSPSC moves bound on for a claim of need slots. Not inlined: see cacheReadPos.
//
//go:noinline
func (p *Producer) extendSPSC(need uint64) error {
	read := p.cachedReadPos.Load()
	if p.pos-p.spsc.looked >= lookEvery {
		p.spsc.looked = p.pos
		p.bound = p.pos + min(read+p.slots.count-p.pos, lookEvery)
		return errLook
	}
	if p.pos+need-read > p.slots.count {
		read = p.hot.ReadPos.Load() // S2
		if p.pos-read > p.slots.count {
			return p.corrupt("ReadPos", p.pos, read)
		}
		p.cachedReadPos.Store(read)
		if p.pos+need-read > p.slots.count {
			return ErrFull
		}
	}
	p.bound = p.pos + min(read+p.slots.count-p.pos, max(p.spsc.looked+lookEvery-p.pos, need))
	return nil
}

// publishSPSC finishes the k slots at p.pos: Committed hands them to the consumer, Discarded
// makes them padding.
func (p *Producer) publishSPSC(k uint64, s layout.State) {
	g, pos := &p.slots, p.pos
	p.pos = pos + k
	g.desc[pos&g.mask].Ctl.Store(layout.PackCtl(layout.LapOf(pos, g.shift), k, p.index, s)) // D1
	killpoint.At(killpoint.CtlStored)
	p.notify()
}

// hasSpaceSPSC tells whether a record of k slots, or the padding before it, would fit.
func (p *Producer) hasSpaceSPSC(k uint64) bool {
	read := p.hot.ReadPos.Load() // S2
	need, _ := p.fit(p.pos, k)
	return p.pos+need-read <= p.slots.count
}

// checkSpaceSPSC finds a ReadPos that no correct peer can have written. It would keep the
// producer waiting for ever.
func (p *Producer) checkSpaceSPSC() error {
	if read := p.hot.ReadPos.Load(); p.pos-read > p.slots.count {
		return p.corrupt("ReadPos", p.pos, read)
	}
	return nil
}

// sendFast sends a message of one slot where there is room that is known of. False: the
// general way is needed. This is the one exception to the rule that every record goes
// through reserve, fill and publish: it repeats reserveSPSC and publishSPSC (168
// instructions for a Send of 32 bytes against 277). It has to be short, in stores first of
// all: they leave the processor in order, so those that follow, spilled registers too,
// queue up behind the one for a line that the consumer has had, and the next line is asked
// for the later the more they are.
func (p *Producer) sendFast(msg []byte, meta uint64) bool {
	pos := p.pos
	if len(msg) > p.fastMax || int64(p.bound-pos) <= 0 || !p.enter() {
		return false
	}
	copy(p.bytes(pos, len(msg)), msg)
	killpoint.At(killpoint.PayloadWritten)
	p.setMeta(pos, meta)
	p.pos = pos + 1
	p.desc[pos&p.mask].Ctl.Store(layout.PackCtl(layout.LapOf(pos, p.shift), 1, p.index, layout.Committed)) // D1
	killpoint.At(killpoint.CtlStored)
	p.notify()
	p.leave()
	return true
}

// setFastMax is called whenever what sendFast may do without asking has changed.
func (p *Producer) setFastMax() {
	if p.mpsc {
		return // its goroutines do not share plain words; it stays −1
	}
	p.fastMax = min(p.oneSlot, p.maxMessage, copyPiece)
	if p.open || p.phase.Load() != streaming {
		p.fastMax = -1
	}
}
