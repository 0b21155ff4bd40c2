package main

import "github.com/shmring/shmring/layout"

// cast is the forgery of broadcast rings: their records lie in line, and words beside them tell those who
// observe how far the producer is, and where they may begin.
var cast = forgery{castGarbage, castLaps, castBounds, castSpot}

const (
	eventsSize = 5120
	keptSize   = 24
	waymarks   = 32
)

// waypoint is what a ring says of a position: how many messages there are before it.
type waypoint struct{ pos, messages uint64 }

// kept is where in the file one of the waypoints is that are kept.
func (t *target) kept() uint64 {
	return membersAt + memberSize*uint64(t.members) + eventsSize + keptSize*t.chance.Uint64N(waymarks)
}

func castSpot(t *target) spot {
	if t.chance.IntN(2) == 0 {
		return spot{t.kept() + 8*t.chance.Uint64N(3), true}
	}
	return lineSpot(t)
}

// lie is a waypoint somewhere around what there is, with some number.
func (t *target) lie() waypoint {
	read, written, size := t.get(readPosAt), t.get(writtenAt), t.size()
	turn := t.get(waypointsAt)
	pos := t.near(read, read+8, read-8, read-size, read+size, read-size/2, written, written-size, written-size+8, 1<<63)
	if t.chance.IntN(4) > 0 {
		pos &^= 7
	}
	return waypoint{pos, t.edge(t.get(waypointsAt+16+16*(turn%2)), t.chance.Uint64N(1000))}
}

// keep stores a waypoint as one that is kept.
func (t *target) keep(w waypoint) {
	at := t.kept()
	t.put(at, w.pos)
	t.put(at+8, w.messages)
	t.put(at+16, w.pos+1)
}

// mark stores a waypoint as the newest.
func (t *target) mark(w waypoint) {
	turn := t.get(waypointsAt) + 1
	at := waypointsAt + 8 + 16*(turn%2)
	t.put(at, w.pos)
	t.put(at+8, w.messages)
	t.put(waypointsAt, turn)
	t.put(readPosAt, w.pos)
}

func castGarbage(t *target) {
	switch t.chance.IntN(5) {
	case 0:
		at := t.kept() + 8*t.chance.Uint64N(3)
		t.put(at, t.edge(t.get(at), t.lie().pos))
	case 1:
		t.keep(t.lie())
	case 2:
		t.mark(t.lie())
	default:
		lineGarbage(t)
	}
}

// castLaps has the producer be elsewhere, as far as it says itself, so that those who observe are overtaken,
// or go back; or has it be as far ahead as it can be, and a little farther.
func castLaps(t *target) {
	read, written, size := t.get(readPosAt), t.get(writtenAt), t.size()
	switch by := []uint64{size, -size, 2 * size, size / 2, -size / 2, 1 << 40}[t.chance.IntN(6)]; t.chance.IntN(4) {
	case 0:
		t.put(writtenAt, written+by)
		t.mark(waypoint{read + by, t.chance.Uint64N(1000)})
	case 1:
		t.put(writtenAt, t.near(read+size, read+size-8, read+size+8, read, read+by))
	case 2:
		t.keep(waypoint{read - by, t.chance.Uint64N(1000)})
	default:
		lineLaps(t)
	}
}

// castBounds is lineBounds, or, for some rings nothing but that, makes one in which record follows record without
// end: whoever follows them has to stop by itself.
func castBounds(t *target) {
	if t.stat.Ino%4 > 0 && t.chance.IntN(8) > 0 {
		lineBounds(t)
		return
	}
	w := t.record(t.near(9, 56, 57, 120, 248))
	for pos, end := uint64(0), t.size(); pos < end; {
		next := layout.Record(w).Next(pos)
		if next > end {
			w, next = t.record(end-pos-8), end
		}
		t.put(t.word(pos), w)
		pos = next
	}
}
