package ring

import (
	"sync/atomic"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/internal/spin"
	"github.com/shmring/shmring/layout"
)

// The way of a record on an MPSC ring. Producers race for Tail. See spsc.go for its twin:
// the same functions in the same order (hasSpaceMPSC is segment's: priority asks too).

// claimTries bounds the races for Tail that one call may lose. Losing means that another
// producer has claimed, so honest ones lose a few; a peer that keeps changing the word
// must not keep us.
const claimTries = 1 << 12

// claims is what the goroutines of an MPSC ring's producer know of the ring.
type claims struct {
	// floor is a position of which a ringful further there is room, and nothing else to look
	// at: a ReadPos that was loaded before it was stored, or less.
	floor  atomic.Uint64
	looked atomic.Uint64 // where errLook was returned last

	oneMost int // the longest message of the short way: it takes one slot
}

// openMPSC begins at a ReadPos.
func (p *Producer) openMPSC(read uint64) {
	p.claims.looked.Store(read)
	p.floor.Store(read - p.slots.count)
	p.oneMost = min(p.oneSlot, p.maxMessage, copyPiece)
}

// reserveMPSC claims k slots and returns their position. It takes two loads and one LOCKed
// instruction when nobody interferes.
func (p *Producer) reserveMPSC(k uint64) (pos uint64, err error) {
	for range claimTries {
		floor := p.floor.Load() // before Tail, so that it is never ahead of it
		t := p.hot.Tail.Load()
		pos := t.Pos(floor)
		if n := t.Slots(); n != 0 {
			prev := pos - n
			if n > p.slots.count {
				return 0, p.corrupt("length in Tail", pos, n)
			}
			if !p.desc[prev&p.mask].Ctl.Load().IsRecorded(layout.LapOf(prev, p.shift)) {
				// Not recorded yet, or floor is so old that pos is wrong.
				read := p.help(t)
				p.cacheReadPos(read, read)
				continue
			}
		}
		need, pad := p.slots.fit(pos, k)
		if pos+need-floor > p.slots.count {
			if err := p.extendMPSC(pos, need, k); err != nil {
				return 0, err
			}
			continue
		}
		// The claim, its owner and its length in one step. The claim before it is recorded,
		// seen just now (H1).
		if !p.hot.Tail.CompareAndSwap(t, layout.PackTail(pos+need, need, p.index)) {
			spin.Pause()
			continue
		}
		killpoint.At(killpoint.TailMoved)
		if need > 1 {
			p.renew(pos, need, p.index)
		}
		if !pad {
			return pos, nil
		}
		if err := p.publishMPSC(pos, need, layout.Discarded); err != nil {
			return 0, err
		}
	}
	return 0, p.unlessForEver(ErrContended)
}

// reserveShortMPSC is reserveMPSC of one slot where nobody interferes.
func (p *Producer) reserveShortMPSC() (pos uint64, ok bool) {
	floor := p.floor.Load() // before Tail, so that it is never ahead of it
	t := p.hot.Tail.Load()
	pos = t.Pos(floor)
	n := t.Slots()
	prev := pos - n
	if n-1 >= p.slots.count || pos+1-floor > p.slots.count ||
		!p.descAt(prev).Ctl.Load().IsRecorded(layout.LapOf(prev, p.shift)) ||
		!p.hot.Tail.CompareAndSwap(t, layout.PackTail(pos+1, 1, p.index)) {
		return 0, false
	}
	killpoint.At(killpoint.TailMoved)
	return pos, true
}

// publishShortMPSC is publish of one slot, whose descriptor is d, that nobody has recorded meanwhile.
func (p *Producer) publishShortMPSC(d *layout.Descriptor, pos uint64) error {
	lap, v := layout.LapOf(pos, p.shift), d.Ctl.Load()
	if v.Lap() == lap || !d.Ctl.CompareAndSwap(v, layout.PackCtl(lap, 1, p.index, layout.Committed)) { // D1
		if err := p.publishMPSC(pos, 1, layout.Committed); err != nil {
			return err
		}
	} else {
		killpoint.At(killpoint.ClaimFinished)
		p.notify()
	}
	if p.Closed() {
		return p.closeReason() // perhaps into memory that is not shared any more
	}
	return nil
}

