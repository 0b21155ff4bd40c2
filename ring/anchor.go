package ring

import "github.com/shmring/shmring/layout"

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
