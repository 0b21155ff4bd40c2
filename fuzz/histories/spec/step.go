package spec

import "slices"

// action is what a call does at one instant, as far as others can tell.
type action uint8

const (
	pad          action = iota // SPSC: publish padding if there has to be some, or do not yet
	reserve                    // SPSC: room for a record that is not there before publish
	publish                    // SPSC: a record is there
	claimPad                   // MPSC: claim padding if there has to be some, or do not yet
	finishPad                  // MPSC: what claimPad claimed is padding
	claim                      // MPSC
	finish                     // MPSC: a claim is committed
	abort                      // MPSC: a claim is discarded
	seeFull                    // there is no room, or another producer has priority
	seeRevoked                 // the handle knows that it has lost a claim
	batchEnd                   // as many messages of a batch were sent as the call says
	takeTurn                   // a priority claim
	endTurn                    // and its end
	leave                      // a producer has closed its handle
	comeBack                   // what the last call handed out is handled
	get                        // a message, which TryReceive has copied
	borrow                     // a message, for TryNext
	hand                       // a message, to the handler of TryDrain or Drain
	seeNothing                 // no message is next
	timeUp                     // likewise, or the context has ended the call after its chores
	look                       // a message, or none, that nobody has heard of: its consumer was killed
	hear                       // the call tells of a stream
	hearAnywhere               // likewise: in front of the records that are passed next, or behind
	flush                      // store ReadPos
	settle                     // likewise, and the call comes back from what the last one told
	handled                    // the handler has returned
	release                    // Message.Release
	skipDead                   // Check: the claim that is next is discarded if its owner is dead
	rest                       // a call that waits may do all that, in any order, or nothing
	force                      // ForceSkip
	reapAny                    // a producer that opens may find that others have died
	count                      // records were passed over as seen
	takeOver                   // a consumer attaches
	giveBack                   // a consumer that closes has stored ReadPos
	remark                     // and then where the mark should be
	die                        // the kernel drops the lock of a client
)

// step is an action of a call. Those of a client happen in their order.
type step struct {
	do     action
	client uint8
	number uint16 // among those of the client
	maybe  bool   // the client was killed: neither this nor any later step of the call need have happened

	over   bool    // skipDead, force: perhaps it takes the dead for alive
	beside []*Call // force: those that commit meanwhile
	once   bool    // of a consumer that delivers at most once
	last   bool    // handled: the call has handed out as many as it may
	early  bool    // of a Send that had the time for a turn: without one, or it does not happen
	more   bool    // of a TrySendBatch: the next step of the client is another of its tries
	k      uint16  // slots
	id     uint8
	loan   uint8
	got    Got   // also what is released
	call   *Call // what it is a part of; nil: die
}

// apply appends to list what a state may become by a step. Nothing: the step is impossible.
func (g *Geometry) apply(list []state, s state, t *step) []state {
	bit := uint8(1) << t.client
	if t.do == die {
		s.dead |= bit
		s.stopped &^= bit
		return append(list, s)
	}
	if s.stopped&bit != 0 {
		return append(list, s)
	}
	if t.maybe {
		stopped := s
		stopped.stopped |= bit
		list = append(list, stopped)
	}
	if s.early&bit != 0 && !t.early { // what comes later has happened
		if t.do == endTurn {
			s.early &^= bit
		}
		return append(list, s)
	}
	switch {
	case t.do <= seeRevoked:
		return g.send(list, s, t)
	case t.do <= leave:
		return g.produce(list, s, t)
	case t.do <= look:
		return g.receive(list, s, t)
	}
	return g.other(list, s, t)
}

// other is apply for steps that neither send nor take a message.
func (g *Geometry) other(list []state, s state, t *step) []state {
	switch t.do {
	case hear:
		s.said = true
	case hearAnywhere:
		s.said = true
		for passed := true; passed; {
			list = append(list, s)
			_, passed = g.pass(&s, t.once)
		}
		return list
	case flush:
		g.flush(&s)
	case settle:
		s.said = false
		g.flush(&s)
	case handled:
		g.handled(&s, t.last)
	case release:
		g.release(&s, t.loan, &t.got)
	case skipDead:
		if t.over {
			list = append(list, s)
		}
		g.reap(&s)
		g.skipGone(&s)
	case rest:
		return g.rest(list, s, t)
	case force:
		return g.force(list, s, t)
	case reapAny:
		list = append(list, s)
		g.reap(&s)
	case count:
		if int(s.dropped) != t.call.N {
			return list
		}
	case takeOver:
		g.takeOver(&s)
	case giveBack:
		g.giveBack(&s)
	case remark:
		g.remark(&s)
	}
	return append(list, s)
}

// send is apply for the steps of producers that claim and commit.
func (g *Geometry) send(list []state, s state, t *step) []state {
	bit := uint8(1) << t.client
	if s.failed&bit != 0 { // it does nothing any more, and says so
		if a := t.call.Answer; a == Revoked || a == None || t.do == abort {
			return append(list, s)
		}
		return list
	}
	k, id, n := t.k, t.id, uint8(0)
	if t.call.Op == TrySendBatch {
		if s.batches[t.client].isOver(t.call) {
			return append(list, s)
		}
		k, id, n = g.nextOf(t.call, s.batches[t.client])
	}
	need, mustPad := g.fit(&s, k)
	switch t.do {
	case pad, claimPad:
		list = append(list, s)
		if !mustPad || !g.hasRoom(&s, need) {
			return list
		}
		r := record{phase: discarded, slots: uint8(need), owner: t.client}
		if t.do == claimPad {
			r.phase = claimed
		}
		g.add(&s, r)
	case finishPad:
		if r := g.find(&s, t.client, 0, claimed); r != nil {
			r.phase = discarded
		} else if g.find(&s, t.client, 0, revoked) != nil {
			s.failed |= bit
		}
	case reserve, publish, claim:
		if n > 0 {
			return g.try(list, s, t)
		}
		if t.early {
			list = append(list, s)
			s.early |= bit
		}
		if mustPad || !g.hasRoom(&s, need) {
			return list
		}
		r := record{phase: committed, slots: uint8(need), owner: t.client, id: id}
		if t.do == claim {
			r.phase = claimed
		}
		if t.do != reserve {
			g.add(&s, r)
		}
	case finish, abort:
		if t.early && s.early&bit == 0 {
			break
		}
		return g.finish(list, s, t, id)
	case seeFull:
		if g.hasRoom(&s, need) && s.turns == 0 {
			return list
		}
	case seeRevoked:
		return list
	}
	return append(list, s)
}

