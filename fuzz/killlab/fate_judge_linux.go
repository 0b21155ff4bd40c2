package main

import (
	"fmt"
	"math"
	"slices"

	"github.com/shmring/shmring"
)

// history is what happened to one ring, by the journals of its users alone.
type history struct {
	mpsc     bool
	lossy    bool // DeliveryAtMostOnce
	unplaced bool // messages came without their positions
	expects  int  // Options.ExpectedProducers
	streams  []*stream
	heard    [][]entry // by consumer, one after the other
}

// verdict is what a judge says of a history.
type verdict struct {
	lost, duplicated, torn, disordered, wrong []string
	due                                       []string // what must still come, if everybody is over

	delivered, repeated    uint64
	by                     [shmring.FateDied + 1]int // streams that were told, by fate
	once, again            int
	together, groups, ends int // streams that were told together, in how many groups; io.EOF
	consumers, unknown     int // consumers that got anything; streams whose producer was killed opening them
}

// judge goes through a history. Its own memory of what was told is all that it believes.
type judge struct {
	*history
	v       verdict
	of      map[source]*tale
	epochs  map[[2]uint32]*tale // by place and epoch
	places  map[uint32]*toldPlace
	opening int             // how many of those there are
	killed  map[int][]*tale // whose producers were killed opening them, by process id

	k          int // the consumer that is being read
	last       shmring.Position
	firsts     []uint64 // by consumer: the lowest record that came again to it
	came       []uint64 // by consumer: how far those before it came
	again      int      // how many messages came again to this one
	now        []*tell  // told by the call in progress
	open       []*tell  // told by a call that has returned, which the user may not have heard
	holding    bool
	behindHeld []*tell // while messages are held
	ends       endings
}

// tale is what has come of a stream.
type tale struct {
	*stream
	next  uint64 // number that is due
	came  uint64
	end   uint64 // a position that is behind the begin of its newest record
	heard int    // the newest consumer that got anything of it, plus one
	tell  *tell  // the newest
	owed  bool   // it has to be told again
}

// toldPlace is what was told of one of the producers' places.
type toldPlace struct {
	upto uint32 // newest stream that was told, to anybody
	here uint32 // to this consumer
	pos  uint64 // of the newest fate
}

// tell is one fate that one consumer was told.
type tell struct {
	k      int
	pos    uint64
	e      entry
	said   bool  // by the call's result
	unsure bool  // the user may not have heard it, or not come back
	called bool  // the user has come back, or is about to
	noted  int64 // when the segment may have said that it was told; 0: never
}

// endings is what the judge knows of io.EOF.
type endings struct {
	over, ended [2]int // streams that are, at least and at most, since it was said
	before      [2]int // at most, when it was
	tell        *tell  // it was
}

func (h *history) judge() *verdict {
	g := &judge{history: h, of: map[source]*tale{}, epochs: map[[2]uint32]*tale{}, places: map[uint32]*toldPlace{},
		killed: map[int][]*tale{}}
	for _, s := range h.streams {
		a := &tale{stream: s}
		g.of[s.who] = a
		if s.place == 0 {
			if s.killed != 0 {
				g.killed[s.pid] = append(g.killed[s.pid], a)
				g.opening++
			}
			continue
		}
		key := [2]uint32{uint32(s.place), s.epoch}
		if g.epochs[key] != nil {
			g.wrong("%v and %v are both stream %d of place %d", s.who, g.epochs[key].who, s.epoch, s.place)
		}
		g.epochs[key] = a
	}
	for k, log := range h.heard {
		g.successor(k)
		for _, e := range log {
			g.entry(e)
		}
	}
	g.conclude()
	return &g.v
}

func (g *judge) wrong(format string, args ...any) {
	g.v.wrong = append(g.v.wrong, fmt.Sprintf("consumer %d: ", g.k)+fmt.Sprintf(format, args...))
}

