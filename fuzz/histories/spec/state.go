package spec

// phase is how far a record is.
type phase uint8

const (
	none phase = iota
	claimed
	committed
	discarded
	revoked // discarded by ForceSkip, and its owner may still write there: ReadPos does not pass it
	orphan  // claimed, and its owner has closed its handle: like a claim of the dead
)

// record is what begins at a slot.
type record struct {
	phase phase
	slots uint8
	owner uint8 // client
	id    uint8 // 0: padding; of a batch the first
	n     uint8 // messages in it, if it is a batch
}

// state is a ring and the consumer that has it. Positions count slots, as the library's do, or on
// an SPSC ring, where the library counts bytes, pieces of 8 bytes, which are called slots here.
type state struct {
	tail uint16 // behind the newest claim; SPSC: behind the newest record
	read uint16 // ReadPos: slots before it may be used again
	mark uint16 // the redelivery mark

	consumer
	records [MaxSlots]record // by slot; none outside read to tail
	stopped uint8            // clients whose last call does nothing more, though they are not dead yet; bits
	dead    uint8
	failed  uint8 // clients whose handle knows that it has lost a claim
	early   uint8 // clients whose Send has claimed without a turn
	turns   uint8 // clients that may have a priority claim: the others hold back for it
	batches [MaxClients]progress
}

// progress is how far a TrySendBatch is.
type progress struct {
	done uint8 // messages that were sent
	try  uint8 // so many are tried in one record; 0: as many as may be; refused: not even one had room
}

const refused = 255

// consumer is what a consumer keeps to itself. Its successor begins at ReadPos.
type consumer struct {
	pos             uint16 // the next record
	acked           uint16 // what ReadPos may become
	implicit        uint16 // what coming back acknowledges
	looked          uint16 // acked, when chores were done last
	before          uint16 // what lies before it a former consumer may have seen
	loans, returned uint8  // handed out by TryNext; the newest of them that was released
	said            bool   // the last call told of a stream: the next one begins with a release
	due             bool   // this call has done chores: its context may end it there
	index           uint8  // of the next message in the batch that is next
	dropped         uint8  // records that were passed over as seen
}

// piece is how many bytes of an SPSC ring are called a slot here.
const piece = 8

func (g *Geometry) slots() uint16 {
	if g.InLine {
		return uint16(g.Slots * g.SlotSize / piece)
	}
	return uint16(g.Slots)
}

func (g *Geometry) at(s *state, pos uint16) *record { return &s.records[pos%g.slots()] }

// placeOf is a position of the library's.
func (g *Geometry) placeOf(pos uint64) uint64 {
	if g.InLine {
		return pos / piece
	}
	return pos
}

