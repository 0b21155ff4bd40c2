package ring

import (
	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/internal/spin"
	"github.com/shmring/shmring/layout"
)

// claimTries bounds the races for Tail that one call may lose. Losing means that
// another producer has claimed, so honest ones lose a few; a peer that keeps changing
// the word must not keep us.
const claimTries = 1 << 12

func (p *Producer) sendShared(msg []byte, meta uint64) error {
	k := p.slotsFor(len(msg))
	pos, err := p.claimShared(k)
	if err != nil {
		return err
	}
	p.fill(pos, msg, meta)
	return p.finish(pos, k, layout.Committed)
}

// claimShared claims k slots of an MPSC ring and returns their position. Two loads
// and one LOCKed instruction when nobody interferes.
func (p *Producer) claimShared(k uint64) (pos uint64, err error) {
	if p.halt.Load() != 0 {
		return 0, p.why()
	}
	for range claimTries {
		// readSeen was loaded before Tail, so it is never ahead of it.
		read := p.readSeen.Load()
		w := layout.Tail(p.hot.Tail.Load())
		pos := w.Pos(read)
		if n := w.Slots(); n != 0 {
			prev := pos - n
			if n > p.slots {
				return 0, p.corrupt("length in Tail", pos, n)
			}
			if !layout.Ctl(p.desc[prev&p.mask].Ctl.Load()).On(layout.LapOf(prev, p.shift)) {
				// Not on record yet, or readSeen is so old that pos is wrong.
				p.saw(p.record(w))
				continue
			}
		}
		need, pad := p.room(pos, k)
		if pos+need-read > p.slots {
			fresh := p.hot.ReadPos.Load() // S2
			if fresh == read {
				return 0, ErrFull
			}
			if int64(fresh-read) < 0 {
				return 0, p.corrupt("ReadPos", pos, fresh)
			}
			if p.yields(k) {
				return 0, ErrFull
			}
			p.saw(fresh)
			continue
		}
		// The claim, its owner and its length in one step. The claim before it is on
		// record, seen just now (H1).
		if !p.hot.Tail.CompareAndSwap(uint64(w), uint64(layout.PackTail(pos+need, need, p.me))) {
			spin.Pause()
			continue
		}
		killpoint.At(killpoint.TailMoved)
		p.renew(pos, need)
		if !pad {
			return pos, nil
		}
		if err := p.finish(pos, need, layout.Discarded); err != nil {
			return 0, err
		}
	}
	return 0, ErrContended
}

// saw keeps a ReadPos for the claims to come. Not inlined: it is for the few calls
// that need it, and the rest of claimShared should be seen to do without its XCHG.
//
//go:noinline
func (p *Producer) saw(read uint64) { p.readSeen.Store(read) }

// record puts the newest claim on record if w still names it: helping. It returns a
// fresh ReadPos.
//
// The first load of Tail below says that w is still the newest claim after ReadPos
// was read, so its position is right. The second says so after the descriptor was
// read: then a descriptor without the claim's lap is older than it, not newer, and
// the CAS either puts exactly this claim on record or loses to someone who did.
func (c *core) record(w layout.Tail) (read uint64) {
	read = c.hot.ReadPos.Load()
	if layout.Tail(c.hot.Tail.Load()) != w {
		return read
	}
	k := w.Slots()
	pos := w.Pos(read) - k
	ctl := &c.desc[pos&c.mask].Ctl
	v := layout.Ctl(ctl.Load())
	lap := layout.LapOf(pos, c.shift)
	if v.On(lap) || layout.Tail(c.hot.Tail.Load()) != w {
		return read
	}
	ctl.CompareAndSwap(uint64(v), uint64(layout.PackCtl(lap, k, w.Owner(), layout.Claimed)))
	killpoint.At(killpoint.ClaimRecorded)
	return read
}

// finish ends a claim of our own: Commit hands it to the consumer, Skip makes it one
// to pass over. The word is of an older lap, or CLAIMED if somebody has put the claim on
// record meanwhile, which can happen only once; any other word means that a peer
// broke the protocol, or, while we are being closed, that we were already declared
// gone.
func (p *Producer) finish(pos, k uint64, s layout.State) error {
	lap := layout.LapOf(pos, p.shift)
	ctl := &p.desc[pos&p.mask].Ctl
	busy := layout.PackCtl(lap, k, p.me, layout.Claimed)
	for range 3 {
		v := layout.Ctl(ctl.Load())
		if v.On(lap) && v != busy {
			if layout.ParticipantState(p.members[p.me].State.Load()) == layout.Revoked {
				return p.poison(ErrRevoked, p.stop)
			}
			break
		}
		if ctl.CompareAndSwap(uint64(v), uint64(layout.PackCtl(lap, k, p.me, s))) { // D1
			killpoint.At(killpoint.ClaimFinished)
			if s == layout.Discarded {
				p.unfence(pos)
			}
			p.ring()
			if p.halt.Load() != 0 {
				return p.why() // perhaps into memory that is not shared any more
			}
			return nil
		}
	}
	if p.halt.Load() != 0 {
		return p.why()
	}
	return p.corrupt("control word of our own claim", pos, ctl.Load())
}

// unfence takes back the mark of somebody who was going to revoke a claim that we gave
// up ourselves. Else it would look revoked. Not inlined: see saw.
//
//go:noinline
func (p *Producer) unfence(pos uint64) {
	if m := &p.members[p.me]; m.DrainPos.Load() == pos {
		m.State.CompareAndSwap(uint32(layout.Revoked), uint32(layout.Used))
	}
}
