package ring

import (
	"sync/atomic"

	"github.com/shmring/shmring/layout"
)

// Measuring how long messages are in the queue, of one in so many: the producer stamps it right before it
// is committed, and the consumer, when it hands it out, looks how long ago that was. Of a batch it is
// the last message. Not more than one message is on its way with a stamp: who finds one there measures
// another time. Whoever does not measure takes no notice and pays nothing: those who do are fronts
// (guard.go), whose calls go the way of those that are guarded.

// measure is in fronts that measure.
type measure struct {
	every uint64
	sent  atomic.Uint64 // messages
}

// isDue tells whether one of the next n messages is to be measured.
func (m *measure) isDue(n int) bool {
	return m != nil && n > 0 && m.sent.Add(uint64(n))%m.every < uint64(n)
}

// endOf is the position behind a record that was reserved, of a message of n bytes; see reserve.
func (p *Producer) endOf(pos, k uint64, n int) uint64 {
	if p.mpsc {
		return pos + k&^firstRecord
	}
	return layout.NextRecord(pos, uint64(n), p.align)
}

// inStamp is a position, or a distance, as a stamp has it: in slots, or on an SPSC ring in words.
func (s *segment) inStamp(pos uint64) uint64 {
	if s.mpsc {
		return pos
	}
	return pos / layout.RecordAlign
}

// stamp says that the record that ends at a position is sent now, unless another one has a stamp.
func (h *handle) stamp(end uint64) {
	if word := &h.hot.Stamp; word.Load() == 0 {
		word.CompareAndSwap(0, layout.PackStamp(h.inStamp(end), h.cfg.Now()))
	}
}

// unstamp takes back the stamp of a record that was never published, by one that was killed in between: on
// an SPSC ring another record may come to end there. On an MPSC ring it is passed over, and the stamp with it.
func (p *Producer) unstamp() {
	word := &p.hot.Stamp
	if s := word.Load(); s != 0 && s.Behind(p.inStamp(p.pos)) < 0 {
		word.CompareAndSwap(s, 0)
	}
}

// measured looks whether a message that is handed out, or was right now, has a stamp.
func (h *handle) measured(end uint64) {
	word := &h.hot.Stamp
	s := word.Load()
	if s == 0 {
		return
	}
	behind := s.Behind(h.inStamp(end))
	if s.Present() && behind < 0 && behind >= -int(h.inStamp(h.span)) {
		return // it comes later
	}
	if behind == 0 && s.Present() {
		age := s.Age(h.cfg.Now())
		place := 0
		for place < len(layout.QueueingBounds) && age > layout.QueueingBounds[place] {
			place++
		}
		h.hot.Queueing[place].Add(1)
		h.count(layout.QueueTime, age)
	}
	word.CompareAndSwap(s, 0)
}
