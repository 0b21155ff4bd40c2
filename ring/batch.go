package ring

import (
	"context"
	"runtime/debug"
	"time"

	"github.com/shmring/shmring/layout"
)

// batchBytes is the size to which small messages are packed into one record. Larger
// batches save nothing more and make the first message wait for the last.
const batchBytes = 32 << 10

// TrySendBatch sends copies of msgs in order, as many as there is room for, and
// returns how many that were. On an SPSC ring each is a message like any other, and those of a
// few KiB are published together. On an MPSC ring messages are packed into as few records as
// possible: one claim for many messages is what makes small messages cheap. Each record
// is published, skipped, released and redelivered as a whole. Errors, with n < len(msgs):
// ErrFull and those of TrySend; the first message that is too large stops the batch.
func (p *Producer) TrySendBatch(msgs [][]byte) (n int, err error) {
	for tries := 0; ; tries++ {
		m, err := p.trySendBatch(msgs[n:])
		if m > 0 {
			tries = 0
		}
		if n += m; err != errLook || tries == lookTries {
			if err == errBehind {
				return p.trySendBatchBehind(msgs)
			}
			return n, p.looked(err)
		}
	}
}

// trySendBatchBehind is TrySendBatch of a front. After a fault it is not known how many were sent.
func (p *Producer) trySendBatchBehind(msgs [][]byte) (n int, err error) {
	defer p.behind.caught(&err, debug.SetPanicOnFault(true))
	if p.measure.isDue(len(msgs)) {
		return p.behind.sendBatchStamped(context.Context(nil), msgs)
	}
	return p.behind.TrySendBatch(msgs)
}

// sendBatchBehind is SendBatch of a front.
func (p *Producer) sendBatchBehind(ctx context.Context, msgs [][]byte) (n int, err error) {
	defer p.behind.caught(&err, debug.SetPanicOnFault(true))
	if p.measure.isDue(len(msgs)) {
		return p.behind.sendBatchStamped(ctx, msgs)
	}
	return p.behind.SendBatch(ctx, msgs)
}

// sendBatchStamped is SendBatch, and without a ctx TrySendBatch, of a batch whose last message is
// measured: that one is a record of its own.
func (p *Producer) sendBatchStamped(ctx context.Context, msgs [][]byte) (n int, err error) {
	last := len(msgs) - 1
	if last > 0 {
		if ctx == nil {
			n, err = p.TrySendBatch(msgs[:last])
		} else {
			n, err = p.SendBatch(ctx, msgs[:last])
		}
	}
	if err == nil && n == last {
		err = p.trySendStamped(ctx, msgs[last], 0)
	} else if err == nil {
		err = errDropped // what goes before it was
	}
	switch err {
	case nil:
		return len(msgs), nil
	case errDropped:
		p.Drop(1)
		return n, nil
	}
	return n, err
}

func (p *Producer) trySendBatch(msgs [][]byte) (n int, err error) {
	if !p.mpsc {
		return p.trySendEach(msgs)
	}
	for n < len(msgs) {
		m, err := p.trySendRecord(msgs[n:])
		if err != nil {
			return n, err
		}
		n += m
	}
	return n, nil
}

// trySendEach is trySendBatch on an SPSC ring. What cannot go the short way goes alone.
func (p *Producer) trySendEach(msgs [][]byte) (n int, err error) {
	for n < len(msgs) {
		if n += p.batchSPSC(msgs[n:]); n == len(msgs) {
			break
		}
		if err := p.sendRecord(msgs[n], layout.PackMeta(uint32(len(msgs[n])), 0, 0), false); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// SendBatch sends copies of all msgs in order and waits for room when the ring is
// full. n is how many were sent, all of them unless err is not nil or Config.WhenFull says
// to drop the rest. Errors: those of Send.
func (p *Producer) SendBatch(ctx context.Context, msgs [][]byte) (n int, err error) {
	if n, err = p.trySendBatch(msgs); err == nil {
		return n, nil
	}
	m, err := p.sendBatchAfter(ctx, err, msgs[n:])
	return n + m, err
}

// sendBatchAfter is SendBatch after a refusal; see sendAfter.
func (p *Producer) sendBatchAfter(ctx context.Context, err error, msgs [][]byte) (n int, _ error) {
	if err == errBehind {
		return p.sendBatchBehind(ctx, msgs)
	}
	a := attempt{op: "send"}
	for err != nil {
		if err = p.awaitRetry(ctx, err, len(msgs[n]), &a); err != nil {
			break
		}
		var m int
		m, err = p.trySendBatch(msgs[n:])
		if n += m; m > 0 {
			p.endPriority(&a)
			a.begun, a.humbled, a.held = time.Time{}, 0, time.Time{}
		}
	}
	p.endPriority(&a)
	if err == errDropped {
		p.Drop(len(msgs) - n)
		return n, nil
	}
	return n, err
}

// trySendRecord sends the longest prefix of msgs that fits into one record, and a
// shorter one where the ring has no room for that. msgs is not empty.
func (p *Producer) trySendRecord(msgs [][]byte) (int, error) {
	limit := min(p.maxRecord, max(batchBytes, p.oneSlot), max(p.oneSlot, int(p.slots.count/4*p.slotSize)))
	count, size := 0, 0
	for count < len(msgs) && len(msgs[count]) <= p.maxMessage && size+entrySize(len(msgs[count])) <= limit {
		size += entrySize(len(msgs[count]))
		count++
	}
	for count > 1 {
		switch err := p.tryBatch(msgs[:count], size); err {
		case nil:
			return count, nil
		case ErrFull:
		default:
			return 0, err
		}
		for half := count / 2; count > half; count-- {
			size -= entrySize(len(msgs[count-1]))
		}
	}
	if err := p.sendRecord(msgs[0], layout.PackMeta(uint32(len(msgs[0])), 0, 0), false); err != nil {
		return 0, err
	}
	return 1, nil
}

// tryBatch sends msgs as one record, of size bytes.
func (p *Producer) tryBatch(msgs [][]byte, size int) error {
	pos, k, err := p.reserve(size, 0)
	if err != nil {
		return err
	}
	putEntries(p.bytes(pos, size), msgs)
	return p.commit(pos, k, layout.PackMeta(uint32(size), 0, layout.FlagBatch))
}
