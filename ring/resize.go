package ring

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"

	"github.com/shmring/shmring/layout"
)

// Resizing: what is in a ring that nobody uses goes into one of another geometry, in the same
// order. Whoever consumes that gets what it would have got from the old one.
//
// A message keeps its position if the new geometry lets it: always, where slots have become
// no smaller and no fewer. What a consumer may have seen must keep it, or users who compare
// positions would take it for another message. What nobody has seen may move up. Where that does
// not do, all begins anew at the next lap, without gaps. Where what may have been seen moves, the
// new ring is another one and has another UUID.
//
// Padding and claims that were given up are not taken along. They leave gaps where messages
// keep their positions, and a slot where the fates in front of and behind them have to stay
// apart: of two fates at one position the one of the lower participant is told first.

// MisfitError tells what of a ring does not fit into another geometry.
type MisfitError struct {
	Field      string // of the geometry: "slots", "max message" or "max producers"
	What       string // takes that much
	Need, Have int
	Position   uint64 // of the record that it is about, or 0
}

func (e *MisfitError) Error() string {
	return fmt.Sprintf("shmring: %s %d does not do: %s takes %d", e.Field, e.Have, e.What, e.Need)
}

// Move is where all that is in a ring goes. The zero value is of no use, see PlanMove.
type Move struct {
	from segment
	to   segment
	cfg  layout.Config
	read uint64 // ReadPos of the old ring; positions are counted from there in what follows
	used uint64 // positions of the old ring that records take, up to the end
	seen uint64 // records before that may have been seen
	stay bool   // records keep their positions if they can

	start  uint64      // ReadPos of the new ring; places are counted from there
	end    uint64      // place behind the last record
	need   uint64      // positions that must be there, without gaps
	mark   uint64      // place behind the last record that may have been seen
	fates  []movedFate // untold, in the order of their positions
	rename bool        // a record that may have been seen has another position
}

// movedFate is a fate that is not told, at or behind ReadPos.
type movedFate struct {
	at    *layout.StreamFate
	old   uint64
	place uint64
}

// PlanMove looks where everything that is in a ring goes in one with the geometry of cfg, of which
// Kind and Doorbell are the same. The caller has repaired the ring, and makes sure that nobody
// attaches while it uses the plan. Errors: *MisfitError, *CorruptError.
func PlanMove(v *layout.View, cfg layout.Config) (*Move, error) {
	m := &Move{cfg: cfg}
	m.from.init(v)
	m.to.init(&layout.View{Config: cfg})
	m.from.finishNote()
	m.read = v.Hot.ReadPos.Load()
	end, err := m.from.lastEnd(m.read)
	if err != nil {
		return nil, err
	}
	m.used = end - m.read
	m.seen = v.Participants[layout.ConsumerIndex].DrainPos.Load() - m.read
	if m.seen > m.from.span { // as a consumer takes it
		m.seen = 0
	}
	if err := m.collectFates(); err != nil {
		return nil, err
	}
	m.start, m.stay = m.read, true
	fits, err := m.place(nil)
	if err == nil && !fits {
		m.start, m.stay = (m.read+m.to.span-1)&^(m.to.span-1), false
		fits, err = m.place(nil)
	}
	if err == nil && !fits {
		err = &MisfitError{Field: "slots", What: "what is in the ring", Need: m.to.inSlots(m.need + m.to.behind()),
			Have: cfg.Slots}
	}
	return m, err
}

// lastEnd is the end of the newest record of a ring that nobody uses.
func (s *segment) lastEnd(read uint64) (end uint64, err error) {
	if !s.mpsc {
		return s.walk(read, s.load)
	}
	if end, err = s.finished(read); err != nil {
		return 0, err
	}
	if tail := s.hot.Tail.Load().Pos(read); tail != end {
		return 0, &CorruptError{"end of the last record", tail, end}
	}
	return end, nil
}

// behind is what has to be free behind the newest record, and unit the smallest record.
func (s *segment) behind() uint64 {
	if s.mpsc {
		return 0
	}
	return layout.RecordHeader
}

func (s *segment) unit() uint64 { return max(1, s.behind()) }

// Renames tells whether a message that a consumer may have seen gets another position. Then the
// new ring must not have the UUID of the old one.
func (m *Move) Renames() bool { return m.rename }

