package ring

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/layout"
)

// StreamEnd says how the stream of a producer ended.
type StreamEnd struct {
	Fate     layout.Fate
	Producer int    // participant slot
	Epoch    uint32 // which stream of that slot
	PID      int    // of the producer, as it saw itself; 0: not known
	Position uint64 // everything that it sent is before it
	// Streams is 1. It is more where so many were over, one behind the other in that slot,
	// before a consumer came that the ring does not tell them apart: then Fate is the worst.
	Streams int
}

// fates is what the consumer knows of how streams end, and has told. The segment trails
// behind it.
type fates struct {
	news    uint64   // News when there was nothing more to tell
	ahead   bool     // but there may be something, when the consumer has come to it
	next    uint64   // which is at this position, or unreached
	more    bool     // or io.EOF: ask tell
	told    []uint32 // by producer: the newest stream that was told
	streams uint64   // that were over, since io.EOF was said
	ended   uint64   // of those, by their producers
	unnoted []telling
	back    int       // so many of those the user has come back from
	open    int       // a producer that was seen to go on
	reaped  time.Time // when the dead were looked for
	chores  int       // that were done, to look at the clock in every eighth
	stall   atomic.Pointer[stall]
}

// nothingNext is what peek returns when no finished record is next.
func (c *Consumer) nothingNext() error {
	c.streak = 0
	if c.fates.more || c.hot.News.Load() != c.fates.news {
		if err := c.tell(true); err != errMore {
			return err
		}
	}
	return ErrEmpty
}

// mostTold bounds how many streams of each producer one try passes of which the user is told
// nothing: as many as the ring remembers. A peer that ends streams faster than that keeps us no
// longer, and a call that waits asks its context before the next try.
const mostTold = layout.Fates + layout.FatesTogether

// mostUnnoted bounds what was told and cannot be noted yet, because messages before it are held: no
// correct peers come and go so often meanwhile.
const mostUnnoted = 1 << 18

// errMore: there is more to tell.
var errMore = errors.New("more")

// tell says what there is to say in front of the next record: *StreamError, io.EOF, or
// ErrEmpty; or errMore. atEnd: there is no next record.
func (c *Consumer) tell(atEnd bool) error {
	f := &c.fates
	news := c.hot.News.Load()
	c.comeBack()
	for left := mostTold * len(c.participants); f.ahead || news != f.news; left-- {
		if left == 0 {
			f.news, f.more = news-1, true
			return errMore
		}
		if n := len(f.unnoted); n >= mostUnnoted {
			return c.corrupt("streams that ended while a message was held", c.pos, uint64(n))
		}
		e, word, err := c.nextFate()
		if err != nil {
			return err
		}
		if e == nil {
			break
		}
		if err := c.tellFate(e, word); err != nil {
			f.news = news
			if c.hasMore() {
				f.news-- // a Poller has to hand it out again
			}
			return err
		}
	}
	f.news = news
	enough := c.areEnough()
	f.more = f.ahead || enough
	if enough && atEnd && c.isOver() {
		f.streams, f.ended = 0, 0
		c.say(telling{pos: c.pos})
		return io.EOF
	}
	return ErrEmpty
}

// tellBefore is tell in front of a record; nil: there is nothing to say. ErrEmpty: there may be more
// to come before the record, at the next try.
func (c *Consumer) tellBefore() error {
	switch err := c.tell(false); err {
	case ErrEmpty:
		return nil
	case errMore:
		return ErrEmpty
	default:
		return err
	}
}

// hasMore tells whether there is anything to tell behind what was just told. A Poller does
// not hand out the consumer for nothing.
func (c *Consumer) hasMore() bool {
	for i := 1; i < len(c.participants); i++ {
		if _, at := c.oldestFate(i, c.fates.told[i]); at != nil {
			return true
		}
	}
	return c.areEnough()
}

// said in place of the rest of a batch sends the next call, whatever it finds, to comeBack.
// That costs the calls in between nothing.
var said = []byte{}