// fillShortMPSC fills a claim of one slot with a message to which there is nothing to say, and publishes it
// as publishShortMPSC does, written out.
func (p *Producer) fillShortMPSC(pos uint64, msg []byte, kind uint16) error {
	d, n := p.descAt(pos), uint64(len(msg))
	d.Meta = layout.PackMeta(uint32(n), kind, 0)
	killpoint.At(killpoint.MetaWritten)
	switch {
	case n-8 <= layout.InlineSize-8:
		copyFew(&d.Inline[0], first(msg), n)
	case n < 8:
		copy(d.Inline[:], msg)
	default:
		copyOut(p.payloadAt(pos, len(msg)), msg)
	}
	killpoint.At(killpoint.PayloadWritten)
	lap, v := layout.LapOf(pos, p.shift), d.Ctl.Load()
	if v.Lap() == lap || !d.Ctl.CompareAndSwap(v, layout.PackCtl(lap, 1, p.index, layout.Committed)) { // D1
		return p.publishShortMPSC(d, pos)
	}
	killpoint.At(killpoint.ClaimFinished)
	if p.notifyWord.Load()&layout.BellSleeping != 0 { // B1
		p.wakePeer()
	}
	if p.Closed() {
		return p.closeReason() // perhaps into memory that is not shared any more
	}
	return nil
}

// extendMPSC moves floor on for a claim of need slots at pos, which is to be one of k.
func (p *Producer) extendMPSC(pos, need, k uint64) error {
	if looked := p.claims.looked.Load(); int64(pos-looked) >= lookEvery && p.claims.looked.CompareAndSwap(looked, pos) {
		return errLook
	}
	read := p.cachedReadPos.Load()
	if pos+need-read > p.slots.count {
		fresh := p.hot.ReadPos.Load() // S2
		if fresh == read {
			return p.unlessForEver(ErrFull)
		}
		if int64(fresh-read) < 0 {
			return p.corrupt("ReadPos", pos, fresh)
		}
		if p.holdBack(k) {
			return ErrFull
		}
		read = fresh
		p.asked(pos - read)
	}
	p.cacheReadPos(read, pos+need)
	return nil
}

// publishMPSC finishes a claim of our own: Committed hands it to the consumer, Discarded
// makes it one to skip. The word is of an older lap, or Claimed if somebody has recorded
// the claim meanwhile, which can happen only once. Any other word means that a peer broke
// the protocol, or that our claim was revoked, or, while we are being closed, that we were
// already declared gone.
func (p *Producer) publishMPSC(pos, k uint64, s layout.State) error {
	lap := layout.LapOf(pos, p.shift)
	ctl := &p.desc[pos&p.mask].Ctl
	claimed := layout.PackCtl(lap, k, p.index, layout.Claimed)
	for range 3 {
		v := ctl.Load()
		if v.IsRecorded(lap) && v != claimed {
			if p.participants[p.index].State.Load() == layout.Revoked {
				return p.fail(ErrRevoked, p.stop)
			}
			break
		}
		if ctl.CompareAndSwap(v, layout.PackCtl(lap, k, p.index, s)) { // D1
			killpoint.At(killpoint.ClaimFinished)
			if s == layout.Discarded {
				p.clearRevocation(pos)
			}
			p.notify()
			return nil
		}
	}
	return p.corrupt("control word of our own claim", pos, uint64(ctl.Load()))
}

// checkSpaceMPSC finds a ReadPos or a Tail that no correct peer can have written. They
// would keep the producer waiting for ever.
func (p *Producer) checkSpaceMPSC() error {
	before := p.hot.Tail.Load()
	read := p.hot.ReadPos.Load()
	if p.hot.Tail.Load() != before {
		return nil // ReadPos belongs to no single Tail
	}
	if used := before.Pos(read) - read; used > p.slots.count {
		return p.corrupt("distance from ReadPos to Tail", read, used)
	}
	return nil
}

// unlessForEver is a refusal, unless words that no correct peer can have written would bring it
// for ever. Not inlined: see cacheReadPos.
//
//go:noinline
func (p *Producer) unlessForEver(refusal error) error {
	if err := p.checkSpaceMPSC(); err != nil {
		return err
	}
	return refusal
}

// cacheReadPos keeps a ReadPos for the claims to come, and moves floor on for one that ends
// at end, which there is room for, at least. Not inlined: it is for the few calls that
// need it, and the rest of reserveMPSC should be seen to do without its XCHG.
//
//go:noinline
func (p *Producer) cacheReadPos(read, end uint64) {
	if p.cachedReadPos.Load() != read {
		p.cachedReadPos.Store(read)
	}
	if look := p.claims.looked.Load() + lookEvery; int64(look-end) > 0 {
		end = look
	}
	p.floor.Store(read + min(p.slots.count, end-read) - p.slots.count)
}

// clearRevocation takes back the mark of somebody who was going to revoke a claim that we
// aborted ourselves. Else it would look revoked. Not inlined: see cacheReadPos.
//
//go:noinline
func (p *Producer) clearRevocation(pos uint64) {
	if m := &p.participants[p.index]; m.DrainPos.Load() == pos {
		m.State.CompareAndSwap(layout.Revoked, layout.Used)
	}
}
