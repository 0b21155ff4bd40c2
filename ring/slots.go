package ring

import (
	"iter"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// slots is the geometry of an MPSC ring: where a position's descriptor, bytes and lap are. It
// and its two users, the producers' reserve and publish and the consumer's reader, are all
// that knows slots and laps. See area.go for its twin. Of an SPSC ring count and the longest
// message are what was asked for, and the rest is empty. Its fields are private copies that decide where an access
// goes; none is read from the segment again.
type slots struct {
	desc        []layout.Descriptor
	payload     []byte
	descBase    *layout.Descriptor
	payloadBase *byte
	// payloadOffset is how far the one lies behind the other.
	payloadOffset uint64
	mask          uint64 // count − 1
	count         uint64
	slotSize      uint64
	shift         uint // log2 of count
	oneSlot       int  // longest record of one slot, in bytes
	maxMessage    int
	maxRecord     int // longest record in bytes: a message or a batch
}

func (s *slots) init(v *layout.View) {
	g := v.Config
	s.desc, s.payload = v.Descriptors, v.Payload
	s.setBases()
	s.count = uint64(g.Slots)
	s.mask = s.count - 1
	s.slotSize = uint64(g.SlotSize)
	s.shift = g.Shift()
	s.oneSlot = max(layout.InlineSize, g.SlotSize)
	s.maxMessage = g.MaxMessage
	s.maxRecord = g.Capacity()
}

// needFor is how many slots a record of n bytes takes; n ≤ maxRecord.
func (s *slots) needFor(n int) uint64 {
	if n <= s.oneSlot {
		return 1
	}
	return (uint64(n) + s.slotSize - 1) / s.slotSize
}

// checkMeta looks whether the record of k slots at pos may have this Meta, which was loaded once. The
// consumer has it written out, in peekMPSC and checkFlags, because each message passes there.
func (s *slots) checkMeta(pos, k, meta uint64) error {
	length, _, flags := layout.UnpackMeta(meta)
	n, batch := uint64(length), flags&layout.FlagBatch != 0
	switch {
	case n > uint64(s.oneSlot) && n > k*s.slotSize, n > uint64(s.maxMessage) && !batch:
		return &CorruptError{"record length", pos, n}
	case flags&^layout.KnownFlags != 0:
		return &CorruptError{"record flags", pos, uint64(flags)}
	case batch && (n == 0 || n > layout.MaxBatch):
		return &CorruptError{"batch length", pos, n}
	}
	return nil
}

// fit is what one record of k slots at pos claims: k, or what is left of the lap, which
// then has to be padded first.
func (s *slots) fit(pos, k uint64) (need uint64, pad bool) {
	if left := s.count - pos&s.mask; k > left {
		return left, true
	}
	return k, false
}

// bytes is where the n bytes of the record at pos lie. n fits into its slots.
func (s *slots) bytes(pos uint64, n int) []byte {
	i := pos & s.mask
	if n <= layout.InlineSize {
		return s.desc[i].Inline[:n:n]
	}
	at := i * s.slotSize
	return s.payload[at : at+uint64(n) : at+uint64(n)]
}

func (s *slots) lap(pos uint64) uint64 { return layout.LapOf(pos, s.shift) }

func (s *slots) ctl(pos uint64) *layout.Word[layout.Ctl] { return &s.desc[pos&s.mask].Ctl }

func (s *slots) setMeta(pos, meta uint64) {
	s.desc[pos&s.mask].Meta = meta
	killpoint.At(killpoint.MetaWritten)
}

// renew rewrites the descriptors inside a claim of several slots (k > 1), once in 2^32 laps.
// Otherwise one that is never the first of a record could keep its word until the lap
// counter comes around to it.
func (s *slots) renew(pos, k uint64, owner uint8) {
	lap := s.lap(pos)
	if lap&(1<<layout.RenewBits-1) != 0 {
		return
	}
	for i := uint64(1); i < k; i++ {
		s.ctl(pos + i).Store(layout.PackCtl(lap, 0, owner, layout.None))
		killpoint.At(killpoint.InnerRenewed)
	}
}

// records walks over the recorded claims and records from one position to another, or to
// the first that is not recorded. It yields each once with its control word, and stops
// behind one whose length leads past the end.
func (s *slots) records(from, end uint64) iter.Seq2[uint64, layout.Ctl] {
	return func(yield func(uint64, layout.Ctl) bool) {
		for pos := from; pos != end; {
			v := s.ctl(pos).Load()
			if !v.IsRecorded(s.lap(pos)) || !yield(pos, v) {
				return
			}
			k := v.Slots()
			if k == 0 || k > end-pos {
				return
			}
			pos += k
		}
	}
}

// finished follows finished records from a position to the first that is not one. The
// error tells of a record that no correct producer writes.
func (s *slots) finished(from uint64) (end uint64, err error) {
	end = from
	for pos, v := range s.records(from, from+s.count) {
		if v.State() < layout.Committed {
			break
		}
		k := v.Slots()
		if k == 0 || pos&s.mask+k > s.count || pos-from+k > s.count {
			return end, &CorruptError{"record length in slots", pos, k}
		}
		end = pos + k
	}
	return end, nil
}

// isBegin tells whether a record begins at pos, seen from one at an earlier position.
func (s *slots) isBegin(pos, from uint64) bool {
	next := from
	for at, v := range s.records(from, pos) {
		if k := v.Slots(); k == 0 || k > pos-at {
			return false
		}
		next = at + v.Slots()
	}
	return next == pos
}