// say notes what this call tells the user.
func (c *Consumer) say(t telling) {
	f := &c.fates
	f.unnoted = append(f.unnoted, t)
	f.ahead, f.more = true, true
	c.batch.rest = said
	c.endShort()
}

// comeBack is what a call does first after one that told something.
func (c *Consumer) comeBack() {
	if f := &c.fates; len(f.unnoted) != f.back {
		c.flushReadPos()
		c.settle()
	}
}

// settle says that the user needs to hear no more of what was told.
func (c *Consumer) settle() {
	c.fates.back = len(c.fates.unnoted)
	c.batch.rest = nil
	c.note()
}

// unreached is farther ahead than any fate.
const unreached = 1 << 62

// nextFate finds the fate that comes next at this place, or nil. Of several producers' that
// is the one with the lowest position.
func (c *Consumer) nextFate() (next *StreamEnd, word layout.FateWord, err error) {
	c.fates.ahead, c.fates.next = false, c.pos+unreached
	for i := 1; i < len(c.participants); i++ {
		told := c.fates.told[i]
		w, at := c.oldestFate(i, told)
		if at == nil {
			continue
		}
		pos := at.Pos.Load() // behind the word: of one that covers more meanwhile it is farther
		if ahead := pos - c.pos; int64(ahead) > 0 {
			if ahead > c.span {
				return nil, 0, c.corrupt("position of a stream's end", c.pos, pos)
			}
			c.fates.ahead = true
			if int64(pos-c.fates.next) < 0 {
				c.fates.next = pos
			}
			continue
		}
		if next == nil || int64(pos-next.Position) < 0 {
			next, word = &StreamEnd{Producer: i, Epoch: told + 1, Position: pos, PID: int(at.PID.Load())}, w
		}
	}
	return next, word, nil
}

// tellFate tells the user of one fate. What is returned is said by the call; nil: go on.
func (c *Consumer) tellFate(e *StreamEnd, word layout.FateWord) error {
	first := e.Epoch
	e.Fate, e.Epoch = word.Of(first)
	e.Streams = int(e.Epoch-first) + 1
	if e.Epoch != word.Upto() {
		e.PID = 0
	}
	f := &c.fates
	f.told[e.Producer] = e.Epoch
	single := !c.mpsc && c.cfg.ExpectedProducers == 0
	if e.Fate != layout.FateLeft && !single {
		f.streams += uint64(e.Streams)
		if e.Fate != layout.FateDied {
			f.ended += uint64(e.Streams)
		}
	}
	t := telling{producer: e.Producer, upto: e.Epoch, pos: e.Position, streams: f.streams, ended: f.ended}
	if c.cfg.OnStreamEnd != nil {
		if err := c.callOut(func() { c.cfg.OnStreamEnd(*e) }); err != nil {
			return err
		}
	}
	c.say(t)
	switch {
	case e.Fate == layout.FateDied || e.Fate == layout.FateFailed:
		return c.wrap(&StreamError{*e})
	case e.Fate == layout.FateEnded && single:
		return io.EOF
	}
	c.settle() // nothing is said: the user has no part in it
	return nil
}

// areEnough tells whether so many streams were over that io.EOF may come.
func (c *Consumer) areEnough() bool {
	if n := c.cfg.ExpectedProducers; n > 0 {
		return c.fates.streams >= uint64(n)
	}
	return c.fates.ended > 0
}

// isOver tells whether nothing is on its way and nobody may send more. The producers are
// looked at before Tail: one that attached, sent and left in between has moved Tail.
func (c *Consumer) isOver() bool {
	if !c.mpsc {
		return !c.isReady()
	}
	if c.isOpen(c.fates.open) {
		return false
	}
	for i := 1; i < len(c.participants); i++ {
		if c.isOpen(i) {
			c.fates.open = i
			return false
		}
	}
	return c.hot.Tail.Load().Pos(c.pos) == c.pos
}