func (g *judge) blame(list *[]string, format string, args ...any) {
	*list = append(*list, fmt.Sprintf("consumer %d: ", g.k)+fmt.Sprintf(format, args...))
}

// successor begins with the next consumer, which is told again of what the one before was
// told by its last call.
func (g *judge) successor(k int) {
	for _, s := range g.epochs {
		if t := s.tell; t != nil && t.unsure && !t.called && t.k == g.k && g.isSaid(t.e.fate()) {
			s.owed = true
		}
	}
	g.k, g.again, g.now, g.open = k, 0, nil, nil
	g.holding, g.behindHeld = false, nil
	g.firsts = append(g.firsts, math.MaxUint64)
	g.came = append(g.came, g.last.Record)
	for _, p := range g.places {
		p.here = 0
	}
	if k < len(g.heard) && len(g.heard[k]) > 0 {
		g.v.consumers++
	}
}

func (g *judge) entry(e entry) {
	switch {
	case e.flags&entryTold != 0:
		g.told(e)
	case e.flags&entryReturned != 0:
		g.returned(e)
	case e.flags&entryClosed != 0:
		for _, t := range append(g.now, g.open...) {
			g.sure(t, e.at)
		}
	case e.flags&entryCalled != 0:
		for _, t := range g.open {
			t.called = true
		}
	case e.flags&entryReleased != 0:
		for _, t := range g.behindHeld {
			t.noted = e.at
		}
		g.holding, g.behindHeld = false, nil
	default:
		g.message(e)
	}
}

// sure: the user has heard it.
func (g *judge) sure(t *tell, at int64) {
	if t.unsure = false; g.holding {
		g.behindHeld = append(g.behindHeld, t)
	} else {
		t.noted = at
	}
}

// message: everything of a stream comes in order, before its fate, and behind the fates of
// those before it in its place.
func (g *judge) message(e entry) {
	if e.flags&entryTorn != 0 {
		g.blame(&g.v.torn, "torn message at position %d.%d", e.record, e.index)
		return
	}
	s := g.of[e.source]
	if s == nil {
		g.wrong("a message of stream %v, which nobody has begun", e.source)
		return
	}
	at := shmring.Position{Record: e.record, Index: e.index}
	news := s.heard != g.k+1
	s.heard = g.k + 1
	g.holding = g.holding || e.flags&entryHeld != 0
	if g.unplaced && e.seq < s.next || !g.unplaced && g.v.delivered > 0 && at.Compare(g.last) <= 0 {
		g.repeated(s, e)
		return
	}
	g.last = at
	switch {
	case e.seq < s.next:
		g.blame(&g.v.duplicated, "%v number %d came twice, under different positions", s.who, e.seq)
	case e.seq > s.next && !(g.lossy && news):
		g.blame(&g.v.disordered, "%v number %d comes where %d is due", s.who, e.seq, s.next)
	}
	if s.tell != nil {
		g.wrong("%v number %d comes behind the stream's fate", s.who, e.seq)
	}
	p := g.place(uint32(s.place))
	if p.upto+1 < s.epoch && !g.mayBeLate(uint32(s.place), p.upto+1) || !g.unplaced && e.record < p.pos {
		g.wrong("%v, stream %d of place %d, comes when %d was told at %d", s.who, s.epoch, s.place, p.upto, p.pos)
	}
	s.next, s.end = e.seq+1, e.record+1
	s.came++
	g.v.delivered++
}

// mayBeLate tells whether a stream's fate may come behind messages of later ones: the ring
// keeps the positions of ten that were not told, and of more that of the newest.
func (g *judge) mayBeLate(at, epoch uint32) bool {
	s, tenth := g.epochs[[2]uint32{at, epoch}], g.epochs[[2]uint32{at, epoch - 9}]
	return epoch >= 10 && (s == nil || tenth == nil || tenth.tell == nil || tenth.tell.noted == 0 ||
		tenth.tell.noted > s.closing)
}

