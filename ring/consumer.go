package ring

import (
	"time"

	"github.com/shmring/shmring/layout"
)

// Consumer is the receiving half of a ring. It is for one goroutine at a time, and that
// includes the release of its messages; Close, Stats, Used and the other getters may be
// called from anywhere.
//
// Delivery is at least once: a message is released after it was handled, that is by
// Release, or by coming back for the next one ([Consumer.Receive], [Consumer.TryReceive]),
// or by the handler's return ([Consumer.Drain], [Consumer.All]). If the process dies
// before, the next consumer gets it again. Releases are gathered, so that may be up to 4 KiB of
// records on an SPSC ring (an eighth of it, if that is less), on an MPSC ring up to 64
// messages (fewer on rings under 512 slots) and the batches they belong to. With
// Config.AtMostOnce the next consumer skips what this one may have seen.
type Consumer struct {
	_ [128]byte // a handle that is written at every message shares no line with its neighbour
	handle

	// Touched by the one goroutine inside enter and leave.
	cursors
	reader
	short   short
	backoff backoff
	view    View
	fates   fates
	way     way
	behind  *Consumer // of a front: see guard.go
	measure *measure  // of a front: see measure.go
	_       [128]byte
}

// NewConsumer attaches the consumer to a ring. It goes on at ReadPos: behind the last
// message that was released. The error is a *BusyError when the ring has a live consumer,
// ErrBroadcast, or a *CorruptError.
func NewConsumer(v *layout.View, cfg Config) (*Consumer, error) {
	if v.Config.Kind == layout.Broadcast {
		return nil, ErrBroadcast
	}
	c := &Consumer{}
	c.handle.init(v, cfg)
	c.single = true
	c.sleepWord, c.sleepBell = &v.Hot.DataBell, cfg.DataBell
	c.notifyWord, c.notifyBell = &v.Hot.SpaceBell, cfg.SpaceBell
	c.sleepAlone = true
	if err := c.attach(layout.RoleConsumer); err != nil {
		return nil, err
	}
	c.received, c.counted = make([]tally, len(c.participants)), make([]sum, len(c.participants))
	c.short.like = 1 // no word is like that
	c.usual = layout.PackCtl(0, 1, layout.ConsumerIndex+1, layout.Committed)
	c.patience = int64(min(c.slots.count, mostPassed))
	if c.flushAfter = max(1, min(choresEvery, c.slots.count/8)); !c.mpsc {
		c.patience = mostPassed
		c.flushAfter = min(choresBytes, c.size/8)
		c.backoff.each = v.Hot.DataBell.Load()&layout.BellEach != 0
		c.short.most = uint64(min(c.maxMessage, copyPiece))
		c.short.sender, c.short.about = &c.received[fromSPSC], describe(fromSPSC, false)
	}
	c.openPromise()
	// What a consumer may have seen is still so after others have come and gone.
	pos, marked := c.hot.ReadPos.Load(), c.participants[layout.ConsumerIndex].DrainPos.Load()
	if !c.mpsc && pos%layout.RecordAlign != 0 {
		return nil, &CorruptError{"ReadPos", pos, pos}
	}
	if marked-pos > c.span {
		// On an SPSC ring ReadPos leaves the mark behind by a padding at most. (On an MPSC ring
		// there is Tail to compare it with.)
		if !c.mpsc && pos-marked > c.span {
			return nil, c.corrupt("ReadPos", marked, pos)
		}
		marked = pos
		c.setMark(pos)
	}
	c.cursors.start(pos, marked)
	c.openWaypoints()
	c.endShort()
	c.resume()
	if !cfg.AtMostOnce {
		c.markAhead = c.flushAfter
	}
	return c, nil
}

// Guarded returns a front of c: a Consumer whose Receive, Next, Drain and All, their Try calls and
// the Release of its messages do what those of c do, and return the error of Config.Memory where
// memory of the ring is missing. A handler of Drain that meets such a fault ends there. For all
// else there is c.
func (c *Consumer) Guarded() *Consumer {
	front := &Consumer{behind: c}
	front.beNowhere()
	front.origin = c.origin                    // of its messages
	front.short.like, front.short.dryAt = 1, 1 // nothing is like that, and no ring is empty there
	front.pose()
	return front
}

// Measured makes the Consumer measure the messages that have a stamp, and returns a front of it to be used
// in its place, as that of Guarded.
func (c *Consumer) Measured() *Consumer {
	front := c.Guarded()
	front.measure = &measure{}
	return front
}

// Close ends this handle: calls that wait and all later ones return ErrClosed. What was
// received but not released goes to the next consumer; what [Consumer.Receive] returned
// last counts as handled. It returns when no call is in progress any more, except that a
// handler of Drain may still be at work, and may itself call Close. Only the first Close
// reports true.
func (c *Consumer) Close() bool {
	if !c.close(c.stop, c.isLost) {
		return false
	}
	if c.view.viewing {
		c.closeView()
	}
	if !c.outstanding {
		c.acked = c.implicitAck
	}
	// To close is to come back. A Poller may be looking at batch at this moment: it stays.
	c.fates.back = len(c.fates.unnoted)
	c.flushReadPos()
	c.note()
	c.flushDeltas()
	if to := c.exposedTo(); to != c.mark {
		c.setMark(to)
	}
	return true
}

// Check looks for dead producers, as every blocking call does by itself: it discards the
// claim of a dead producer that stands at the head of the ring, and finds the deaths of
// producers. Programs that only use the Try calls call it now and then; it
// makes a system call or two. Errors: *StreamError, io.EOF, ErrClosed, *CorruptError,
// and whatever Config.Check returns.
func (c *Consumer) Check() error {
	if !c.enter() {
		return c.closeReason()
	}
	defer c.leave()
	outside := c.checkOutside() // before any byte is touched, which may be there no more
	if c.Closed() {
		return outside
	}
	if c.view.viewing {
		c.endView() // which is not to come back
	}
	c.comeBack()
	c.fates.reaped = time.Time{} // now, whenever that was last
	if err := c.maintain(); err != nil {
		return err
	}
	return outside
}

// Facade is Config.Facade.
func (c *Consumer) Facade() any { return c.cfg.Facade }

// Stats returns what this handle has counted so far, and the claim that holds it up. Any
// goroutine may ask while the handle is open. Messages and Bytes are of this moment, though
// they get into the segment later: before it sleeps, when it closes, and every few thousand
// messages.
func (c *Consumer) Stats() Stats {
	s := c.handle.Stats()
	s.Messages, s.Bytes = 0, 0
	for i := range c.received {
		all := c.received[i].get()
		s.Messages += all.messages
		s.Bytes += all.bytes
	}
	s.Stalled = c.stalledClaim()
	return s
}