// collectFates finds the fates that are not told and may be ahead of the consumer.
func (m *Move) collectFates() error {
	for i := 1; i < len(m.from.participants); i++ {
		p := &m.from.participants[i]
		told := p.Told.Load()
		for k := range p.Fates {
			at := &p.Fates[k]
			word, pos := at.Fate.Load(), at.Pos.Load()
			if int32(word.Upto()-told) <= 0 {
				continue
			}
			if i >= m.cfg.Participants {
				return &MisfitError{Field: "max producers", Need: i, Have: m.cfg.Participants - 1,
					What: "the end of a stream, which no consumer was told yet,"}
			}
			switch ahead := int64(pos - m.read); {
			case ahead > int64(m.used), ahead > 0 && uint64(ahead)%m.from.unit() != 0:
				return &CorruptError{"position of a stream's end", m.read, pos}
			case ahead >= 0:
				m.fates = append(m.fates, movedFate{at: at, old: uint64(ahead)})
			}
		}
	}
	slices.SortStableFunc(m.fates, func(a, b movedFate) int { return cmp.Compare(a.old, b.old) })
	return nil
}

// moved is a record, and where it goes.
type moved struct {
	old, place uint64
	takes      uint64 // positions of the new ring
	length     int
	meta       uint64
	owner      uint8
}

// place walks over the old ring, finds where each record and each fate goes, and calls put, if
// there is one, with the records. It does not fit if that takes more than there is. Between two
// calls nothing changes but by a peer that lies, so everything is checked in each.
func (m *Move) place(put func(moved) error) (fits bool, err error) {
	m.end, m.need, m.mark, m.rename, fits = 0, 0, 0, false, true
	most := m.to.span - m.to.behind()
	fates := m.fates
	before := -1 // the fate that is in front of the next record, alone with others
	placeFates := func(upto uint64) {
		for ; len(fates) > 0 && fates[0].old <= upto; fates = fates[1:] {
			f := &fates[0]
			if before >= 0 && f.old != uint64(before) {
				m.end += m.to.unit()
				m.need += m.to.unit()
			}
			if m.stay {
				m.end = max(m.end, f.old)
			}
			f.place, before = m.end, int(f.old)
		}
	}
	for r, err := range m.records() {
		if err != nil {
			return false, err
		}
		placeFates(r.old)
		r.place = m.end
		if m.stay {
			r.place = max(r.place, r.old)
		}
		if left := m.to.span - (m.start+r.place)&(m.to.span-1); r.takes > left {
			r.place += left
		}
		m.end, m.need, before = r.place+r.takes, m.need+r.takes, -1
		fits = fits && m.end <= most
		if r.old < m.seen {
			m.mark = m.end
			m.rename = m.rename || m.start+r.place != m.read+r.old
		}
		if put != nil {
			if !fits {
				return false, nil
			}
			if err := put(r); err != nil {
				return false, err
			}
		}
	}
	placeFates(m.used)
	return fits && m.end <= most, nil
}