// repeated is a message that had come before.
func (g *judge) repeated(s *tale, e entry) {
	g.firsts[g.k] = min(g.firsts[g.k], e.record)
	g.v.repeated++
	g.again++
	for _, s := range g.epochs {
		if t := s.tell; t != nil && t.k != g.k && t.pos > e.record && !g.unplaced {
			s.owed = true // it comes behind that once more
		}
	}
	switch {
	case g.lossy, g.again > unreleased, !g.unplaced && e.flags&entryRedelivered == 0:
		g.blame(&g.v.duplicated, "%v number %d came again: the %dth, marked: %v", s.who, e.seq, g.again,
			e.flags&entryRedelivered != 0)
	case s.tell != nil && s.tell.k == g.k:
		g.wrong("%v number %d comes again behind the stream's fate", s.who, e.seq)
	}
}

func (g *judge) place(i uint32) *toldPlace {
	p := g.places[i]
	if p == nil {
		p = &toldPlace{}
		g.places[i] = p
	}
	return p
}

// told is the fate of a stream, or of several in a row.
func (g *judge) told(e entry) {
	p, upto := g.place(e.source.lane), e.source.life
	first := upto - e.streams() + 1
	switch {
	case e.streams() == 0 || e.streams() > upto || e.fate() > shmring.FateDied:
		g.wrong("told nonsense: %d streams up to %d, %v", e.streams(), upto, e.fate())
		return
	case p.here != 0 && first != p.here+1, first > p.upto+1:
		g.wrong("told of stream %d of place %d behind %d, of which it was told %d", first, e.source.lane, p.upto, p.here)
	}
	t := &tell{k: g.k, pos: e.record, e: e, unsure: true}
	least, worst, news := shmring.FateEnded, shmring.FateEnded, 0
	for epoch := first; epoch != upto+1; epoch++ {
		s := g.stream(e.source.lane, epoch, e)
		if s == nil {
			g.wrong("told of stream %d of place %d, process %d, which nobody has begun", epoch, e.source.lane, e.index)
			continue
		}
		least, worst = max(least, s.best()), max(worst, s.worst())
		if epoch > p.upto {
			news++
		} else if s.tell != nil && !g.mayAgain(s.tell) {
			g.wrong("told again of %v, stream %d of place %d: %v, which consumer %d was told and came back from", s.who, epoch,
				e.source.lane, e.fate(), s.tell.k)
		}
		g.behind(s, e)
		s.tell, s.owed = t, false
	}
	if e.streams() > 1 {
		if e.fate() < least || e.fate() > worst || first < 10 {
			g.wrong("told together of %d to %d: %v, the worst is %v, or %v", first, upto, e.fate(), least, worst)
		}
		g.v.groups++
		g.v.together += news
	}
	g.v.by[e.fate()] += news
	g.v.once += news
	g.v.again += int(e.streams()) - news
	g.ends.count(e.fate(), news, e.streams() > 1)
	p.upto, p.here, p.pos = max(p.upto, upto), upto, max(p.pos, e.record)
	g.now = append(g.now, t)
}

// stream is whose fate is told. One whose producer was killed before it could say which
// stream it was is known by its process id.
func (g *judge) stream(at, epoch uint32, e entry) *tale {
	key := [2]uint32{at, epoch}
	if s := g.epochs[key]; s != nil {
		if e.streams() == 1 && int(e.index) != s.pid && e.index != 0 && s.pid != 0 {
			g.wrong("told that stream %d of place %d was process %d, it was %d", epoch, at, e.index, s.pid)
		}
		return s
	}
	pid := int(e.index)
	if g.opening == 0 || e.streams() == 1 && pid != 0 && len(g.killed[pid]) == 0 {
		return nil
	}
	g.opening--
	g.v.unknown++
	s := &tale{stream: &stream{pid: pid, place: int(at), epoch: epoch, killed: 1}}
	if e.streams() == 1 && pid != 0 {
		s, g.killed[pid] = g.killed[pid][0], g.killed[pid][1:]
	}
	g.epochs[key] = s
	return s
}

