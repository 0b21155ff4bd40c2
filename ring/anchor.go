package ring

import (
	"sync/atomic"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// What an observer goes by: whether what it has copied was whole, and where it knows the number of the
// next message.

// isWhole tells whether nothing of a record that was at pos had been overwritten by now, and
// with it nothing of those behind it. Who writes where pos lies, or was going to, has said so
// before: in Written (W), or in Tail. And nobody does before ReadPos has passed pos.
func (s *segment) isWhole(pos uint64) bool {
	if !s.mpsc {
		return int64(s.hot.Written.Load()-pos-s.size) <= 0
	}
	read := s.hot.ReadPos.Load() // before Tail
	return int64(read-pos) <= 0 || int64(s.hot.Tail.Load().Pos(read)-pos-s.count) <= 0
}

// sayWritten says that what is before end may be overwritten from now on (W).
func (s *segment) sayWritten(end uint64) {
	s.hot.Written.Store(end)
	// Where a store is no barrier, what follows could be seen before it. A load that acquires comes behind a
	// store that releases, and before all that follows.
	s.hot.Written.Load()
	killpoint.At(killpoint.WrittenStored)
}

// writtenTo is the position up to which somebody may have written. The error tells of one that no correct
// peer can have brought about: it would have us overtaken for ever.
func (s *segment) writtenTo() (uint64, error) {
	name, to := "Written", s.hot.Written.Load()
	if s.mpsc {
		read := s.hot.ReadPos.Load() // before Tail
		name, to = "Tail", s.hot.Tail.Load().Pos(read)
	}
	if read := s.hot.ReadPos.Load(); int64(to-read-s.span) > 0 {
		return 0, &CorruptError{name, read, to}
	}
	return to, nil
}

// anchorAt is the place at a waypoint of a broadcast ring.
func anchorAt(w layout.Waypoint) place {
	return place{pos: w.Position, messages: w.Messages, numbered: true, passTo: w.Position}
}

// oldestAnchor is the place of the oldest message that is to be had of a broadcast ring, slack bytes before what is
// overwritten next. The error tells of waypoints that no correct producer leaves.
func (s *segment) oldestAnchor(slack uint64) (place, error) {
	oldest, ok := s.oldestKept(slack)
	if !ok {
		return place{}, &CorruptError{"waypoint", s.hot.ReadPos.Load(), 0}
	}
	return anchorAt(oldest), nil
}

// anchorBehind is anchor for who knows of a position before that. Of a broadcast ring more waypoints are kept, of
// which the first from there on is the nearest.
func (s *segment) anchorBehind(pos uint64) (p place, read uint64, err error) {
	p, read, err = s.anchor()
	if err != nil || !s.broadcast {
		return p, read, err
	}
	newest := layout.Waypoint{Position: p.pos, Messages: p.messages}
	p = anchorAt(s.pickKept(newest, 0, func(w, best layout.Waypoint) bool {
		return int64(w.Position-pos) >= 0 && int64(w.Position-best.Position) < 0
	}))
	return p, read, nil
}

// anchor is the place at the newest waypoint, or, where a consumer leaves none, at ReadPos. read is a
// ReadPos that is not behind it.
func (s *segment) anchor() (p place, read uint64, err error) {
	read = s.hot.ReadPos.Load()
	pos, messages, ok := s.waypoint() // after ReadPos: the consumer stores it before
	now := s.hot.ReadPos.Load()
	switch {
	case !ok:
		return p, read, &CorruptError{"waypoint", read, 0}
	case int64(pos-read) < 0:
		pos, messages, ok = read, 0, false
	case int64(pos-now-s.span) > 0:
		return p, read, &CorruptError{"position of a waypoint", now, pos}
	}
	if !s.mpsc && (read|pos)%layout.RecordAlign != 0 {
		return p, read, &CorruptError{"ReadPos", read, pos}
	}
	return place{pos: pos, messages: messages, numbered: ok, passTo: pos}, read, nil
}

// part is how many bytes the parts of the area have of which a waypoint is kept, and partBehind where
// the next of them begins.
func (a *area) part() uint64 { return a.size / layout.Waymarks }

func (a *area) partBehind(pos uint64) uint64 { return (pos/a.part() + 1) * a.part() }

// storeKept writes a waypoint to be kept, over that of an older lap. Check is stored twice: of two plain
// stores the compiler would leave the first out.
func storeKept(at *layout.Kept, w layout.Waypoint) {
	atomic.StoreUint64(&at.Check, 0)
	killpoint.At(killpoint.WaypointStored)
	atomic.StoreUint64(&at.Position, w.Position)
	atomic.StoreUint64(&at.Messages, w.Messages)
	killpoint.At(killpoint.WaypointStored)
	atomic.StoreUint64(&at.Check, w.Position+1)
	killpoint.At(killpoint.WaypointStored)
}

// loadKept is a waypoint as it was stored, if it is one at present: while Check is the same, and says so,
// nothing was stored in between.
func loadKept(at *layout.Kept) (w layout.Waypoint, ok bool) {
	check := atomic.LoadUint64(&at.Check)
	w = layout.Waypoint{Position: atomic.LoadUint64(&at.Position), Messages: atomic.LoadUint64(&at.Messages)}
	return w, check == w.Position+1 && atomic.LoadUint64(&at.Check) == check && w.Position%layout.RecordAlign == 0
}

// newestWaypoint is waypoint of a broadcast ring, if it can be one.
func (s *segment) newestWaypoint() (w layout.Waypoint, ok bool) {
	w.Position, w.Messages, ok = s.waypoint()
	return w, ok && w.Position%layout.RecordAlign == 0
}

// pickKept is the waypoint that is best of those that are kept and not behind one, if that is better; what is
// behind it was whole a moment ago, with so many bytes to spare.
func (s *segment) pickKept(newest layout.Waypoint, slack uint64, better func(w, best layout.Waypoint) bool) (
	best layout.Waypoint) {
	best = newest
	for i := range s.view.Kept {
		w, ok := loadKept(&s.view.Kept[i])
		if ok && int64(w.Position-newest.Position) < 0 && better(w, best) && s.isWhole(w.Position-slack) {
			best = w
		}
	}
	return best
}

// oldestKept is where those begin who want all that a broadcast ring has, with so many bytes between what is
// overwritten next and it, if there is such a place; else at its newest waypoint. ok: there is one.
func (s *segment) oldestKept(slack uint64) (oldest layout.Waypoint, ok bool) {
	newest, ok := s.newestWaypoint()
	older := func(w, best layout.Waypoint) bool { return int64(w.Position-best.Position) < 0 }
	return s.pickKept(newest, slack, older), ok
}
