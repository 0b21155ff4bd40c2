package ring

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime/debug"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// Batch is room for many messages that are written in place and published together: Append each
// and write it, then Commit. Of Commit and Abort the first takes effect. Like a Claim it belongs
// to one goroutine, must not be copied, and holds up those behind it on an MPSC ring.
type Batch struct {
	_    noCopy
	p    *Producer // nil when finished
	room []byte
	used int
	head uint64 // SPSC: what the words of its messages have in common
	// first is the word of the first message. On an SPSC ring it publishes all of them.
	first uint64
	pos   uint64
	k     uint64
}

// TryClaimBatch is ClaimBatch that does not wait. Errors: those of TrySend.
func (p *Producer) TryClaimBatch(size int) (b Batch, err error) {
	err = p.ClaimBatchInto(context.Context(nil), size, &b)
	return
}

// ClaimBatch claims size bytes of room for messages, each of which takes its length rounded up to
// a multiple of 8, and 8 more. It waits for the room while the ring is full. A size below 8 panics.
// Errors: those of Send, a *SizeError for more than MaxBatch.
func (p *Producer) ClaimBatch(ctx context.Context, size int) (b Batch, err error) {
	err = p.ClaimBatchInto(ctx, size, &b)
	return
}

// ClaimBatchInto is ClaimBatch for who has a Batch already. Without a ctx, nil, it is
// TryClaimBatch. After an error the Batch is one that is finished.
func (p *Producer) ClaimBatchInto(ctx context.Context, size int, b *Batch) error {
	pos, k, err := p.claimBatch(size)
	switch {
	case err == nil:
	case err == errBehind:
		return p.claimBatchBehind(ctx, size, b)
	case ctx != nil:
		pos, k, err = p.claimAfter(ctx, err, size, p.claimBatch)
	case err == errLook:
		pos, k, err = p.claimAgain(size, p.claimBatch)
	}
	if err != nil {
		*b = Batch{}
		return err
	}
	p.begin(b, pos, k, size)
	return nil
}

// claimBatchBehind is ClaimBatchInto of a front, whose the Batch is.
func (p *Producer) claimBatchBehind(ctx context.Context, size int, b *Batch) (err error) {
	defer p.behind.caught(&err, debug.SetPanicOnFault(true))
	if err = p.behind.ClaimBatchInto(ctx, size, b); err == nil {
		b.p = p
	}
	return err
}

// MaxBatch is the largest size of a Batch: that of the longest record, and on an SPSC ring not
// quite all of it, because a word is left behind the last message.
func (p *Producer) MaxBatch() int {
	if p.behind != nil {
		return p.behind.MaxBatch()
	}
	if p.mpsc {
		return min(p.maxRecord, layout.MaxBatch)
	}
	return min(p.maxRecord, int(p.size)-layout.LineAlign)
}

// claimBatch is one try.
func (p *Producer) claimBatch(size int) (pos, k uint64, err error) {
	if size < layout.EntryHeader {
		panic(fmt.Sprintf("shmring: batch of %d bytes, want at least %d", size, layout.EntryHeader))
	}
	if most := p.MaxBatch(); size > most {
		return 0, 0, p.wrap(&SizeError{size, most})
	}
	n := size
	if !p.mpsc {
		n -= layout.RecordHeader
	}
	return p.claimRoom(n, 0)
}

// begin makes the Batch out of what was claimed.
func (p *Producer) begin(b *Batch, pos, k uint64, size int) {
	b.p, b.used, b.head, b.pos, b.k = p, 0, 0, pos, k
	if p.mpsc {
		b.room = p.bytes(pos, size)
		return
	}
	at := pos & p.inLap
	b.room = p.memory[at : at+uint64(size)]
	// Who takes many at a time does not wait for each.
	b.head = uint64(layout.PackRecord(0, 0, layout.RecordAlign))
}

