package spec

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
	seeFull                    // there is no room
	comeBack                   // what the last call handed out is handled
	get                        // a message, which TryReceive has copied
	borrow                     // a message, for TryNext
	hand                       // a message, to the handler of TryDrain
	seeNothing                 // no message is next
	look                       // a message, or none, that nobody has heard of: its consumer was killed
	hear                       // the call tells of a stream
	hearAnywhere               // likewise: in front of the discarded records that are next, or behind
	flush                      // store ReadPos
	settle                     // likewise, and the call comes back from what the last one told
	handled                    // the handler has returned
	release                    // Message.Release
	skipDead                   // Check: the claim that is next is discarded if its owner is dead
	takeOver                   // a consumer attaches
	die                        // the kernel drops the lock of a client
)

// step is an action of a call. Those of a client happen in their order.
type step struct {
	do     action
	client uint8
	number uint16 // among those of the client
	maybe  bool   // the client was killed: neither this nor any later step of the call need have happened

	over bool   // skipDead: perhaps it takes the dead for alive
	k    uint16 // slots
	id   uint8
	loan uint8
	end  uint16 // of the message that is released
	got  Got
	call *Call // what it is a part of; nil: die
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
	switch {
	case t.do <= seeFull:
		return g.send(list, s, t)
	case t.do <= look:
		return g.receive(list, s, t)
	}
	switch t.do {
	case hear:
		s.said = true
	case hearAnywhere:
		s.said = true
		list = append(list, s)
		g.next(&s)
	case flush:
		g.flush(&s)
	case settle:
		s.said = false
		g.flush(&s)
	case handled:
		g.handled(&s)
	case release:
		g.release(&s, t.loan, t.end)
	case skipDead:
		if t.over {
			list = append(list, s)
		}
		if r := g.at(&s, s.pos); s.pos != s.tail && r.phase == claimed && s.dead>>r.owner&1 != 0 {
			r.phase = discarded
		}
	case takeOver:
		g.takeOver(&s)
	}
	return append(list, s)
}

// send is apply for the steps of producers.
func (g *Geometry) send(list []state, s state, t *step) []state {
	need, mustPad := g.fit(&s, t.k)
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
		if r := g.claimOf(&s, t.client, 0); r != nil {
			r.phase = discarded
		}
	case reserve, publish, claim:
		if mustPad || !g.hasRoom(&s, need) {
			return list
		}
		r := record{phase: committed, slots: uint8(need), owner: t.client, id: t.id}
		if t.do == claim {
			r.phase = claimed
		}
		if t.do != reserve {
			g.add(&s, r)
		}
	case finish, abort:
		r := g.claimOf(&s, t.client, t.id)
		if r == nil {
			return list
		}
		if r.phase = committed; t.do == abort {
			r.phase = discarded
		}
	case seeFull:
		if g.hasRoom(&s, need) {
			return list
		}
	}
	return append(list, s)
}

// receive is apply for the steps that look for a message.
func (g *Geometry) receive(list []state, s state, t *step) []state {
	if t.do == comeBack {
		g.comeBack(&s)
		return append(list, s)
	}
	r := g.next(&s)
	switch {
	case t.do == seeNothing:
		if r != nil {
			return list
		}
		return append(list, s)
	case t.do == look:
		if r != nil {
			g.take(&s, r)
			s.stopped |= 1 << t.client // the rest of the call is private
		}
		return append(list, s)
	case r == nil || r.id != t.got.ID || uint16(r.slots) != t.k:
		return list
	case t.got.Placed && (t.got.Position != uint64(s.pos) || t.got.Redelivered != s.isMarked()):
		return list
	}
	g.take(&s, r)
	switch t.do {
	case get:
		s.implicit = s.pos
	case borrow:
		s.loans++
	}
	return append(list, s)
}
