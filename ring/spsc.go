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
	pos    uint64 // next position
	bound  uint64 // before it there is room, it is the same lap, and nothing else to look at
	looked uint64 // where errLook was returned last
	open   bool   // a Claim is neither committed nor aborted

	// The short way of a message of one slot: see sendShort.
	edge uint64     // before it a message needs no more than to be written
	far  uint64     // where edge is when no Claim is open
	word layout.Ctl // its control word
	most int        // the longest such message
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
		p.setBound(read, lookEvery)
		return errLook
	}
	if p.pos+need-read > p.slots.count {
		read = p.hot.ReadPos.Load() // S2
		if p.pos-read > p.slots.count {
			return p.corrupt("ReadPos", p.pos, read)
		}
		p.cachedReadPos.Store(read)
		p.asked(p.pos - read)
		if p.pos+need-read > p.slots.count {
			return ErrFull
		}
	}
	p.setBound(read, max(p.spsc.looked+lookEvery-p.pos, need))
	return nil
}

// setBound moves bound on by so many slots at most, where there is so much room behind read. A
// lap has one control word, and no record goes on in the next.
func (p *Producer) setBound(read, most uint64) {
	p.bound = p.pos + min(read+p.slots.count-p.pos, most, p.slots.count-p.pos&p.mask)
	p.setEdge()
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

// setEdge is called whenever something has changed that decides how far the short way goes:
// bound, whether a Claim is open, or the stream has begun or ended.
func (p *Producer) setEdge() {
	if p.mpsc {
		return // its goroutines do not share plain words; there is no edge before it
	}
	p.word = layout.PackCtl(layout.LapOf(p.pos, p.shift), 1, p.index, layout.Committed)
	if p.far = p.bound; p.phase.Load() != streaming {
		p.far = p.pos
	}
	if p.edge = p.far; p.open {
		p.edge = p.pos
	}
}