// slotsFor is how many slots a message takes.
func (g *Geometry) slotsFor(size int) uint16 {
	if g.InLine {
		return uint16(1 + (size+piece-1)/piece)
	}
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
// tail is taken: unreleased, claimed and aborted alike. On an SPSC ring a word is kept free behind it.
func (g *Geometry) hasRoom(s *state, need uint16) bool {
	if g.InLine {
		need++
	}
	return s.tail+need-s.read <= g.slots()
}

// add puts a record behind the newest.
func (g *Geometry) add(s *state, r record) {
	*g.at(s, s.tail) = r
	s.tail += uint16(r.slots)
}

// find finds the record in some phase that a client has claimed for a message, or as padding.
func (g *Geometry) find(s *state, owner, id uint8, in phase) *record {
	for pos := s.read; pos != s.tail; pos += uint16(g.at(s, pos).slots) {
		if r := g.at(s, pos); r.phase == in && r.owner == owner && r.id == id {
			return r
		}
	}
	return nil
}

// change gives all records of a client that are in one phase another.
func (g *Geometry) change(s *state, owner uint8, from, to phase) (found bool) {
	for i := range s.records {
		if r := &s.records[i]; r.phase == from && r.owner == owner {
			r.phase, found = to, true
		}
	}
	return found
}

// beginsAt is the record that begins at a position, or nil.
func (g *Geometry) beginsAt(s *state, pos uint64) *record {
	if pos < uint64(s.read) || pos >= uint64(s.tail) || g.at(s, uint16(pos)).phase == none {
		return nil
	}
	return g.at(s, uint16(pos))
}

// gathered is how many slots a consumer acknowledges before it stores ReadPos.
func (g *Geometry) gathered() uint16 {
	if g.InLine {
		return min(4096/piece, g.slots()/8)
	}
	return max(1, min(64, g.slots()/8))
}

// flush stores ReadPos, up to a revoked claim at most.
func (g *Geometry) flush(s *state) {
	for s.read != s.acked {
		r := g.at(s, s.read)
		if r.phase == revoked {
			return
		}
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
	if s.due = s.acked-s.looked >= g.gathered(); s.due {
		s.looked = s.acked
		g.flush(s)
	}
	if s.said {
		s.said = false
		g.flush(s)
	}
}

// next walks over discarded records to the next message, and over what a former consumer may
// have seen if this one delivers at most once. nil: an unfinished claim is there, or nothing.
func (g *Geometry) next(s *state, once bool) *record {
	for {
		if r, passed := g.pass(s, once); !passed {
			return r
		}
	}
}

// pass is a step of next: it passes a record, or finds the message.
func (g *Geometry) pass(s *state, once bool) (r *record, passed bool) {
	if s.pos == s.tail {
		return nil, false
	}
	switch r = g.at(s, s.pos); r.phase {
	case claimed, orphan:
		return nil, false
	case committed:
		if !once || !s.isMarked() {
			return r, false
		}
		s.dropped++
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
	return nil, true
}

// isMarked tells whether the next message was possibly seen by a former consumer.
func (s *state) isMarked() bool { return s.pos < s.before }

// take hands out the next message, in r. The mark is stored before. It runs ahead, unless
// the consumer delivers at most once: then its successor passes over all that lies before it.
func (g *Geometry) take(s *state, r *record, once bool) {
	end := s.pos + uint16(r.slots)
	switch {
	case end <= s.mark:
	case once:
		s.mark = end
	default:
		s.mark = max(end, min(end+g.gathered(), s.read+g.slots()))
	}
	if s.index++; s.index >= r.n {
		s.index, s.pos = 0, end
	}
}

// handled is what TryDrain does after its handler. Within a batch it does that only at its end,
// or when it has as many messages as it wants (last).
func (g *Geometry) handled(s *state, last bool) {
	if s.index > 0 && !last {
		return
	}
	s.implicit = s.pos
	if !s.outstanding() {
		s.ack(s.pos)
	}
	g.flushIfDue(s)
	if s.index > 0 {
		s.looked = s.acked - g.gathered() // the next call does chores
	}
}

// release is that of the message m, which the TryNext number loan returned. A message of a
// batch is released with the last one.
func (g *Geometry) release(s *state, loan uint8, m *Got) {
	if loan <= s.returned {
		return
	}
	end := uint16(g.placeOf(m.Position))
	if r := g.at(s, end); m.Index+1 >= r.n { // not released, so still there
		end += uint16(r.slots)
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

// giveBack is the first half of a Close: it is as good as coming back.
func (g *Geometry) giveBack(s *state) {
	if !s.outstanding() {
		s.ack(s.implicit)
	}
	g.flush(s)
}

// remark is the other half: the mark is where it has to be, and not ahead. What a former
// consumer may have seen it may have seen after this one too.
func (g *Geometry) remark(s *state) {
	end := s.pos
	if s.index > 0 {
		end += uint16(g.at(s, s.pos).slots)
	}
	s.mark = max(end, s.before)
}

// reap notes the deaths of all who have died: what they lost to ForceSkip may be released.
func (g *Geometry) reap(s *state) {
	for i := range uint8(MaxClients) {
		if s.dead>>i&1 != 0 {
			g.change(s, i, revoked, discarded)
		}
	}
}

// isGone tells whether r is an unfinished claim of somebody who will not finish it.
func (s *state) isGone(r *record) bool {
	return r.phase == orphan || r.phase == claimed && s.dead>>r.owner&1 != 0
}

// skipGone discards the claim that is next, if nobody will finish it.
func (g *Geometry) skipGone(s *state) {
	if r := g.at(s, s.pos); s.pos != s.tail && s.isGone(r) {
		r.phase = discarded
	}
}