// stalledSleep bounds sleeps while an unfinished claim is next: its owner may die, and
// nobody notifies us of that.
const stalledSleep = time.Millisecond

// reapEvery is how often, at most, the consumer of an MPSC ring looks for dead producers
// that hold nothing up, and reapOne how often that of an SPSC ring looks for its one. To ask the
// system is most of what it does before it sleeps, and the first sleep is no shorter.
const (
	reapEvery = 50 * time.Millisecond
	reapOne   = 10 * time.Millisecond
)

// maintain is what the consumer does before it sleeps and whenever a sleep brought
// nothing: it flushes what it has gathered and looks for dead producers. The error is what
// there is to say instead of a message.
func (c *Consumer) maintain() error {
	if err := c.lookAfter(); err != nil {
		return err
	}
	if len(c.batch.rest) > 0 || c.isReady() {
		return nil
	}
	if err := c.nothingNext(); err != ErrEmpty {
		c.releaseRevoked() // somebody else may have found the dead
		return err
	}
	return nil
}

// lookAfter is maintain without saying anything: that is left to the next call. hasNews
// tells whether there is anything to say.
func (c *Consumer) lookAfter() error {
	c.flushReadPos()
	if read := c.hot.ReadPos.Load(); read != c.released {
		return c.corrupt("ReadPos", c.released, read) // nobody else writes it; producers believe it
	}
	c.flushDeltas()
	if err := c.lookForDead(); err != nil {
		return err
	}
	c.releaseRevoked()
	return nil
}

// lookForDead is the part of lookAfter that asks who lives.
func (c *Consumer) lookForDead() error {
	// Revoked owners may have died or left meanwhile.
	for _, r := range c.revocations {
		if _, err := c.reapIfDead(r.owner); err != nil {
			return err
		}
	}
	if c.mpsc && len(c.batch.rest) == 0 {
		if err := c.resolveHead(); err != nil {
			return err
		}
	}
	every := reapOne
	if c.mpsc {
		every = reapEvery
	}
	if time.Since(c.fates.reaped) < every {
		return nil
	}
	return c.reapAll()
}

// releaseRevoked stores ReadPos behind revoked claims whose owners were found to be gone. The call may
// be about to tell of that, and who is told makes the next one when he likes: producers have the room
// before.
func (c *Consumer) releaseRevoked() {
	if len(c.revocations) != 0 {
		c.flushReadPos()
	}
}

// reapAll looks for dead producers. Their locks were taken (L2), so everything they had
// committed is visible then, and their fates are behind it.
func (c *Consumer) reapAll() error {
	c.fates.reaped = time.Now()
	for i := 1; i < len(c.participants); i++ {
		if !c.participants[i].State.Load().Attached() {
			continue
		}
		if _, err := c.reapIfDead(i); err != nil {
			return err
		}
	}
	return nil
}

// chores are what a consumer does now and then that never runs dry: it stores ReadPos, and
// tells of streams that were over meanwhile. One that may wait also asks its context, and
// looks for dead producers, which Try calls leave to Check.
func (c *Consumer) chores(ctx context.Context) error {
	c.looked = c.acked
	c.flushReadPos()
	if ctx != noWait {
		select {
		case <-ctx.Done():
			c.comeBack()
			return c.wrap(contextError("receive", ctx))
		default:
		}
		if c.fates.chores++; c.mpsc && c.fates.chores&7 == 0 && time.Since(c.fates.reaped) > reapEvery {
			if err := c.reapAll(); err != nil {
				return err
			}
			c.releaseRevoked()
		}
	}
	if len(c.batch.rest) > 0 || !c.fates.more && c.hot.News.Load() == c.fates.news {
		return nil
	}
	err := c.tellBefore()
	if err == nil || err == ErrEmpty {
		return nil // the rest at the next chores
	}
	c.releaseRevoked()
	return err
}

