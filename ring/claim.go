package ring

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// Claim is room in the ring that waits to be filled: write into Bytes, then Commit.
// Exactly one of Commit and Abort takes effect, whichever comes first, so
// "defer c.Abort()" right after the claim is safe. A claim of an MPSC ring holds up
// every message claimed after it until it is finished: fill it, do not think over it.
//
// A Claim is used by one goroutine and must not be copied.
//
// It is four words: as many as the compiler keeps in registers, and hands from call to call in
// them. A larger one is copied by moves that are wider than the stores which wrote it; the processor
// then waits for those stores, and for all before them, among which is the one for the line of
// the ring that the consumer has had.
type Claim struct {
	p    *Producer // nil when finished
	at   *byte     // where the message will be
	pos  uint64
	what claimed
}

// claimed is what was claimed, packed: the length in bytes, bits 0–31, and the kind, bits 32–47, as in the word
// of an SPSC record, and the number of slots with firstRecord, which are 0 for nearly all claims of an SPSC ring.
type claimed uint64

const (
	claimedKind  = 32
	claimedSlots = 48
	claimedFirst = 1 << 60
)

func packClaimed(n int, k uint64) claimed {
	return claimed(n) | claimed(k&^firstRecord)<<claimedSlots | claimed(k>>63)*claimedFirst
}

// slots is the number of slots, and firstRecord, as reserve has returned it.
func (w claimed) slots() uint64 {
	return uint64(w&^claimedFirst>>claimedSlots) | uint64(w&claimedFirst>>60)<<63
}

func (w claimed) kind() uint16 { return uint16(w >> claimedKind) }

func (c *Claim) length() int { return int(uint32(c.what)) }

func (c *Claim) setLength(n int) { c.what = c.what&^(1<<claimedKind-1) | claimed(n) }

// noCopy makes go vet report copies.
type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

// TryClaim claims room for a message of n bytes; a negative n panics. An SPSC producer
// has at most one open claim, and cannot send while it has one. Errors: those of
// TrySend, and then the Claim is one that is finished.
func (p *Producer) TryClaim(n int) (Claim, error) { return p.Claim(context.Context(nil), n) }

func (p *Producer) tryClaim(n int) (Claim, error) {
	pos, k, err := p.claimRecord(n)
	switch err {
	case nil:
	case errLook:
		pos, k, err = p.claimAgain(n, p.claimRecord)
	case errBehind:
		return p.claimBehind(context.Context(nil), n)
	}
	return p.claimed(pos, k, n, err)
}

// claimAgain claims for a call that does not wait and was refused by errLook.
func (p *Producer) claimAgain(n int, claim func(int) (uint64, uint64, error)) (pos, k uint64, err error) {
	err = errLook
	for tries := 0; err == errLook && tries < lookTries; tries++ {
		pos, k, err = claim(n)
	}
	return pos, k, p.looked(err)
}

// claimBehind is Claim of a front. The Claim is the front's, so that what is done with it is
// guarded too.
func (p *Producer) claimBehind(ctx context.Context, n int) (c Claim, err error) {
	defer p.behind.caught(&err, debug.SetPanicOnFault(true))
	if c, err = p.behind.Claim(ctx, n); err == nil {
		c.p = p
	}
	return c, err
}

// claimed makes a Claim of what was reserved.
func (p *Producer) claimed(pos, k uint64, n int, err error) (Claim, error) {
	if err != nil {
		return Claim{}, err
	}
	return Claim{p, first(p.place(pos, n)), pos, packClaimed(n, k)}, nil
}

// claimRecord is one try by the general way: reserve, and leave the rest to Commit.
func (p *Producer) claimRecord(n int) (pos, k uint64, err error) {
	if n < 0 {
		panic(fmt.Sprintf("shmring: Claim of %d bytes", n))
	}
	return p.claimRoom(n, n)
}

// claimRoom claims the room of a record; see reserve.
func (p *Producer) claimRoom(n, longest int) (pos, k uint64, err error) {
	pos, k, err = p.reserve(n, longest)
	if err == nil && !p.mpsc {
		p.setOpen(true)
		p.leave()
	}
	return pos, k, err
}