// worst is the worst that a stream may be told to have ended like.
func (s *tale) worst() shmring.Fate {
	if s.may(shmring.FateDied) {
		return shmring.FateDied
	}
	return s.fate
}

// best is the best.
func (s *tale) best() shmring.Fate {
	if s.ending {
		return s.fate
	}
	return shmring.FateDied
}

// behind: a fate is that of its stream, and behind all that the stream sent.
func (g *judge) behind(s *tale, e entry) {
	switch {
	case e.streams() == 1 && !s.may(e.fate()):
		g.wrong("told %v of %v, which began %v (%v) and ended it: %v, killed: %v", e.fate(), s.who, s.fate, s.ending, s.ended,
			s.killed != 0)
	case e.streams() == 1 && e.fate() == shmring.FateDied && e.at < s.killed:
		g.wrong("told that %v died, before it was killed", s.who)
	case s.came < s.sent && !g.lossy:
		g.wrong("told %v of %v behind %d of its %d messages", e.fate(), s.who, s.came, s.sent)
	case !g.unplaced && e.record < s.end:
		g.wrong("told %v of %v at position %d, it sent up to %d", e.fate(), s.who, e.record, s.end)
	}
}

// mayAgain: who was told may not have heard it, or not have released what was before it, so
// that it came again to somebody since. A consumer that passes over that instead does not
// say so: then it is less than 64 slots back, or of an SPSC ring 4 KiB, and was not told by a call's result.
func (g *judge) mayAgain(t *tell) bool {
	switch {
	case t.k == g.k:
		return false
	case t.unsure || slices.Min(g.firsts[t.k+1:]) < t.pos:
		return true
	}
	back := uint64(4 << 10)
	if g.mpsc {
		back = 64
	}
	return g.lossy && !t.said && g.came[t.k+1] < t.pos+back
}

// returned is the end of a call. What the calls before it said was heard.
func (g *judge) returned(e entry) {
	for _, t := range g.open {
		g.sure(t, e.at)
	}
	g.open = nil
	var said *tell
	for i, t := range g.now {
		switch f := t.e.fate(); {
		case i == len(g.now)-1 && e.index != returned:
			said, t.said = t, true
		case g.isSaid(f):
			g.wrong("told %v of stream %d of place %d, and the call said nothing of it", f, t.e.source.life, t.e.source.lane)
		default:
			g.sure(t, e.at)
		}
	}
	g.now = nil
	switch {
	case e.index == returnedError:
		if said == nil || said.e.source != e.source || said.e.seq != e.seq || e.fate() < shmring.FateFailed {
			g.wrong("an error says %v of stream %d of place %d, and OnStreamEnd did not", e.fate(), e.source.life, e.source.lane)
			return
		}
		g.open = append(g.open, said)
	case e.index == returnedEOF:
		g.atEnd(said)
	}
}

// conclude says what must have come by now, or will.
func (g *judge) conclude() {
	g.k = len(g.heard)
	due := func(format string, args ...any) { g.v.due = append(g.v.due, fmt.Sprintf(format, args...)) }
	for key, s := range g.epochs {
		if s.isOver() && g.place(key[0]).upto < key[1] {
			due("the fate of %v, stream %d of place %d", s.who, key[1], key[0])
		} else if s.owed {
			due("the fate of %v, once more: consumer %d may not have heard it", s.who, s.tell.k)
		}
	}
	for _, s := range g.of {
		if s.came > s.tried {
			g.blame(&g.v.duplicated, "%d messages came of %d that %v tried to send", s.came, s.tried, s.who)
		}
		if s.came < s.sent && (!g.lossy || len(g.heard) <= 1) {
			due("%d of %d messages of %v", s.sent-s.came, s.sent, s.who)
		}
	}
	if g.endIsDue() {
		due("io.EOF: %d streams are over, %d of them ended, %d expected", g.ends.over[0], g.ends.ended[0], g.expects)
	}
}