// hasNews tells whether the next call has something to say.
func (c *Consumer) hasNews() bool {
	return len(c.batch.rest) > 0 || c.isReady() || c.hot.News.Load() != c.fates.news || c.Closed() ||
		c.fates.more && c.hasCome()
}

// hasCome tells whether the consumer has come to what there is to say besides the news: a
// fate that was ahead, or io.EOF.
func (c *Consumer) hasCome() bool {
	return int64(c.pos-c.fates.next) >= 0 || c.areEnough() && c.isOver()
}

// isDue is what a blocked call waits for: a finished record, or news.
func (c *Consumer) isDue() bool { return c.isReady() || c.hot.News.Load() != c.fates.news }

// resolveHead deals with an unfinished claim at the head of an MPSC ring: it records the
// claim if nobody has, and discards it if its owner is dead. It waits for a live owner,
// however long that takes.
func (c *Consumer) resolveHead() error {
	pos := c.pos
	c.stalled = false
	v, found, err := c.claimAt(pos)
	if err != nil {
		return c.failWith(err)
	}
	if !found {
		return nil
	}
	owner := int(v.Owner())
	dead, err := c.reapIfDead(owner)
	if err != nil {
		return err
	}
	if !dead {
		c.stalled = true
		return c.noteStall(pos, v)
	}
	if !c.discard(pos, v) {
		return nil // its owner had committed before it died
	}
	c.count(layout.Skipped, 1)
	c.record(layout.EventSkipped, owner, 0, pos)
	if c.cfg.OnSkip != nil {
		k := SkippedClaim{Position: pos, Slots: int(v.Slots()), PID: int(c.participants[owner].PID.Load())}
		return c.callOut(func() { c.cfg.OnSkip(k) })
	}
	return nil
}

// StalledClaim describes a claim at the head of an MPSC ring whose owner is alive and has
// not finished it: stopped, debugged, starved of processor time, or just slow. The
// consumer waits for it, however long it takes; [ForceSkip] is for those who know better.
type StalledClaim struct {
	Position uint64        `json:"position"`
	Slots    int           `json:"slots"`
	Producer int           `json:"producer"` // participant slot
	PID      int           `json:"pid"`      // as the owner sees itself; for people
	Age      time.Duration `json:"age_ns"`   // since the consumer first met it
}

// stall is a StalledClaim while it lasts.
type stall struct {
	StalledClaim
	ctl      layout.Ctl
	since    time.Time
	reported bool
}

// reportStallAfter is how old a stalled claim is when Config.OnStall is called.
const reportStallAfter = time.Second

// noteStall notes that the claim at pos is unfinished and its owner alive.
func (c *Consumer) noteStall(pos uint64, v layout.Ctl) error {
	s := c.fates.stall.Load()
	if s == nil || s.Position != pos {
		owner := int(v.Owner())
		s = &stall{ctl: v, since: time.Now()}
		s.StalledClaim = StalledClaim{
			Position: pos, Slots: int(v.Slots()), Producer: owner, PID: int(c.participants[owner].PID.Load()),
		}
		c.fates.stall.Store(s)
	}
	if age := time.Since(s.since); !s.reported && c.cfg.OnStall != nil && age >= reportStallAfter {
		s.reported = true
		claim := s.StalledClaim
		claim.Age = age
		return c.callOut(func() { c.cfg.OnStall(claim) })
	}
	return nil
}

// callOut calls the user's code, which may close the handle, or panic.
func (c *Consumer) callOut(f func()) error {
	c.leave()
	c.callUser(f)
	if !c.enter() {
		return c.closeReason()
	}
	return nil
}

// stalledClaim is the claim that holds the ring up at present, or nil. Any goroutine may
// ask.
func (c *Consumer) stalledClaim() *StalledClaim {
	s := c.fates.stall.Load()
	if s == nil || c.ctl(s.Position).Load() != s.ctl {
		return nil
	}
	now := s.StalledClaim
	now.Age = time.Since(s.since)
	return &now
}