// Claim is TryClaim that waits for room while the ring is full; without a ctx, nil, it is TryClaim.
// Errors: those of Send.
func (p *Producer) Claim(ctx context.Context, n int) (Claim, error) {
	// The short way, as in sendShort: room that is known of. Nothing is touched that others look at,
	// so no gate is needed.
	if pos := p.pos; uint64(n) <= p.most && int64(p.edge-layout.NextRecord(pos, uint64(n), p.align)) >= 0 &&
		p.stopped.Load() == 0 && !p.busy.get() {
		p.open, p.edge = true, pos
		return Claim{p, p.bodyStart(pos), pos, claimed(n)}, nil
	}
	if p.mpsc && uint(n) <= uint(p.oneMost) && p.phase.Load() == streaming && p.stopped.Load() == 0 {
		if pos, ok := p.reserveShortMPSC(); ok {
			return Claim{p, p.bytesStart(pos, n), pos, packClaimed(n, 1)}, nil
		}
	}
	if ctx == nil {
		return p.tryClaim(n)
	}
	return p.claim(ctx, n)
}

// claim is Claim by the long way.
func (p *Producer) claim(ctx context.Context, n int) (Claim, error) {
	pos, k, err := p.claimRecord(n)
	if err != nil {
		if err == errBehind {
			return p.claimBehind(ctx, n)
		}
		pos, k, err = p.claimAfter(ctx, err, n, p.claimRecord)
	}
	return p.claimed(pos, k, n, err)
}

// claimAfter is Claim, or by another try ClaimBatch, after a refusal; see sendAfter.
func (p *Producer) claimAfter(ctx context.Context, err error, n int, try func(n int) (pos, k uint64, err error)) (pos,
	k uint64, _ error) {
	a := attempt{op: "claim"}
	for err != nil {
		if err = p.awaitRetry(ctx, err, n, &a); err != nil {
			break
		}
		pos, k, err = try(n)
	}
	p.endPriority(&a)
	if err == errDropped {
		err = ErrFull // nothing to drop yet
	}
	return pos, k, err
}

// Bytes is the memory of the message, n bytes of undefined content. It is the
// caller's to write until Commit or Abort, and not to be touched after.
func (c *Claim) Bytes() []byte { return slice(c.at, c.length()) }

// Position is where the record of this claim begins: the name that its message will have.
func (c *Claim) Position() Position { return Position{Record: c.pos} }

// Copy copies b into the first bytes of Bytes, by whatever is quickest for bytes that another
// processor is about to read, and returns how many those were: all of b, or as many as were
// claimed. On a claim that is finished it does nothing.
func (c *Claim) Copy(b []byte) int {
	if c.p == nil {
		return 0
	}
	to := c.Bytes()
	b = b[:min(len(b), len(to))]
	if c.p.behind != nil { // a fault has closed the handle, and shows in Commit
		_ = c.p.behind.Guard(func() { copyOut(to, b) })
		return len(b)
	}
	copyOut(to, b)
	return len(b)
}

// SetKind sets the message type, 0 unless set.
func (c *Claim) SetKind(kind uint16) {
	c.what = c.what&^(1<<claimedSlots-1<<claimedKind) | claimed(kind)<<claimedKind
}

// Shorten makes the message n bytes long, for those who learn the length while they
// write; Bytes is then that long. More than was claimed, less than 0, or a claim that
// is finished panics.
func (c *Claim) Shorten(n int) {
	if c.p == nil || n < 0 || n > c.length() {
		panic(fmt.Sprintf("shmring: Shorten to %d bytes, want 0 to %d of an open claim", n, c.length()))
	}
	if c.p.behind != nil {
		c.shortenBehind(n)
		return
	}
	if !c.p.mpsc {
		c.p.dirty() // what was written behind it is no part of the record
		c.setLength(n)
		return
	}
	short := c.p.bytes(c.pos, n) // where the consumer looks for a message of this length
	if n <= layout.InlineSize && c.length() > layout.InlineSize {
		copy(short, c.Bytes())
		killpoint.At(killpoint.PayloadWritten)
	}
	c.at = first(short)
	c.setLength(n)
}