// finish is send for the end of an MPSC ring's claim.
func (g *Geometry) finish(list []state, s state, t *step, id uint8) []state {
	r := g.find(&s, t.client, id, claimed)
	inBatch := t.call.Op == TrySendBatch
	isLost := r == nil && g.find(&s, t.client, id, revoked) != nil
	if r == nil && inBatch { // it may have been padding
		r = g.find(&s, t.client, 0, claimed)
		isLost = isLost || g.find(&s, t.client, 0, revoked) != nil
	}
	switch {
	case isLost && t.call.Answer == OK && t.do == finish:
		return list
	case isLost:
		s.failed |= 1 << t.client
	case r == nil && inBatch: // it was refused
	case r == nil:
		return list
	case t.do == abort || r.id == 0:
		r.phase = discarded
	default:
		r.phase = committed
		if inBatch {
			s.batches[t.client].sent(r)
		}
	}
	return append(list, s)
}

// produce is apply for the other steps of producers.
func (g *Geometry) produce(list []state, s state, t *step) []state {
	bit := uint8(1) << t.client
	switch t.do {
	case batchEnd:
		b := &s.batches[t.client]
		isFull, isRevoked := b.try == refused, s.failed&bit != 0
		if int(b.done) != t.call.N || isFull != (t.call.Answer == Full) || isRevoked != (t.call.Answer == Revoked) ||
			t.call.Answer == OK && t.call.N != len(t.call.Sizes) {
			return list
		}
		*b = progress{}
	case takeTurn:
		s.turns |= bit
	case endTurn:
		s.turns &^= bit
	case leave:
		s.failed &^= bit
		g.change(&s, t.client, revoked, discarded)
		g.change(&s, t.client, claimed, orphan)
	}
	return append(list, s)
}

// receive is apply for the steps that look for a message.
func (g *Geometry) receive(list []state, s state, t *step) []state {
	if t.do == comeBack {
		g.comeBack(&s)
		return append(list, s)
	}
	if t.do == timeUp && s.due {
		list = append(list, s)
	}
	r := g.next(&s, t.once)
	switch {
	case t.do == seeNothing || t.do == timeUp:
		if r != nil {
			return list
		}
		return append(list, s)
	case t.do == look:
		if r != nil {
			list = append(list, s) // it was told of the end of a stream before, and may flush
			g.take(&s, r, t.once)
			s.stopped |= 1 << t.client // the rest of the call is private
		}
		return append(list, s)
	case r == nil || t.got.ID == 0 || r.id+s.index != t.got.ID:
		return list
	case t.got.Placed && (g.placeOf(t.got.Position) != uint64(s.pos) ||
		t.got.Redelivered != s.isMarked() || t.got.Index != s.index):
		return list
	}
	g.take(&s, r, t.once)
	switch t.do {
	case get:
		s.implicit = s.pos
	case borrow:
		s.loans++
	}
	return append(list, s)
}

// rest appends what a call that waits may make of a state while it does.
func (g *Geometry) rest(list []state, s state, t *step) []state {
	first := len(list)
	add := func(s state) {
		if !slices.Contains(list[first:], s) {
			list = append(list, s)
		}
	}
	add(s)
	for i := first; i < len(list); i++ {
		flushed, reaped, passed := list[i], list[i], list[i]
		g.flush(&flushed)
		g.reap(&reaped)
		g.skipGone(&reaped)
		g.pass(&passed, t.once)
		add(flushed)
		add(reaped)
		add(passed)
	}
	return list
}

// isOf tells whether a call that commits may be about to commit this claim.
func (r *record) isOf(call *Call) bool {
	return call.Client == int(r.owner) && (call.Op != Commit || call.ID == r.id)
}

// force is apply for ForceSkip.
func (g *Geometry) force(list []state, s state, t *step) []state {
	r := g.beginsAt(&s, t.call.Position)
	isClaim := r != nil && (r.phase == claimed || r.phase == orphan)
	switch {
	case t.call.Answer == NotStalled:
		if isClaim {
			return list
		}
		return append(list, s)
	case !isClaim:
		return list
	}
	busy := slices.ContainsFunc(s.records[:], func(o record) bool { return o.phase == revoked && o.owner == r.owner })
	if t.call.Answer == Busy {
		if busy && !s.isGone(r) || t.over || slices.ContainsFunc(t.beside, r.isOf) {
			list = append(list, s)
		}
		return list
	}
	if !busy && (!s.isGone(r) || t.over) {
		lost := s
		g.at(&lost, uint16(t.call.Position)).phase = revoked
		list = append(list, lost)
	}
	if s.isGone(r) {
		g.change(&s, r.owner, revoked, discarded)
		r.phase = discarded
		list = append(list, s)
	}
	return list
}
