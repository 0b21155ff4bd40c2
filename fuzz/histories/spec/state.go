package spec

// phase is how far a record is.
type phase uint8

const (
	none phase = iota
	claimed
	committed
	discarded
)

// record is what begins at a slot.
type record struct {
	phase phase
	slots uint8
	owner uint8 // client
	id    uint8 // 0: padding
}

// state is a ring and the consumer that has it. Positions count slots, as the library's do.
type state struct {
	tail uint16 // behind the newest claim; SPSC: behind the newest record
	read uint16 // ReadPos: slots before it may be used again
	mark uint16 // the redelivery mark

	consumer
	records [MaxSlots]record // by slot; none outside read to tail
	stopped uint8            // clients whose last call does nothing more, though they are not dead yet; bits
	dead    uint8
}

// consumer is what a consumer keeps to itself. Its successor begins at ReadPos.
type consumer struct {
	pos             uint16 // the next record
	acked           uint16 // what ReadPos may become
	implicit        uint16 // what coming back acknowledges
	looked          uint16 // acked, when chores were done last
	before          uint16 // what lies before it a former consumer may have seen
	loans, returned uint8  // handed out by TryNext; the newest of them that was released
	said            bool   // the last call told of a stream: the next one begins with a release
}

func (g *Geometry) slots() uint16 { return uint16(g.Slots) }

func (g *Geometry) at(s *state, pos uint16) *record { return &s.records[int(pos)%g.Slots] }

// slotsFor is how many slots a message takes.
func (g *Geometry) slotsFor(size int) uint16 {
	if size <= max(inline, g.SlotSize) {
		return 1
	}
	return uint16((size + g.SlotSize - 1) / g.SlotSize)
}

// inline is what fits into a descriptor, in bytes.
const inline = 48

// fit is what a record of k slots has to claim first: itself, or the rest of the lap as
// padding, because a record does not go around the end.
func (g *Geometry) fit(s *state, k uint16) (need uint16, pad bool) {
	if left := g.slots() - s.tail%g.slots(); k > left {
		return left, true
	}
	return k, false
}

// hasRoom tells whether so many slots are free behind tail. Everything from ReadPos to
// tail is taken: unreleased, claimed and aborted alike.
func (g *Geometry) hasRoom(s *state, need uint16) bool { return s.tail+need-s.read <= g.slots() }

// add puts a record behind the newest.
func (g *Geometry) add(s *state, r record) {
	*g.at(s, s.tail) = r
	s.tail += uint16(r.slots)
}

// claimOf finds the unfinished claim that a client has for a message, or its padding.
func (g *Geometry) claimOf(s *state, owner, id uint8) *record {
	for pos := s.read; pos != s.tail; pos += uint16(g.at(s, pos).slots) {
		if r := g.at(s, pos); r.phase == claimed && r.owner == owner && r.id == id {
			return r
		}
	}
	return nil
}

// gathered is how many slots a consumer acknowledges before it stores ReadPos.
func (g *Geometry) gathered() uint16 { return uint16(max(1, min(64, g.Slots/8))) }

// flush stores ReadPos.
func (g *Geometry) flush(s *state) {
	for s.read != s.acked {
		r := g.at(s, s.read)
		s.read += uint16(r.slots)
		*r = record{}
	}
}

// flushIfDue is flush if enough is gathered.
func (g *Geometry) flushIfDue(s *state) {
	if s.acked-s.read >= g.gathered() {
		g.flush(s)
	}
}

func (s *state) outstanding() bool { return s.returned < s.loans }

func (s *state) ack(end uint16) { s.acked = max(s.acked, end) }

// comeBack is what a receiving call does first: what the last one handed out is handled.
func (g *Geometry) comeBack(s *state) {
	if !s.outstanding() {
		s.ack(s.implicit)
	}
	if s.acked-s.looked >= g.gathered() {
		s.looked = s.acked
		g.flush(s)
	}
	if s.said {
		s.said = false
		g.flush(s)
	}
}

// next walks over discarded records to the next message. nil: an unfinished claim is there,
// or nothing.
func (g *Geometry) next(s *state) *record {
	for s.pos != s.tail {
		r := g.at(s, s.pos)
		switch r.phase {
		case committed:
			return r
		case claimed:
			return nil
		}
		k := uint16(r.slots)
		switch s.pos {
		case s.acked:
			s.acked += k
			s.implicit = s.acked
		case s.implicit:
			s.implicit += k
		}
		s.pos += k
	}
	return nil
}

// isMarked tells whether the next message was possibly seen by a former consumer.
func (s *state) isMarked() bool { return s.pos < s.before }

// take hands out the next message, r. The mark is stored before, and runs ahead.
func (g *Geometry) take(s *state, r *record) {
	end := s.pos + uint16(r.slots)
	if end > s.mark {
		s.mark = max(end, min(end+g.gathered(), s.read+g.slots()))
	}
	s.pos = end
}

// handled is what TryDrain does after its handler.
func (g *Geometry) handled(s *state) {
	s.implicit = s.pos
	if !s.outstanding() {
		s.ack(s.pos)
	}
	g.flushIfDue(s)
}

// release is that of the message that the TryNext number loan returned, and that ends at end.
func (g *Geometry) release(s *state, loan uint8, end uint16) {
	if loan <= s.returned {
		return
	}
	s.returned = loan
	if s.implicit < end {
		if !s.outstanding() {
			end = s.pos
		}
		s.implicit = end
	}
	s.ack(end)
	g.flushIfDue(s)
}

// takeOver is the attaching of a new consumer.
func (g *Geometry) takeOver(s *state) {
	if s.mark < s.read || s.mark-s.read > g.slots() {
		s.mark = s.read
	}
	p := s.read
	s.consumer = consumer{pos: p, acked: p, implicit: p, looked: p, before: s.mark}
}