// Commit publishes the message. It returns ErrClosed when the handle was closed
// meanwhile (the message may or may not have been sent if that happened during the
// call), ErrRevoked when it had stalled and was given up by ForceSkip, a *CorruptError
// when a peer tampered with the claim, else nil; nil also when the claim was finished
// before.
func (c *Claim) Commit() error {
	p := c.p
	if p == nil {
		return nil
	}
	if c.what>>claimedSlots != 0 || p.busy.get() {
		return c.commit() // of an MPSC ring all are
	}
	p.busy.set(true) // enter and leave are written out, as in Send
	if p.stopped.Load() != 0 {
		p.busy.set(false)
		return c.commit()
	}
	c.p = nil
	p.open, p.edge = false, p.far
	pos, w := c.pos, c.what
	end := layout.NextRecord(pos, uint64(uint32(w)), p.align)
	p.scrub(end)
	p.publish(pos, p.head|layout.Record(w)) // D1: publishSPSC, written out
	killpoint.At(killpoint.CtlStored)
	p.pos = end
	if p.notifyWord.Load() != p.quiet || int64(end-p.soon) >= 0 { // B1
		p.afterSend(end - pos)
		return nil
	}
	p.busy.set(false)
	return nil
}

// commit is Commit for all else.
func (c *Claim) commit() error {
	p := c.p
	c.p = nil
	meta, k := layout.PackMeta(uint32(c.what), c.what.kind(), 0), c.what.slots()
	if p.mpsc {
		if p.Closed() {
			return c.commitClosed(p)
		}
		if k == 1 {
			return p.commitMPSC(p.descAt(c.pos), c.pos, 1, meta)
		}
		return p.commit(c.pos, k, meta)
	}
	if !p.enter() && !p.enterAnyway() {
		return c.commitClosed(p)
	}
	p.open, p.edge = false, p.far
	return p.commit(c.pos, k, meta)
}

func (p *Producer) setOpen(open bool) {
	p.open = open
	p.setEdge()
}

// Abort gives the claim up; the consumer never sees it. After Commit it does
// nothing.
func (c *Claim) Abort() {
	p := c.p
	if p == nil {
		return
	}
	c.p = nil
	if p.behind != nil {
		p.abortBehind(c)
		return
	}
	if p.mpsc {
		if !p.Closed() {
			// An error has closed the handle and shows at its next call.
			_ = p.publishMPSC(c.pos, c.what.slots()&^firstRecord, layout.Discarded)
		}
		return
	}
	if p.enterAnyway() {
		p.setOpen(false) // never published, so never there
		p.dirty()        // but what was written is where words will be
		p.leave()
	}
}

// commitClosed is Commit on a handle that is closed, or a front.
func (c *Claim) commitClosed(p *Producer) (err error) {
	if p.behind == nil {
		return p.closeReason()
	}
	defer p.behind.caught(&err, debug.SetPanicOnFault(true))
	if c.p = p.behind; p.measure.isDue(1) && !c.p.Closed() {
		c.p.stamp(c.p.endOf(c.pos, c.what.slots(), c.length()))
	}
	return c.Commit()
}

// abortBehind is Abort of a front's Claim. A fault has closed the handle, and shows at its next call.
func (p *Producer) abortBehind(c *Claim) {
	var err error
	defer p.behind.caught(&err, debug.SetPanicOnFault(true))
	c.p = p.behind
	c.Abort()
}

// shortenBehind is Shorten of a front's Claim. After a fault the bytes are private zeros, and so many.
func (c *Claim) shortenBehind(n int) {
	front := c.p
	c.p = front.behind
	if front.behind.Guard(func() { c.Shorten(n) }) != nil {
		c.setLength(n)
	}
	c.p = front
}