// records are those that are not discarded, or what is wrong with one, which is the last then.
func (m *Move) records() iter.Seq2[moved, error] {
	if !m.from.mpsc {
		return m.recordsSPSC
	}
	return func(yield func(moved, error) bool) {
		for pos, v := range m.from.slots.records(m.read, m.read+m.used) {
			if v.State() == layout.Discarded {
				continue
			}
			if r, err := m.record(pos, v); !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// recordsSPSC is records of an SPSC ring. A record is checked as a consumer does.
func (m *Move) recordsSPSC(yield func(moved, error) bool) {
	for pos, w := range m.from.area.records(m.read, m.from.load) {
		n := w.Length()
		_, ok := m.from.check(pos, w)
		ok = ok && pos-m.read < m.used
		if ok && w&layout.RecordSkip != 0 {
			continue
		}
		meta := layout.PackMeta(uint32(n), w.Kind(), uint8(w>>48)&layout.FlagFirst)
		r := moved{old: pos - m.read, length: int(n), meta: meta, takes: layout.NextRecord(0, n, layout.RecordAlign-1)}
		var err error
		switch {
		case !ok || n > uint64(m.from.maxMessage):
			err = &CorruptError{"word of a record", pos, uint64(w)}
		case n > uint64(m.cfg.MaxMessage):
			err = &MisfitError{"max message", "a message", r.length, m.cfg.MaxMessage, pos}
		}
		if !yield(r, err) || err != nil {
			return
		}
	}
}

// record checks a record that is not discarded as a consumer does, and whether the new ring
// takes it.
func (m *Move) record(pos uint64, v layout.Ctl) (r moved, err error) {
	meta := atomic.LoadUint64(&m.from.desc[pos&m.from.mask].Meta) // once, see peek
	length, kind, flags := layout.UnpackMeta(meta)
	r = moved{old: pos - m.read, length: int(length), meta: layout.PackMeta(length, kind, flags), owner: v.Owner()}
	k, batch := v.Slots(), flags&layout.FlagBatch != 0
	switch {
	case v.State() != layout.Committed || k == 0 || pos&m.from.mask+k > m.from.count:
		return r, &CorruptError{"control word", pos, uint64(v)}
	case !m.from.isProducer(int(r.owner)):
		return r, &CorruptError{"record owner", pos, uint64(r.owner)}
	}
	if err := m.from.checkMeta(pos, k, meta); err != nil {
		return r, err
	}
	switch {
	case int(r.owner) >= m.cfg.Participants:
		return r, &MisfitError{"max producers", "a message", int(r.owner), m.cfg.Participants - 1, pos}
	case !batch && r.length > m.cfg.MaxMessage:
		return r, &MisfitError{"max message", "a message", r.length, m.cfg.MaxMessage, pos}
	case batch && r.length > m.to.maxRecord:
		return r, &MisfitError{"slots × slot size", "a batch of messages", r.length, m.to.maxRecord, pos}
	}
	r.takes = m.to.needFor(r.length)
	if batch && m.cfg.MaxMessage < m.from.maxMessage {
		return r, m.entries(pos, r.length)
	}
	return r, nil
}

// entries looks whether the new ring takes the messages of a batch. What is wrong with the batch
// the consumer finds.
func (m *Move) entries(pos uint64, n int) error {
	for b := m.from.bytes(pos, n); len(b) >= layout.EntryHeader; {
		length, _, _ := layout.UnpackMeta(binary.NativeEndian.Uint64(b))
		if uint64(length) > uint64(m.cfg.MaxMessage) && uint64(length) <= uint64(m.from.maxMessage) {
			return &MisfitError{"max message", "a message of a batch", int(length), m.cfg.MaxMessage, pos}
		}
		b = b[min(entrySize(int(min(length, 1<<30))), len(b)):]
	}
	return nil
}

// askEvery is after how many records Into asks its context.
const askEvery = 1 << 12

// Into writes everything into a segment that was formatted with the plan's geometry and that
// nobody else can see yet. keepSet: it has the UUID of the old one, and takes over its semaphores.
// Errors: *CorruptError, if the old ring has changed since the plan was made, and that of ctx.
func (m *Move) Into(ctx context.Context, v *layout.View, keepSet bool) error {
	var to segment
	to.init(v)
	m.to = to
	planned, filled, n := m.end, uint64(0), 0
	fits, err := m.place(func(r moved) error {
		if n++; n%askEvery == 0 && ctx.Err() != nil {
			return contextError("resize", ctx)
		}
		to.fill(m.start+filled, m.start+r.place)
		pos := m.start + r.place
		to.put(pos, r, &m.from, m.read+r.old)
		filled = r.place + r.takes
		return nil
	})
	if err != nil {
		return err
	}
	if !fits || m.end != planned {
		return &CorruptError{"end of the last record", m.read, m.end}
	}
	to.fill(m.start+filled, m.start+m.end)
	m.participantsInto(&to)
	m.wordsInto(v, keepSet)
	for i := range v.Events {
		copyEvent(&v.Events[i], &m.from.events[i])
	}
	to.record(layout.EventResized, layout.ConsumerIndex, 0, m.start)
	return nil
}

// put writes a record into a ring that nobody else sees.
func (s *segment) put(pos uint64, r moved, from *segment, old uint64) {
	if !s.mpsc {
		n := uint64(r.length)
		copy(s.body(pos, n), from.body(old, n))
		s.publish(pos, layout.PackRecord(0, 0, layout.RecordAlign)|layout.Record(r.meta))
		return
	}
	copy(s.bytes(pos, r.length), from.bytes(old, r.length))
	s.setMeta(pos, r.meta)
	s.ctl(pos).Store(layout.PackCtl(s.lap(pos), r.takes, r.owner, layout.Committed))
}

// fill makes records that nobody gets of what is between two positions, of a ring that nobody
// else sees.
func (s *segment) fill(from, to uint64) {
	for !s.mpsc && from != to {
		k := min(to-from, s.size-from&s.inLap, 1<<31)
		s.publish(from, layout.PackRecord(uint32(k-layout.RecordHeader), 0, layout.RecordAlign)|layout.RecordSkip)
		from += k
	}
	for from != to {
		k := min(to-from, s.count-from&s.mask, layout.MaxSlotsPerMessage)
		s.ctl(from).Store(layout.PackCtl(s.lap(from), k, layout.ConsumerIndex+1, layout.Discarded))
		from += k
	}
}

// participantsInto copies the participants that the new ring has room for.
func (m *Move) participantsInto(to *segment) {
	places := map[*layout.StreamFate]uint64{}
	for _, f := range m.fates {
		places[f.at] = f.place
	}
	for i := range min(len(to.participants), len(m.from.participants)) {
		p, q := &m.from.participants[i], &to.participants[i]
		q.Epoch.Store(p.Epoch.Load())
		q.Role.Store(p.Role.Load())
		q.PID.Store(p.PID.Load())
		q.Started.Store(p.Started.Load())
		q.BootID.Store(p.BootID.Load())
		q.PIDNamespace.Store(p.PIDNamespace.Load())
		q.Since.Store(p.Since.Load())
		q.Told.Store(p.Told.Load())
		for k := range p.Counters {
			if k != int(layout.HighWater) { // of a ring with other slots
				q.Counters[k].Store(p.Counters[k].Load())
			}
		}
		q.Progress.Store(p.Progress.Load())
		q.Label.Store(p.Label.Load())
		for k := range p.Fates {
			at := &p.Fates[k]
			pos := at.Pos.Load() // of one before ReadPos, which is due already
			if place, ahead := places[at]; ahead {
				pos = m.start + place
			}
			if word := at.Fate.Load(); word != 0 {
				q.Fates[k].PID.Store(at.PID.Load())
				q.Fates[k].Pos.Store(pos)
				q.Fates[k].Fate.Store(word)
			}
		}
	}
	consumer := &to.participants[layout.ConsumerIndex]
	consumer.DrainPos.Store(m.start + m.mark)
	over := m.from.participants[layout.ConsumerIndex].Over.Load()
	producer, epoch := over.Newest()
	if !to.isProducer(int(producer)) {
		producer, epoch = 0, 0 // or who gets that place some day would be taken for it
	}
	consumer.Over.Store(layout.PackOver(over.Streams(), over.Ended(), producer, uint32(epoch)))
}

// wordsInto writes the words behind the header.
func (m *Move) wordsInto(v *layout.View, keepSet bool) {
	from, to := m.from.hot, v.Hot
	to.Tail.Store(0)
	to.Written.Store(0)
	if !m.from.mpsc {
		to.Written.Store(m.start + m.end + layout.RecordHeader)
	}
	if m.from.mpsc {
		to.Tail.Store(layout.PackTail(m.start+m.end, 0, 0)) // of no slots: no claim that has to be on record
	}
	to.ReadPos.Store(m.start)
	to.Waypoints.Places[0].Position = m.start
	to.Waypoints.Places[0].Messages = m.from.messagesBefore(m.read)
	to.DataBell.Store(from.DataBell.Load() &^ layout.BellSleeping)
	to.SpaceBell.Store(from.SpaceBell.Load() &^ layout.BellSleeping)
	to.News.Store(from.News.Load())
	to.Events.Store(from.Events.Load())
	for i := range to.Queueing {
		to.Queueing[i].Store(from.Queueing[i].Load())
	}
	if keepSet {
		to.Semaphores.Set.Store(from.Semaphores.Set.Load())
		to.Semaphores.Key.Store(from.Semaphores.Key.Load())
		to.Semaphores.Namespace.Store(from.Semaphores.Namespace.Load())
	}
}

// copyEvent copies an event of a ring that nobody uses.
func copyEvent(to, from *layout.Event) {
	to.Time.Store(from.Time.Load())
	to.What.Store(from.What.Load())
	to.Pos.Store(from.Pos.Load())
	to.PID.Store(from.PID.Load())
	to.By.Store(from.By.Load())
	to.Seq.Store(from.Seq.Load())
}