// Append adds a message of n bytes and returns its memory, with undefined content, to be written
// before Commit; nil where the room that is left is too small. It panics if n is negative or more
// than MaxMessage, and on a batch that is finished. The bytes begin at a multiple of 8.
func (b *Batch) Append(n int) []byte {
	at, whole := b.used, entrySize(n)
	if b.p == nil || uint(n) > uint(b.p.maxMessage) || whole > len(b.room)-at {
		return b.refuse(n)
	}
	if word := b.head | uint64(n); at == 0 {
		b.first = word
	} else {
		binary.NativeEndian.PutUint64(b.room[at:], word) // seen by nobody before the first
		killpoint.At(killpoint.EntryWritten)
	}
	b.used = at + whole
	return b.room[at+layout.EntryHeader : at+layout.EntryHeader+n : at+layout.EntryHeader+n]
}

// refuse is Append where there is no room, or nothing is right. Of a front no length is.
func (b *Batch) refuse(n int) (room []byte) {
	switch {
	case b.p == nil:
		panic("shmring: Append to a batch that is finished")
	case b.p.behind != nil:
		front := b.p
		b.p = front.behind
		_ = b.p.Guard(func() { room = b.Append(n) }) // a fault has closed the handle, and shows in Commit
		b.p = front
		return room
	case uint(n) > uint(b.p.maxMessage):
		panic(fmt.Sprintf("shmring: Append of %d bytes, want 0 to %d", n, b.p.maxMessage))
	}
	return nil
}

// Room is how many bytes are left, of which each message takes 8 besides its own, rounded up.
func (b *Batch) Room() int { return len(b.room) - b.used }

// Commit publishes the messages, if there are any. Errors: those of [Claim.Commit].
func (b *Batch) Commit() error {
	p := b.p
	switch {
	case p == nil:
		return nil
	case p.behind != nil:
		return b.commitBehind()
	case b.used == 0:
		b.Abort()
		return nil
	}
	b.p = nil
	if !p.mpsc {
		return p.commitLine(b)
	}
	if p.Closed() {
		return p.closeReason()
	}
	binary.NativeEndian.PutUint64(b.room, b.first)
	if short := p.bytes(b.pos, b.used); &short[0] != &b.room[0] {
		copy(short, b.room)
	}
	killpoint.At(killpoint.PayloadWritten)
	return p.commit(b.pos, b.k, layout.PackMeta(uint32(b.used), 0, layout.FlagBatch))
}

// commitBehind is Commit of a front's Batch. What is measured of it is its last message; all of it
// counts as one.
func (b *Batch) commitBehind() (err error) {
	front := b.p
	p := front.behind
	b.p = p
	defer p.caught(&err, debug.SetPanicOnFault(true))
	if p.Closed() {
		b.p = nil
		return p.closeReason()
	}
	if b.used > 0 && front.measure.isDue(1) {
		p.stamp(p.endOfBatch(b))
	}
	return b.Commit()
}

// commitLine is Commit on an SPSC ring.
func (p *Producer) commitLine(b *Batch) error {
	if !p.enter() && !p.enterAnyway() {
		return p.closeReason()
	}
	p.open, p.edge = false, p.far
	first := layout.Record(b.first)
	if b.k >= firstRecord {
		first |= layout.RecordFirst
	}
	end := b.pos + uint64(b.used)
	p.scrub(end)
	p.publish(b.pos, first) // D1
	killpoint.At(killpoint.CtlStored)
	p.pos = end
	if b.k >= firstRecord {
		p.begun()
	}
	p.afterSend(uint64(b.used))
	return nil
}

// endOfBatch is the position behind the record, or records, of a Batch.
func (p *Producer) endOfBatch(b *Batch) uint64 {
	if p.mpsc {
		return p.endOf(b.pos, b.k, 0)
	}
	return b.pos + uint64(b.used)
}

// Abort gives the batch up; the consumer sees none of it. After Commit it does nothing.
func (b *Batch) Abort() {
	c := Claim{p: b.p, pos: b.pos, what: packClaimed(0, b.k)}
	b.p = nil
	c.Abort()
}
