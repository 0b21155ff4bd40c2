package ring

import (
	"errors"
	"fmt"

	"github.com/shmring/shmring/layout"
)

// Where an observer begins: it passes over records from a waypoint on, or counts them back to one.

// ErrNoMessage: no message of the ring begins at a position.
var ErrNoMessage = errors.New("shmring: no message begins there")

// StartError tells why an observer cannot begin at a position.
type StartError struct {
	Position Position
	Why      string
}

func (e *StartError) Error() string {
	return fmt.Sprintf("shmring: no message begins at position %v: %s", e.Position, e.Why)
}

// Is makes the error match ErrNoMessage.
func (e *StartError) Is(target error) bool { return target == ErrNoMessage }

// Start is where an observer begins.
type Start struct {
	From     StartKind
	Position Position
	Sequence uint64 // of StartAfter: the number of that message, or 0
}

// StartKind tells which message is the first.
type StartKind int

const (
	StartNow    StartKind = iota // the first that is not there yet
	StartOldest                  // the oldest that is not released, of a broadcast ring the oldest
	StartNewest                  // the newest that is there, if there is one
	StartAt                      // that at a position
	StartAfter                   // the one behind that; behind none, if position and number are zero
)

const (
	// beginTries is how often an observer tries to begin where it is to in a stream that is faster.
	beginTries = 1 << 10
	// oldestTries is how often it tries to begin at ReadPos, before it begins at the waypoint.
	oldestTries = 16
)

// Begin goes to where the observer is to begin: a message that is sent after that is not missed
// unseen. ask is called now and then, and may end it. What is overwritten already of what was asked
// for is missed: of a message whose number is known that is exact. Errors: those of ask,
// ErrNoMessage, *CorruptError.
func (o *Observer) Begin(from Start, ask func() error) error {
	for try := 0; ; try++ {
		if err := ask(); err != nil {
			return err
		}
		p, read, err := o.anchorBehind(from.Position.Record)
		if err != nil {
			return err
		}
		var ok bool
		switch from.From {
		case StartNewest:
			var oldest place
			if oldest, ok, err = o.backToOldest(p, read, ask); !ok {
				oldest = p
			}
			if err == nil {
				ok, err = o.beginNewest(oldest)
			}
		case StartOldest:
			ok, err = o.beginOldest(p, read, try < oldestTries, ask)
		case StartAt, StartAfter:
			if from == (Start{From: StartAfter}) && p.numbered {
				ok, err = o.beginFirst(p, read, try, ask)
			} else {
				ok, err = o.beginAt(p, read, from, try, ask)
			}
		default:
			ok, err = o.beginNow(p, try < beginTries, ask)
		}
		if ok || err != nil {
			o.anchored = o.at.pos - o.span // it was not overtaken yet
			return err
		}
	}
}

// passed is how passing over records has ended.
type passed int

const (
	passedAll  passed = iota // the place is at passTo, or behind it
	passedSome               // there is no record yet
	passedLate               // it was overtaken
)

// passOver passes over records. An error tells of a record that was whole and no correct peer writes.
func (o *Observer) passOver(p place, ask func() error) (place, passed, error) {
	for int64(p.passTo-p.pos) > 0 {
		if err := ask(); err != nil {
			return p, passedSome, err
		}
		to, err := o.gather(p, false)
		switch {
		case !o.isWhole(p.pos):
			_, err := o.writtenTo()
			return p, passedLate, err
		case to.pos == p.pos:
			return p, passedSome, err
		}
		p = to
	}
	return p, passedAll, nil
}

// beginNow begins behind all that is there. A stream that is too fast for that is met where it is.
func (o *Observer) beginNow(p place, try bool, ask func() error) (ok bool, err error) {
	if p.passTo, err = o.writtenTo(); err != nil {
		return false, err
	}
	to, how, err := o.passOver(p, ask)
	if how == passedLate && try || err != nil {
		return false, err
	}
	o.at = to
	o.at.passTo = to.pos
	return true, nil
}

// beginOldest begins at ReadPos, or at the oldest waypoint of a broadcast ring.
func (o *Observer) beginOldest(p place, read uint64, try bool, ask func() error) (ok bool, err error) {
	p, ok, err = o.backToOldest(p, read, ask)
	if !ok && try || err != nil {
		return false, err
	}
	o.at = p
	return true, nil
}

