package ring

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// batchBytes is the size to which small messages are packed into one record. Larger
// batches save nothing more and make the first message wait for the last.
const batchBytes = 32 << 10

// entrySize is what a message of n bytes takes in a batch.
func entrySize(n int) int {
	return layout.EntryHeader + (n+layout.EntryAlign-1)&^(layout.EntryAlign-1)
}

// TrySendBatch sends copies of msgs in order, as many as there is room for, and
// returns how many that were. Messages are packed into as few records as possible:
// one descriptor for many messages is what makes small messages cheap. Each record
// is published, skipped, released and redelivered as a whole. Errors, with n < len(msgs):
// ErrFull and those of TrySend; the first message that is too large stops the batch.
func (p *Producer) TrySendBatch(msgs [][]byte) (n int, err error) {
	for n < len(msgs) {
		m, err := p.trySendRecord(msgs[n:])
		if err != nil {
			return n, err
		}
		n += m
	}
	return n, nil
}

// SendBatch sends copies of all msgs in order and waits for room when the ring is
// full. n is how many were sent, all of them unless err is not nil or Config.WhenFull says
// to drop the rest. Errors: those of Send.
func (p *Producer) SendBatch(ctx context.Context, msgs [][]byte) (n int, err error) {
	var a attempt
	for {
		m, err := p.TrySendBatch(msgs[n:])
		if n += m; m > 0 {
			p.endTurn(&a)
			a.begun = time.Time{}
		}
		if err == nil {
			return n, nil
		}
		if err = p.again(ctx, err, "send", len(msgs[n]), &a); err != nil {
			p.endTurn(&a)
			if err == errDropped {
				p.Drop(len(msgs) - n)
				err = nil
			}
			return n, err
		}
	}
}

// trySendRecord sends the longest prefix of msgs that fits into one record, and a
// shorter one where the ring has no room for that. msgs is not empty.
func (p *Producer) trySendRecord(msgs [][]byte) (int, error) {
	limit := min(p.maxRec, max(batchBytes, p.oneSlot), max(p.oneSlot, int(p.slots/4*p.slotSize)))
	count, size := 0, 0
	for count < len(msgs) && len(msgs[count]) <= p.maxMsg && size+entrySize(len(msgs[count])) <= limit {
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
	if err := p.trySend(msgs[0], 0, 0); err != nil {
		return 0, err
	}
	return 1, nil
}

// tryBatch sends msgs as one record, of size bytes.
func (p *Producer) tryBatch(msgs [][]byte, size int) error {
	if err := p.refuse(0, 0); err != nil {
		return err
	}
	if p.shared {
		k := p.slotsFor(size)
		pos, err := p.claimShared(k)
		if err != nil {
			return err
		}
		p.fillBatch(pos, size, msgs)
		return p.finish(pos, k, layout.Committed)
	}
	if !p.enter() {
		return p.why()
	}
	defer p.leave()
	k, err := p.roomOwn(size)
	if err != nil {
		return err
	}
	p.fillBatch(p.pos, size, msgs)
	p.publishOwn(k)
	return nil
}

// fillBatch is fill for a record of entries.
func (p *Producer) fillBatch(pos uint64, size int, msgs [][]byte) {
	b := p.bytes(pos, size)
	for _, m := range msgs {
		binary.NativeEndian.PutUint64(b, layout.PackMeta(uint32(len(m)), 0, 0))
		copy(b[layout.EntryHeader:], m)
		killpoint.At(killpoint.EntryWritten)
		b = b[entrySize(len(m)):]
	}
	p.label(pos, layout.PackMeta(uint32(size), 0, layout.FlagBatch))
}
