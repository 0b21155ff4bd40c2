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
type Claim struct {
	_    noCopy
	p    *Producer // nil when finished
	data []byte
	pos  uint64
	k    uint64
	kind uint16
}

// noCopy makes go vet report copies.
type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

// TryClaim claims room for a message of n bytes; a negative n panics. An SPSC producer
// has at most one open claim, and cannot send while it has one. Errors: those of
// TrySend.
func (p *Producer) TryClaim(n int) (c Claim, err error) {
	err = p.TryClaimInto(n, &c)
	return
}

// TryClaimInto is TryClaim for who has a Claim already: it is not copied. After an error
// the Claim is one that is finished.
func (p *Producer) TryClaimInto(n int, c *Claim) error {
	return p.ClaimInto(context.Context(nil), n, c)
}

func (p *Producer) tryClaimInto(n int, c *Claim) error {
	pos, k, err := p.claimRecord(n)
	switch err {
	case nil:
	case errLook:
		pos, k, err = p.claimRecord(n)
		err = p.looked(err)
	case errBehind:
		return p.claimBehind(context.Context(nil), n, c)
	}
	return p.claimed(c, pos, k, n, err)
}

// claimBehind is ClaimInto of a front. The Claim is the front's, so that what is done with it is
// guarded too.
func (p *Producer) claimBehind(ctx context.Context, n int, c *Claim) (err error) {
	defer p.behind.caught(&err, debug.SetPanicOnFault(true))
	if err = p.behind.ClaimInto(ctx, n, c); err == nil {
		c.p = p
	}
	return err
}

// claimed fills in a Claim.
func (p *Producer) claimed(c *Claim, pos, k uint64, n int, err error) error {
	if err != nil {
		*c = Claim{}
		return err
	}
	c.p, c.data, c.pos, c.k, c.kind = p, p.place(pos, n), pos, k, 0
	return nil
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

// Claim is TryClaim that waits for room while the ring is full. Errors: those of
// Send.
func (p *Producer) Claim(ctx context.Context, n int) (c Claim, err error) {
	err = p.ClaimInto(ctx, n, &c)
	return
}

// ClaimInto is Claim for who has a Claim already: it is not copied. Without a ctx, nil, it is
// TryClaimInto. After an error the Claim is one that is finished.
func (p *Producer) ClaimInto(ctx context.Context, n int, c *Claim) error {
	// The short way, as in sendShort: room that is known of.
	if pos := p.pos; uint64(n) <= p.most && int64(p.edge-layout.NextRecord(pos, uint64(n), p.align)) >= 0 && p.enter() {
		p.open, p.edge = true, pos
		p.leave()
		c.p, c.data, c.pos, c.k, c.kind = p, p.bodyAt(pos, uint64(n)), pos, 0, 0
		return nil
	}
	if p.mpsc && uint(n) <= uint(p.oneMost) && p.phase.Load() == streaming && p.stopped.Load() == 0 {
		if pos, ok := p.reserveShortMPSC(); ok {
			c.p, c.data, c.pos, c.k, c.kind = p, p.bytesAt(p.descAt(pos), pos, n), pos, 1, 0
			return nil
		}
	}
	if ctx == nil {
		return p.tryClaimInto(n, c)
	}
	pos, k, err := p.claimRecord(n)
	if err != nil {
		if err == errBehind {
			return p.claimBehind(ctx, n, c)
		}
		pos, k, err = p.claimAfter(ctx, err, n, p.claimRecord)
	}
	return p.claimed(c, pos, k, n, err)
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
func (c *Claim) Bytes() []byte { return c.data }

// Position is where the record of this claim begins: the name that its message will have.
func (c *Claim) Position() Position { return Position{Record: c.pos} }

// Copy copies b into the first bytes of Bytes, by whatever is quickest for bytes that another
// processor is about to read, and returns how many those were: all of b, or as many as were
// claimed. On a claim that is finished it does nothing.
func (c *Claim) Copy(b []byte) int {
	if c.p == nil {
		return 0
	}
	b = b[:min(len(b), len(c.data))]
	if c.p.behind != nil { // a fault has closed the handle, and shows in Commit
		_ = c.p.behind.Guard(func() { copyOut(c.data, b) })
		return len(b)
	}
	copyOut(c.data, b)
	return len(b)
}

// SetKind sets the message type, 0 unless set.
func (c *Claim) SetKind(kind uint16) { c.kind = kind }

// Shorten makes the message n bytes long, for those who learn the length while they
// write; Bytes is then that long. More than was claimed, less than 0, or a claim that
// is finished panics.
func (c *Claim) Shorten(n int) {
	if c.p == nil || n < 0 || n > len(c.data) {
		panic(fmt.Sprintf("shmring: Shorten to %d bytes, want 0 to %d of an open claim", n, len(c.data)))
	}
	if c.p.behind != nil {
		c.shortenBehind(n)
		return
	}
	if !c.p.mpsc {
		c.p.dirty() // what was written behind it is no part of the record
		c.data = c.data[:n:n]
		return
	}
	short := c.p.bytes(c.pos, n) // where the consumer looks for a message of this length
	if n <= layout.InlineSize && len(c.data) > layout.InlineSize {
		copy(short, c.data)
		killpoint.At(killpoint.PayloadWritten)
	}
	c.data = short
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
	if c.k != 0 || p.busy.get() {
		return c.commit() // of an MPSC ring all are
	}
	p.busy.set(true) // enter and leave are written out, as in Send
	if p.stopped.Load() != 0 {
		p.busy.set(false)
		return c.commit()
	}
	c.p = nil
	p.open, p.edge = false, p.far
	n := uint64(len(c.data))
	end := layout.NextRecord(c.pos, n, p.align)
	p.scrub(end)
	p.publish(c.pos, p.head|layout.Record(c.kind)<<32|layout.Record(n)) // D1: publishSPSC, written out
	killpoint.At(killpoint.CtlStored)
	p.pos = end
	if p.notifyWord.Load() != p.quiet || int64(end-p.soon) >= 0 { // B1
		p.afterSend(end - c.pos)
		return nil
	}
	p.busy.set(false)
	return nil
}

// commit is Commit for all else.
func (c *Claim) commit() error {
	p := c.p
	c.p = nil
	meta := layout.PackMeta(uint32(len(c.data)), c.kind, 0)
	if p.mpsc {
		if p.Closed() {
			return c.commitClosed(p)
		}
		if c.k == 1 {
			p.setMeta(c.pos, meta)
			return p.publishShortMPSC(c.pos)
		}
		return p.commit(c.pos, c.k, meta)
	}
	if !p.enter() && !p.enterAnyway() {
		return c.commitClosed(p)
	}
	p.open, p.edge = false, p.far
	return p.commit(c.pos, c.k, meta)
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
			_ = p.publishMPSC(c.pos, c.k&^firstRecord, layout.Discarded)
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
		c.p.stamp(c.p.endOf(c.pos, c.k, len(c.data)))
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
		c.data = c.data[:n:n]
	}
	c.p = front
}