// countBack returns the place at a position before that of a place, if records lead from there to it
// and are whole.
func (o *Observer) countBack(p place, pos uint64, ask func() error) (_ place, ok bool, err error) {
	if pos == p.pos {
		return p, true, nil
	}
	back := place{pos: pos, passTo: p.pos}
	to, how, err := o.passOver(back, ask)
	if how != passedAll || to.pos != p.pos || to.messages > p.messages && p.numbered || err != nil {
		return p, false, err
	}
	back.messages, back.numbered, back.passTo = p.messages-to.messages, p.numbered, pos
	return back, true, nil
}

// backToOldest returns the place of the oldest message that one may want.
func (o *Observer) backToOldest(p place, read uint64, ask func() error) (_ place, ok bool, err error) {
	if o.broadcast {
		p, err = o.oldestAnchor(0)
		return p, err == nil, err
	}
	return o.countBack(p, read, ask)
}

// beginAt begins at the message of a position, or behind it.
func (o *Observer) beginAt(p place, read uint64, from Start, try int, ask func() error) (ok bool, err error) {
	pos := from.Position.Record
	no := func(why string) error { return &StartError{from.Position, why} }
	if !o.mpsc && pos%layout.RecordAlign != 0 {
		return false, no("it is no multiple of 8")
	}
	if int64(pos-p.pos) >= 0 {
		return o.beginAhead(p, from, try, ask)
	}
	at, found, err := o.countBack(p, pos, ask)
	switch {
	case found:
		return o.beginThere(at, from)
	case o.isWhole(pos):
		if err != nil && errors.As(err, new(*CorruptError)) || err == nil {
			err = no("records do not lead from there to those that the consumer has not released")
		}
		return false, err
	case err != nil && !errors.As(err, new(*CorruptError)):
		return false, err
	}
	return o.beginLate(p, read, from.Sequence > 0, from.Sequence, try, ask)
}

// beginLate begins with the oldest, because message number after is overwritten, if that is its number.
func (o *Observer) beginLate(p place, read uint64, known bool, after uint64, try int, ask func() error) (ok bool,
	err error) {
	at, found, err := o.backToOldest(p, read, ask)
	if err != nil || !found && try < oldestTries {
		return false, err
	}
	if gap := at.messages - after; at.numbered && known && int64(gap) >= 0 {
		at.missed = gap
	} else {
		at.missed = 1
		o.stats.Inexact = true
	}
	if at.missed > 0 {
		o.stats.Overtaken++
	}
	o.at = at
	return true, nil
}

// beginFirst begins behind no message, for who has got none yet: with the first of all, or, if that is overwritten,
// with the oldest.
func (o *Observer) beginFirst(p place, read uint64, try int, ask func() error) (ok bool, err error) {
	at, found, err := o.countBack(p, 0, ask)
	if found && at.messages == 0 {
		o.at = at
		return true, nil
	}
	if err != nil && !errors.As(err, new(*CorruptError)) { // a ring may begin elsewhere, behind Resize
		return false, err
	}
	return o.beginLate(p, read, true, 0, try, ask)
}

// beginAhead is beginAt of a position that is not before the waypoint.
func (o *Observer) beginAhead(p place, from Start, try int, ask func() error) (ok bool, err error) {
	p.passTo = from.Position.Record
	to, how, err := o.passOver(p, ask)
	switch {
	case err != nil:
		return false, err
	case how == passedLate:
		if try == beginTries {
			return false, &StartError{from.Position, "the stream is too fast to look for it"}
		}
		return false, nil
	case how == passedSome, to.pos != p.passTo:
		return false, &StartError{from.Position, fmt.Sprintf("the records from position %d on do not lead to it", p.pos)}
	}
	return o.beginThere(to, from)
}

// beginThere begins at a place at which the record of the message lies.
func (o *Observer) beginThere(at place, from Start) (bool, error) {
	at.index = from.Position.Index
	if n := at.messages + uint64(at.index) + 1; from.Sequence > 0 && at.numbered && n != from.Sequence {
		return false, &StartError{from.Position, fmt.Sprintf("it is that of message %d, and not of %d: another ring, or "+
			"resized since", n, from.Sequence)}
	}
	if from.From == StartAfter {
		at.index++
	}
	o.at = at
	return true, nil
}
