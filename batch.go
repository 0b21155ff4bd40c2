package shmring

import (
	"context"

	"github.com/shmring/shmring/ring"
)

// Batch is room for many messages that are written in place and published together. Append each
// and write it, then Commit; "defer b.Abort()" right after the claim is safe. The library holds
// nothing back: what is to be sent with it is for the caller to decide.
//
//	b, err := p.ClaimBatch(ctx, 4096)
//	…
//	for _, e := range events {
//		copy(b.Append(len(e)), e) // nil: the room that is left is too small
//	}
//	err = b.Commit()
//
// A Batch is used by one goroutine and must not be copied. Like a [Claim] it holds up the messages
// behind it on an MPSC ring; and of an SPSC producer there is one of either at a time.
type Batch ring.Batch

// ClaimBatch claims room for messages of size bytes in all, of which each takes its length rounded
// up to a multiple of 8, and 8 more; at most MaxBatch. It waits for the room while the ring is
// full. A size below 8 panics. Errors: those of [Producer.Send].
func (p *Producer) ClaimBatch(ctx context.Context, size int) (b Batch, err error) {
	err = p.ring.ClaimBatchInto(ctx, size, (*ring.Batch)(&b))
	return
}

// TryClaimBatch is ClaimBatch that does not wait. Errors: those of [Producer.TrySend].
func (p *Producer) TryClaimBatch(size int) (b Batch, err error) {
	err = p.ring.ClaimBatchInto(context.Context(nil), size, (*ring.Batch)(&b))
	return
}

// MaxBatch returns the largest size that ClaimBatch takes.
func (p *Producer) MaxBatch() int { return p.ring.MaxBatch() }

// Append adds a message of n bytes and returns its memory, with undefined content, to be written
// before Commit. It begins at a multiple of 8. Append returns nil where the room that is left is
// too small. It panics if n is negative or more than MaxMessage, or if the batch is finished.
func (b *Batch) Append(n int) []byte { return (*ring.Batch)(b).Append(n) }

// Room returns how many bytes of the size that was claimed are left.
func (b *Batch) Room() int { return (*ring.Batch)(b).Room() }

// Commit publishes the messages, if there are any. On an SPSC ring each of them is a message like
// others; on an MPSC ring they are a batch, which is released and redelivered as a whole. Errors:
// those of [Claim.Commit].
func (b *Batch) Commit() error { return (*ring.Batch)(b).Commit() }

// Abort gives the batch up: no consumer sees any of it. Abort of a batch that is finished does
// nothing.
func (b *Batch) Abort() { (*ring.Batch)(b).Abort() }
