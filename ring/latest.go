package ring

import "github.com/shmring/shmring/layout"

// The newest message is what those want for whom it takes the place of all before it. What they pass over
// for it counts as missed, like what was overwritten.

// latest is the newest of some messages.
type latest struct {
	m     Observation
	found bool
}

// add takes a copy of a newer message, for which the one before is missed.
func (l *latest) add(m Observation) {
	if l.found {
		m.Missed += l.m.Missed + 1
	}
	m.Bytes = append(l.m.Bytes[:0], m.Bytes...)
	l.m, l.found = m, true
}

// TryLatest returns the newest message there is, if it was not returned before, else ErrEmpty. Those before
// it are passed over, and are in Missed. In a stream that is too fast for that it is one that was the
// newest a moment ago. moved is that of Try. Errors: those of Try.
func (o *Observer) TryLatest() (m Observation, moved bool, err error) {
	if o.failed != nil {
		return m, false, o.failed
	}
	l := latest{m: Observation{Bytes: o.newest[:0]}}
	for _, held := range o.found[min(o.next, len(o.found)):] {
		l.add(held)
	}
	o.found, o.next = o.found[:0], 0
	begin := o.at.pos
	if o.failed = o.toEnd(&l, nil); o.failed != nil {
		return m, true, o.failed
	}
	if o.newest = l.m.Bytes; !l.found {
		return m, o.at.pos != begin, ErrEmpty
	}
	o.stats.Messages++
	o.stats.Bytes += uint64(len(l.m.Bytes))
	o.stats.Missed += l.m.Missed
	return l.m, true, nil
}

// beginNewest begins with the newest message there is, or, if nothing is there, with the next. It is at
// oldest or behind it.
func (o *Observer) beginNewest(oldest place) (ok bool, err error) {
	var l latest
	if err := o.toEnd(&l, &oldest); err != nil {
		return false, err
	}
	if l.found {
		l.m.Missed = 0 // nobody has asked for those
		o.found = append(o.found[:0], l.m)
	}
	o.at.missed = 0
	return true, nil
}

// toEnd goes to where the next message will be, and leaves the newest message in l, if there is one behind
// where the observer is, or, if it has not begun, behind the oldest.
func (o *Observer) toEnd(l *latest, oldest *place) error {
	for range beginTries {
		var places [4]place
		list, err := o.startsOfLatest(places[:0], oldest)
		if err != nil {
			return err
		}
		whole := true
		for i := 0; i < len(list) && whole && !l.found; i++ {
			if whole, err = o.followToEnd(list[i], l); err != nil {
				return err
			}
		}
		if whole {
			break
		}
	}
	return nil
}

// startsOfLatest are places from where to look for the newest message, the nearest to it first: it may be
// before the newest waypoint.
func (o *Observer) startsOfLatest(list []place, oldest *place) ([]place, error) {
	newest, _, err := o.anchor()
	if err != nil {
		return nil, err
	}
	here := oldest == nil && o.isWhole(o.at.pos)
	if here && int64(newest.pos-o.at.pos) < int64(o.span/8) {
		return append(list, o.at), nil
	}
	list = append(list, newest)
	if o.broadcast {
		w := layout.Waypoint{Position: newest.pos, Messages: newest.messages}
		w = o.pickKept(w, 0, func(w, best layout.Waypoint) bool {
			return best.Position == newest.pos || int64(w.Position-best.Position) > 0
		})
		far, err := o.oldestAnchor(o.span / 4)
		if err != nil {
			return nil, err
		}
		list = append(list, anchorAt(w), far)
	}
	switch {
	case oldest != nil:
		return append(list, *oldest), nil
	case here:
		list = append(list, o.at)
	}
	for i, p := range list {
		if list[i] = o.at; int64(p.pos-o.at.pos) > 0 {
			list[i] = o.skipTo(p)
		}
	}
	return list, nil
}

// followToEnd follows the messages from a place on, but no more than a lap. whole: it got there.
func (o *Observer) followToEnd(p place, l *latest) (whole bool, err error) {
	defer func() { o.found, o.next = o.found[:0], 0 }()
	for begin := p.pos; ; {
		to, err := o.gather(p, true)
		if !o.isWhole(p.pos) {
			return false, nil
		}
		for _, m := range o.found {
			l.add(m)
		}
		if o.at = to; to.pos == p.pos {
			return true, err
		}
		if p = to; p.pos-begin > o.span {
			return true, nil // words of one who lies may lead around for ever
		}
	}
}
