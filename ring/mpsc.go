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

	oneMost int               // the longest message of the short way: it takes one slot
	oneTail layout.Tail       // what claims one slot, but for where it ends
	oneCtl  layout.Ctl        // what commits that, but for its lap
	state   *layout.StateWord // this producer's
	begunAt uint64            // where it has begun

	// storeIn is the state of this producer in which claims are committed without a LOCK, see commitMPSC: Used, or
	// one that there is not. All goroutines go by it, and any may find that it is over.
	storeIn   atomic.Uint32
	hasJoined atomic.Bool // Config.Barrier reaches this process
	canJoin   atomic.Bool // or may do so later
}

// inNone is no state of a participant.
const inNone = 1 << 31

// joinAfterSlots is joinAfter on an MPSC ring, of all its producers. Tests change it.
var joinAfterSlots uint64 = 1024

// openMPSC begins at a ReadPos.
func (p *Producer) openMPSC(read uint64) {
	p.claims.looked.Store(read)
	p.floor.Store(read - p.slots.count)
	p.oneMost = min(p.oneSlot, p.maxMessage, copyPiece)
	p.claims.state, p.claims.begunAt = &p.participants[p.index].State, read
	p.claims.oneTail = layout.PackTail(0, 1, p.index)
	p.claims.oneCtl = layout.PackCtl(0, 1, p.index, layout.Committed)
	p.claims.storeIn.Store(inNone)
	if plainStores && p.cfg.Barrier != nil {
		p.claims.hasJoined.Store(p.cfg.Barrier.Joined()) // another handle of this process had it join
		p.claims.canJoin.Store(true)
	}
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
		!p.hot.Tail.CompareAndSwap(t, p.claims.oneTail.Until(pos+1)) {
		return 0, false
	}
	killpoint.At(killpoint.TailMoved)
	return pos, true
}

// commitMPSC commits a claim of our own that was filled, whose descriptor is d.
//
// Where the consumer fences for us anyway (see publishAt) that takes no LOCK. The only one who changes the
// control word of a live owner's claim into anything that must stay is ForceSkip, so the two agree on whose
// it is: we say in Meta that we are about to commit (P1), and look at our state (P2); it marks the state,
// has every processor pass a barrier, and looks at Meta. Then either we see the mark, and go the long
// way, or it sees ours, and leaves the claim alone. Who puts the claim on record meanwhile is
// overwritten, and who wanted to is too late: both are as it should be. If the handle is closed
// under us, its memory is replaced before anybody may take us for gone, and that empties the store buffer of
// each processor that runs this process. See fuzz/models/skip.pml.
func (p *Producer) commitMPSC(d *layout.Descriptor, pos, k, meta uint64) error {
	lap := layout.LapOf(pos, p.shift)
	storePlain(&d.Meta, meta|layout.Finishing(lap)) // P1
	killpoint.At(killpoint.CommitMarked)
	if p.claims.state.Load() != layout.ParticipantState(p.claims.storeIn.Load()) { // P2
		return p.commitByCAS(d, pos, k, meta)
	}
	storePlain(ctlWord(d), uint64(layout.PackCtl(lap, k, p.index, layout.Committed))) // D1
	killpoint.At(killpoint.ClaimFinished)
	if p.notifyWord.Load()&(layout.BellSleeping|layout.BellFences) != layout.BellFences { // B1
		p.heedMPSC()
	}
	return p.committed()
}

// commitByCAS is commitMPSC by one LOCKed instruction, if nobody interferes.
func (p *Producer) commitByCAS(d *layout.Descriptor, pos, k, meta uint64) error {
	d.Meta = meta
	killpoint.At(killpoint.MetaWritten)
	lap, v := layout.LapOf(pos, p.shift), d.Ctl.Load()
	if v.Lap() == lap || !d.Ctl.CompareAndSwap(v, layout.PackCtl(lap, k, p.index, layout.Committed)) { // D1
		if err := p.publishMPSC(pos, k, layout.Committed); err != nil {
			return err
		}
		return p.committed()
	}
	killpoint.At(killpoint.ClaimFinished)
	p.notify()
	return p.committed()
}

// committed is the error behind a commit.
func (p *Producer) committed() error {
	if p.Closed() {
		return p.committedClosed()
	}
	return nil
}

// committedClosed is committed of a handle that was closed meanwhile: it went perhaps into memory that is
// not shared any more. But where another goroutine has learned that ForceSkip took a claim of its
// own, and no more than that, the memory is there until somebody calls Close. Not inlined: see cacheReadPos.
//
//go:noinline
func (p *Producer) committedClosed() error {
	if err := p.closeReason(); err != ErrRevoked {
		return err
	}
	return nil
}

// heedMPSC is heed behind a commit by a plain store.
//
//go:noinline
func (p *Producer) heedMPSC() {
	p.notify()
	if p.notifyWord.Load()&layout.BellFences == 0 {
		// The promise is withdrawn, see heed. This is a full barrier.
		p.claims.storeIn.Store(inNone)
		p.notify()
	}
}

// weighPlain decides now and then whether to commit by plain stores, at a claim at pos.
func (p *Producer) weighPlain(pos uint64) {
	c := &p.claims
	if !c.hasJoined.Load() {
		if !c.canJoin.Load() || pos-c.begunAt < joinAfterSlots {
			return
		}
		joined, err := p.cfg.Barrier.Join()
		c.canJoin.Store(!joined && err == nil)
		if !joined {
			return
		}
		c.hasJoined.Store(true)
	}
	if promised := p.notifyWord.Load()&layout.BellFences != 0; promised && c.storeIn.Load() == inNone {
		c.storeIn.Store(uint32(layout.Used)) // if that is over by now, the next commit finds out
	}
}

// fillShortMPSC fills a claim of one slot with a message to which there is nothing to say, and commits it as
// commitMPSC does, the common way written out.
func (p *Producer) fillShortMPSC(pos uint64, msg []byte, kind uint16) error {
	d, n := p.descAt(pos), uint64(len(msg))
	switch {
	case n-8 <= few:
		copyFew(&d.Inline[0], first(msg), n)
	case n-8 <= layout.InlineSize-8:
		copySome(&d.Inline[0], first(msg), n)
	case n < 8:
		copy(d.Inline[:], msg)
	default:
		copyOut(p.payloadAt(pos, len(msg)), msg)
	}
	killpoint.At(killpoint.PayloadWritten)
	meta, lap := layout.PackMeta(uint32(n), kind, 0), layout.LapOf(pos, p.shift)
	storePlain(&d.Meta, meta|layout.Finishing(lap)) // P1
	killpoint.At(killpoint.CommitMarked)
	if p.claims.state.Load() != layout.ParticipantState(p.claims.storeIn.Load()) { // P2
		return p.commitByCAS(d, pos, 1, meta)
	}
	storePlain(ctlWord(d), uint64(p.claims.oneCtl.In(lap))) // D1
	killpoint.At(killpoint.ClaimFinished)
	if p.notifyWord.Load()&(layout.BellSleeping|layout.BellFences) != layout.BellFences { // B1
		p.heedMPSC()
	}
	if p.Closed() {
		return p.committedClosed()
	}
	return nil
}

// extendMPSC moves floor on for a claim of need slots at pos, which is to be one of k.
func (p *Producer) extendMPSC(pos, need, k uint64) error {
	p.weighPlain(pos)
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
