package ring

import (
	"sync/atomic"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// Waypoints: a position at which a record begins, and how many messages there are before it. Who
// has no part in a ring counts on from one, and so knows the number of each message, and, having been
// overtaken, how many it has missed.
//
// The consumer writes one before each store of ReadPos: of its own position, which is never before
// what it stores. So
//
//	the newest waypoint is not before ReadPos, and not behind the newest record
//
// whoever died where, and records between the two are not released: who takes over counts them, and
// knows its own number. There are two places, written in turn: one is whole whatever becomes of the
// other. That costs some plain stores for many messages, into a line that is
// written anyway, and producers nothing. Batches count as many messages as they have entries; padding and
// claims that were given up as none; a message that is delivered again as the one it is.

// leaveWaypoint writes the newest waypoint, which is so many times that one was written.
func (s *segment) leaveWaypoint(turn, pos, messages uint64) {
	w := &s.hot.Waypoints
	at := &w.Places[turn&1]
	storePlain(&at.Position, pos)
	killpoint.At(killpoint.WaypointStored)
	storePlain(&at.Messages, messages)
	killpoint.At(killpoint.WaypointStored)
	storePlain(&w.Turn, turn)
	killpoint.At(killpoint.WaypointStored)
}

// waypointTries is how often a waypoint is looked for: the consumer leaves another while we look but by
// chance.
const waypointTries = 1 << 10

// waypoint returns the newest waypoint. ok is false if it was another each time, which no correct peer
// brings about.
func (s *segment) waypoint() (pos, messages uint64, ok bool) {
	w := &s.hot.Waypoints
	for range waypointTries {
		turn := atomic.LoadUint64(&w.Turn)
		at := &w.Places[turn&1]
		pos, messages = atomic.LoadUint64(&at.Position), atomic.LoadUint64(&at.Messages)
		if atomic.LoadUint64(&w.Turn) == turn {
			return pos, messages, true
		}
	}
	return 0, 0, false
}

// messagesBefore returns how many messages there are before ReadPos, which nobody moves meanwhile. Where
// a consumer has been that leaves no waypoints, it is at least what all consumers say to have got.
func (s *segment) messagesBefore(read uint64) uint64 {
	pos, messages, ok := s.waypoint()
	if n, found := s.messagesBetween(read, pos); ok && found && n <= messages {
		return messages - n
	}
	return max(messages, s.participants[layout.ConsumerIndex].Counters[layout.Messages].Load())
}

// messagesBetween counts the messages of records that are not released. found is false if no record
// begins at the position to, or something on the way there is none.
func (s *segment) messagesBetween(read, to uint64) (n uint64, found bool) {
	if to-read > s.span {
		return 0, false
	}
	q := Queue{ReadPos: read, End: to}
	for pos := read; pos != to; {
		var k uint64
		var err error
		if s.mpsc {
			k, err = s.lookAtMPSC(&q, pos, 0)
		} else {
			k, err = s.lookAtSPSC(&q, pos, 0)
		}
		if pos += k; err != nil || k == 0 || int64(to-pos) < 0 {
			return 0, false
		}
	}
	return q.Messages, q.Open == 0
}

// messagesOf is how many messages the record of n bytes at pos holds.
func (s *segment) messagesOf(pos, n uint64, flags uint8) uint64 {
	if flags&layout.FlagBatch == 0 {
		return 1
	}
	messages, _, _ := s.countBatch(pos, int(n))
	return messages
}
