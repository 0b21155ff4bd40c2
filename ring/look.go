package ring

import "github.com/shmring/shmring/layout"

// How much is in a ring: in inspect.go, but for broadcast rings, of which one knows by their waypoints.

// queueTries is how often a ring that moves is counted again.
const queueTries = 4

// LookAtQueue counts what is in a ring, but no more than limit records. The error is a
// *CorruptError: what no correct peer writes, while nothing moved.
func LookAtQueue(v *layout.View, limit int) (q Queue, err error) {
	var s segment
	s.init(v)
	look := s.lookAtConsumed
	if s.broadcast {
		look = s.lookAtBroadcast
	}
	for range queueTries {
		if q, err = look(limit); q.Exact {
			break
		}
	}
	if !q.Exact {
		err = nil // a record may have been used again under our eyes
	}
	return q, err
}

// lookAtConsumed is lookAtQueue, and how many messages were sent, by the newest waypoint, which the consumer
// leaves before it stores ReadPos. One that is behind ReadPos says that a consumer leaves none.
func (s *segment) lookAtConsumed(limit int) (q Queue, err error) {
	if q, err = s.lookAtQueue(limit); err != nil {
		return q, err
	}
	pos, messages, ok := s.waypoint()
	if !ok || int64(pos-q.ReadPos) < 0 {
		return q, nil
	}
	q.Sent = messages
	n, found := s.messagesBetween(q.ReadPos, pos)
	if q.Exact = q.Exact && s.hot.ReadPos.Load() == q.ReadPos; q.Exact && found && n <= messages {
		q.Sent, q.SentKnown = messages-n+q.Messages, !q.Limited
	}
	return q, nil
}

// lookAtBroadcast is lookAtQueue where nobody releases anything. How many messages are there is known from
// two waypoints; their bytes are counted.
func (s *segment) lookAtBroadcast(limit int) (q Queue, err error) {
	newest, ok := s.newestWaypoint()
	oldest, found := s.oldestKept(0)
	if !ok || !found {
		return q, &CorruptError{"waypoint", s.hot.ReadPos.Load(), newest.Position}
	}
	q.ReadPos, q.Seen, q.End = oldest.Position, oldest.Position, oldest.Position
	for pos := oldest.Position; err == nil; limit-- {
		if q.Limited = limit == 0; q.Limited {
			break
		}
		var n uint64
		if n, err = s.lookAtSPSC(&q, pos, 0); n == 0 {
			break
		}
		pos += n
	}
	q.Sent, q.SentKnown = oldest.Messages+q.Messages, true
	if q.Exact = s.isWhole(oldest.Position); !q.Exact || q.Limited {
		q.SentKnown = false
		q.Sent, q.End = max(newest.Messages, oldest.Messages), newest.Position
		q.Messages, q.Limited = q.Sent-oldest.Messages, false
	}
	used := min(q.End-q.ReadPos, s.span)
	q.Slots, q.Fraction, q.Lap = s.inSlots(used), float64(used)/float64(s.span), s.span
	return q, err
}

// Used is how many slots are taken at present: claimed or finished, and not yet released. On an
// SPSC ring it is so many slots' share of the area, rounded up.
// Any goroutine may ask; the answer may be old when it arrives. On an SPSC ring it walks
// the records, which costs some nanoseconds for each.
func (h *handle) Used() int { return h.used() }

// used is how many slots are taken: claimed or finished, and not released.
func (s *segment) used() int {
	read := s.hot.ReadPos.Load()
	if s.mpsc {
		return int(min(s.hot.Tail.Load().Pos(read)-read, s.count))
	}
	end := s.glanceEnd(&read)
	if s.broadcast {
		if way, ok := s.oldestKept(0); ok {
			read = way.Position
		}
	}
	return s.inSlots(min(end-read, s.size))
}
