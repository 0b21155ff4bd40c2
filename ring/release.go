package ring

import (
	"runtime/debug"
	"sync/atomic"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// cursors say how far the consumer has come. All are positions of records.
//
//	 ReadPos
//	released        acked       implicitAck          pos
//	    |-------------|--------------|----------------|------------------>
//	    handled,      handled when   handed out and   not read
//	    not stored    the user       not released
//	                  comes back     (Next, a batch)
//
//	    |----------------------------------|--------|-------------------->
//	                                    exposed    mark
//	                                       |        what the segment says that we may have seen
//	                                       end of the newest record that a handler got
//
// In this order, always: released ≤ acked ≤ implicitAck ≤ pos, and exposed ≤ mark. The
// mark is stored before anybody sees a record, and runs ahead, so that not every record
// costs a store. Whoever takes over marks everything before it as redelivered.
type cursors struct {
	pos         uint64 // next record
	released    uint64 // ReadPos as last stored
	acked       uint64 // what ReadPos may become
	implicitAck uint64 // what coming back for the next message acknowledges
	looked      uint64 // acked when chores were done last
	flushAfter  uint64 // how much may be acknowledged before ReadPos is stored, and before chores

	exposed         uint64 // end of the newest record that a handler got
	mark            uint64 // redelivery mark: records before it may have been seen by this consumer
	markAhead       uint64 // how far the mark runs ahead
	redeliverBefore uint64 // records before this position may have been seen by a former consumer

	newest      Position // of what Next handed out, the last
	returned    Position // of that, the newest that was released, and with it all before it
	outstanding bool     // newest is not released

	revocations []revocation // revoked claims that were passed and may not be released
}

// A consumer stores ReadPos and looks at what else there is to do after so many slots or messages
// of a batch, at most, or of an SPSC ring bytes of records.
const (
	choresEvery = 64
	choresBytes = 4096
)

// short is what is known of the records that come next.
type short struct {
	// until is the position before which a record needs no more than to be like the last: it lies
	// in the same lap, behind what a former consumer may have seen, before the redelivery mark,
	// and when the user comes back for it no chores are due: those depend on how much is
	// acknowledged then, which may be all that was read. Each call that goes the long way takes
	// that back first.
	// On an SPSC ring it is the position up to which it may end.
	until  uint64
	drain  uint64 // inside Drain, where it is time to store ReadPos that counts
	most   uint64 // the longest message that goes the short way, in bytes
	sender *tally // of its producer
	about  about  // of its messages, but for their kind

	word  layout.Ctl // MPSC: its control word
	slots uint64     // which says so many

	like  uint64 // SPSC: what its word has in common with the last
	align uint64 // and what the word behind it is aligned to, less one
	// dryAt: at this position the ring was empty and nothing is left to be done, see TryReceive. Who
	// releases takes it back.
	dryAt uint64
}

// endShort ends the short way: what the next call does is not known any more.
func (c *Consumer) endShort() { c.short.until, c.short.drain, c.short.dryAt = c.pos, c.pos, c.pos-1 }

// start begins at a position. A former consumer has marked records before another one.
func (c *cursors) start(pos, marked uint64) {
	c.pos, c.released, c.acked, c.implicitAck, c.looked = pos, pos, pos, pos, pos
	c.redeliverBefore, c.mark, c.exposed = marked, marked, marked
	c.newest = Position{pos - 1, 0}
	c.returned = c.newest
}

// invariant panics if the cursors are out of order. Builds with the tag invariants call it
// at the end of each call.
func (c *cursors) invariant() {
	inOrder := func(a, b uint64) bool { return int64(b-a) >= 0 }
	switch {
	case !inOrder(c.released, c.acked):
		panic("shmring: released > acked")
	case !inOrder(c.acked, c.implicitAck):
		panic("shmring: acked > implicitAck")
	case !inOrder(c.implicitAck, c.pos):
		panic("shmring: implicitAck > pos")
	case !inOrder(c.exposed, c.mark):
		panic("shmring: exposed > mark")
	case c.returned.Compare(c.newest) > 0 || c.outstanding != (c.returned != c.newest):
		panic("shmring: loans do not add up")
	}
}

// skip moves over a record that holds nothing for the user. If all before it is handled,
// so is it.
func (c *cursors) skip(k uint64) {
	switch c.pos {
	case c.acked:
		c.acked += k
		c.implicitAck = c.acked
	case c.implicitAck:
		c.implicitAck += k
	}
	c.pos += k
}

// mayBeSeen tells whether a former consumer may have handled the record at pos.
func (c *cursors) mayBeSeen(pos, count uint64) bool { return c.redeliverBefore-pos-1 < count }

// ack notes that everything before end is handled.
func (c *cursors) ack(end uint64) {
	if int64(end-c.acked) > 0 {
		c.acked = end
	}
}

// handled notes that a handler has returned from everything before end, and tells whether it
// is time to store ReadPos.
func (c *cursors) handled(end uint64) (flushDue bool) {
	c.implicitAck = end
	if !c.outstanding {
		c.ack(end)
	}
	return c.flushDue()
}

// ackImplicit is ack of what the user has handled by making the next call, if nothing is
// on loan. It tells whether it is time for chores.
func (c *Consumer) ackImplicit() (choresDue bool) {
	if c.view.viewing {
		c.endView()
	}
	c.endShort()
	if !c.outstanding {
		c.ack(c.implicitAck)
	}
	return c.acked-c.looked >= c.flushAfter
}

// endView is coming back for what the View has handed out.
func (c *Consumer) endView() {
	v, b := &c.view, &c.batch
	v.viewing = false
	v.stopWindow()
	taken, off := atomic.SwapUint64(&v.taken, 0), atomic.LoadUint64(&v.off)
	switch {
	case !c.mpsc:
		c.pos = v.start + off
	case taken != 0:
		b.index += uint32(taken >> 32)
		if b.rest = b.rest[off-v.first:]; len(b.rest) == 0 {
			b.rest = nil
			c.pos = b.end
		}
		c.lookSoon() // as in peekEntry
	}
	c.received[v.about.from()].addAll(taken>>32, taken&(1<<32-1))
	c.pending += int(taken >> 32)
	if c.implicitAck = c.pos; b.rest != nil {
		c.implicitAck = b.start
	}
}

// stopWindow leaves Next nothing.
func (w *window) stopWindow() { atomic.StoreUint64(&w.limit, 0) }

// flushDue tells whether enough is acknowledged to store ReadPos: one store for many
// messages.
func (c *cursors) flushDue() bool { return c.acked-c.released >= c.flushAfter }

// lookSoon makes the next call do chores.
func (c *cursors) lookSoon() { c.looked = c.acked - c.flushAfter }

// expose notes that a handler gets a record up to its end.
func (c *cursors) expose(end uint64) {
	if int64(end-c.exposed) > 0 {
		c.exposed = end
	}
}

// isReady tells whether a finished record is next.
func (c *Consumer) isReady() bool {
	if !c.mpsc {
		return c.load(c.pos) != 0 // D2
	}
	g, pos := &c.slots, c.pos
	return g.desc[pos&g.mask].Ctl.Load().IsFinished(layout.LapOf(pos, g.shift)) // D2
}

// leave ends a call that enter began.
func (c *Consumer) leave() {
	if invariants {
		c.invariant()
	}
	c.gate.leave()
}

// setMark writes down that everything before a position may have been seen. Not inlined:
// see Producer.cacheReadPos.
//
//go:noinline
func (c *Consumer) setMark(pos uint64) {
	c.mark = pos
	c.participants[layout.ConsumerIndex].DrainPos.Store(pos)
	killpoint.At(killpoint.MarkStored)
}

// flushReadPos stores ReadPos if anything was acknowledged since the last time, and a waypoint before.
func (c *Consumer) flushReadPos() {
	if c.acked == c.released {
		return
	}
	to := c.acked
	if len(c.revocations) != 0 {
		if to = c.limitByRevocations(to); to == c.released {
			return
		}
	}
	c.released = to
	// Leave a waypoint: how many messages there are before the next record.
	n := c.way.messages + uint64(c.pending)
	if len(c.batch.rest) > 0 {
		n -= uint64(c.batch.index) // its record is still next
	}
	c.way.turn++
	c.leaveWaypoint(c.way.turn, c.pos, n)
	c.hot.ReadPos.Store(to) // S1
	killpoint.At(killpoint.ReadPosStored)
	c.notify()
	if c.fates.back != 0 {
		c.note()
	}
	if c.pending >= flushDeltasAt {
		c.flushDeltas()
	}
}

// way is what a consumer knows of the messages before its position.
type way struct {
	messages uint64 // there, but for those that are pending
	turn     uint64 // layout.Waypoints.Turn
}

// openWaypoints counts on where the consumer begins.
func (c *Consumer) openWaypoints() {
	c.way.messages = c.messagesBefore(c.pos)
	c.way.turn = atomic.LoadUint64(&c.hot.Waypoints.Turn)
}

// returnLoan releases a message that Next handed out. Nearly always that is the newest, and nothing was
// read since: then everything read goes with it, also what was skipped behind it.
func (c *Consumer) returnLoan(m Message) {
	if !c.enter() {
		c.returnLoanClosed(m)
		return
	}
	index := uint32(m.place >> placeIndex)
	if m.start != c.newest.Record || index != c.newest.Index || !c.outstanding || c.view.viewing ||
		int64(c.implicitAck-m.start) > 0 {
		c.returnOther(m)
		return
	}
	c.outstanding = false
	c.returned.Record, c.returned.Index = m.start, index
	pos := c.pos
	c.short.dryAt = pos - 1 // something is to be released now
	c.implicitAck = pos
	if c.ack(pos); c.flushDue() {
		c.flushReadPos()
	}
	c.leave()
}

// returnOther is returnLoan of any other message. It leaves.
func (c *Consumer) returnOther(m Message) {
	defer c.leave()
	at := Position{m.start, uint32(m.place >> placeIndex)}
	if at.Compare(c.returned) <= 0 {
		return // released before, by itself or with a later one
	}
	end, err := c.endOf(m)
	if err != nil {
		return // has closed the handle, and shows at its next call
	}
	if c.returned = at; at == c.newest {
		c.outstanding = false
	}
	c.short.dryAt = c.pos - 1
	if int64(c.implicitAck-end) < 0 { // else Receive has come in between, and its user not come back
		if !c.outstanding && !c.view.viewing {
			end = c.pos
		}
		c.implicitAck = end
	}
	if c.ack(end); c.flushDue() {
		c.flushReadPos()
	}
}

// endOf is what may be released with a message that was taken and not released. Of a record in slots it is not
// in the Message; the descriptor says it, and is not believed if it says more than was read.
func (c *Consumer) endOf(m Message) (uint64, error) {
	switch {
	case m.about&inner != 0:
		return m.start, nil // its record goes with the last of the batch
	case !c.mpsc && m.about&inLines != 0:
		return layout.NextRecord(m.start, uint64(m.about.length()), layout.LineAlign-1), nil
	case !c.mpsc:
		return layout.NextRecord(m.start, uint64(m.about.length()), layout.RecordAlign-1), nil
	}
	v := c.descAt(m.start).Ctl.Load()
	end := m.start + v.Slots()
	if v.Lap() != layout.LapOf(m.start, c.shift) || v.Slots() == 0 || int64(c.pos-end) < 0 {
		return m.start, c.corrupt("control word of a message in use", m.start, uint64(v))
	}
	return end, nil
}

// returnLoanClosed is returnLoan of a handle that is closed, for which the next consumer gets the
// message again, or of a front. A fault has closed the handle, and shows at its next call.
func (c *Consumer) returnLoanClosed(m Message) {
	if c.behind == nil {
		return
	}
	var err error
	defer c.behind.caught(&err, debug.SetPanicOnFault(true))
	c.behind.returnLoan(m)
}

// exposedTo is the end of the newest record of which the user has got anything.
func (c *Consumer) exposedTo() uint64 {
	to := c.pos
	if c.batch.index > 0 && len(c.batch.rest) > 0 {
		to = c.batch.end
	}
	if int64(c.exposed-to) > 0 {
		to = c.exposed
	}
	return to
}

// noteRevocation looks whether a discarded record is a revoked claim. ForceSkip marks the
// owner before it discards the claim, so whoever sees the claim discarded sees the mark
// (F2).
func (c *Consumer) noteRevocation(pos uint64, v layout.Ctl) {
	r := revocation{int(v.Owner()), pos}
	if !c.isProducer(r.owner) || !c.stands(r) {
		return
	}
	for i, known := range c.revocations {
		if known.owner == r.owner {
			c.revocations[i] = r // an owner has one at a time
			return
		}
	}
	c.revocations = append(c.revocations, r)
}

// limitByRevocations is how far ReadPos may go. It forgets revocations that no longer
// stand.
func (c *Consumer) limitByRevocations(to uint64) uint64 {
	standing := c.revocations[:0]
	for _, r := range c.revocations {
		if !c.stands(r) {
			continue
		}
		standing = append(standing, r)
		if int64(to-r.pos) > 0 {
			to = r.pos
		}
	}
	c.revocations = standing
	if int64(to-c.released) < 0 {
		return c.released // cannot be, unless a peer has tampered
	}
	return to
}

// dropSeen skips a record that is lost to the user, because a former consumer may have
// handled it.
//
//go:noinline
func (c *Consumer) dropSeen(k, messages uint64) {
	c.count(layout.Dropped, 1)
	c.way.messages += messages
	c.skip(k)
}

// sum is what was received.
type sum struct{ messages, bytes uint64 }

// flushDeltasAt is how many messages may be missing from the shared counters.
const flushDeltasAt = 4096

// messagesTaken is how many messages this handle has taken so far.
func (c *Consumer) messagesTaken() uint64 { return c.flushed + uint64(c.pending) }

// flushDeltas adds what was received since the last time to the shared counters: to the
// sender's and, in sum, to our own. Counting here costs producers nothing.
func (c *Consumer) flushDeltas() {
	if c.pending == 0 {
		return
	}
	var all sum
	for i := range c.received {
		now := c.received[i].get()
		if now == c.counted[i] {
			continue
		}
		messages, bytes := now.messages-c.counted[i].messages, now.bytes-c.counted[i].bytes
		c.participants[i].Counters[layout.Messages].Add(messages)
		killpoint.At(killpoint.Counted)
		c.participants[i].Counters[layout.Bytes].Add(bytes)
		killpoint.At(killpoint.Counted)
		all.messages += messages
		all.bytes += bytes
		c.counted[i] = now
	}
	c.count(layout.Messages, all.messages)
	c.count(layout.Bytes, all.bytes)
	c.progressed()
	c.flushed += uint64(c.pending)
	c.way.messages += uint64(c.pending)
	c.pending = 0
}
