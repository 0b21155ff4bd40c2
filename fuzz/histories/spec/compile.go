package spec

// timed is a step and when it may have happened.
type timed struct {
	step
	from, to int64
}

// compiler makes the steps of a history.
type compiler struct {
	h     *History
	list  []timed
	count [MaxClients]uint16
	loans [MaxClients][]Got // what TryNext returned
	sizes [MaxIDs]int       // of messages
	slots [MaxIDs]uint16    // of claims: Shorten leaves them as they are
	force bool              // there are ForceSkips
	early bool              // see step.early
}

func (h *History) steps() []timed {
	c := compiler{h: h}
	for i := range h.Calls {
		c.learn(&h.Calls[i])
	}
	for i := range h.Calls {
		if call := &h.Calls[i]; call.Op <= Join {
			c.sending(call)
		} else {
			c.receiving(call)
		}
	}
	for _, d := range h.Deaths {
		last := d.Last
		for _, call := range h.Calls {
			if call.Client == d.Client && call.Answer == None {
				last = call.Begin
			}
		}
		c.add(step{do: die, client: uint8(d.Client)}, last, d.Dead)
	}
	return c.list
}

// learn notes what other calls have to know of one.
func (c *compiler) learn(call *Call) {
	switch call.Op {
	case ForceSkip:
		c.force = true
	case TrySendBatch:
		for i, size := range call.Sizes {
			c.sizes[int(call.ID)+i] = size
		}
	case TryClaim:
		c.slots[call.ID] = c.h.slotsFor(call.Size)
	case TrySend, Send, Commit:
		c.sizes[call.ID] = call.Size
	}
}

func (c *compiler) add(s step, from, to int64) {
	s.number = c.count[s.client]
	c.count[s.client]++
	c.list = append(c.list, timed{s, from, to})
}

// sending adds the steps of a producer's call.
func (c *compiler) sending(call *Call) {
	s := step{client: uint8(call.Client), k: c.h.slotsFor(call.Size), id: call.ID, maybe: call.Answer == None, call: call}
	from := call.Begin
	add := func(do action) {
		s := s
		s.early = c.early
		if s.do = do; do == claimPad || do == finishPad || do == pad {
			s.id = 0
		}
		c.add(s, from, call.End)
	}
	switch call.Op {
	case Leave:
		add(leave)
	case Join:
		if c.force {
			add(reapAny)
		}
	case Commit, Abort:
		if s.k = c.slots[call.ID]; c.h.InLine {
			s.k = c.h.slotsFor(call.Size) // what was not used is given back
		}
		switch {
		case c.h.MPSC && call.Op == Abort:
			add(abort)
		case c.h.MPSC:
			add(finish)
		case call.Op == Commit:
			add(publish)
		}
	case TrySendBatch:
		first := len(c.list)
		for range call.attempts() + c.paddings(call) {
			if c.h.MPSC {
				add(claim)
				add(finish)
			} else {
				add(publish)
			}
		}
		for i := first; i < len(c.list)-1; i++ {
			c.list[i].more = true
		}
		if call.Answer != None {
			add(batchEnd)
		}
		return
	case Send:
		c.waiting(call, &from, add)
	default:
		if c.record(call, add); call.Answer == Full {
			add(seeFull)
		}
	}
	if call.Answer == Revoked {
		add(seeRevoked)
	}
}

// record adds the steps of a try to claim a record, and unless the call is a TryClaim to commit
// it.
func (c *compiler) record(call *Call, add func(action)) {
	for range c.paddings(call) {
		if c.h.MPSC {
			add(claimPad)
			add(finishPad)
		} else {
			add(pad)
		}
	}
	if call.Answer != OK && call.Answer != None && call.Answer != Revoked {
		return
	}
	switch {
	case c.h.MPSC && call.Op != TryClaim:
		add(claim)
		add(finish)
	case c.h.MPSC:
		add(claim)
	case call.Op != TryClaim:
		add(publish)
	default:
		add(reserve)
	}
}

// priorityAfter is how long a call has waited, in nanoseconds, before it claims priority.
const priorityAfter = 5_000_000

// waiting adds the steps of a call that waits for room. Its other steps may come later than
// from.
func (c *compiler) waiting(call *Call, from *int64, add func(action)) {
	hasTurn := c.h.MPSC && call.End-call.Begin >= priorityAfter
	if call.Answer == TimedOut {
		c.record(call, add)
		add(seeFull)
	}
	if hasTurn {
		if call.Answer != TimedOut {
			// There may have been room before: it is not for a turn alone that a call takes so long.
			c.early = true
			c.record(call, add)
			c.early = false
		}
		*from = call.Begin + priorityAfter
		add(takeTurn)
	}
	if c.record(call, add); hasTurn {
		add(endTurn)
	}
}

// slotsOf is how many slots a call claims at most, without padding.
func (c *compiler) slotsOf(call *Call) (k int) {
	if call.Op > TryClaim {
		return 0
	}
	for _, size := range call.Sizes {
		k += int(c.h.slotsFor(size))
	}
	if call.Op != TrySendBatch {
		k = int(c.h.slotsFor(call.Size))
	}
	return k
}

// paddings is how often a call may have to pad: again if others have claimed a lap less its own
// length meanwhile, or a batch itself has.
func (c *compiler) paddings(call *Call) int {
	k := int(c.h.slotsFor(call.Size))
	if call.Op == TrySendBatch {
		k = 1
		for i := range call.Sizes {
			whole, _, _ := c.h.nextOf(call, progress{done: uint8(i)})
			k = max(k, int(whole))
		}
	}
	if k == 1 {
		return 0
	}
	if !c.h.MPSC && call.Op != TrySendBatch {
		return 1
	}
	others := 0
	if call.Op == TrySendBatch {
		others = c.slotsOf(call)
	}
	for i := range c.h.Calls {
		if o := &c.h.Calls[i]; o.Client != call.Client && o.overlaps(call) {
			others += 2 * c.slotsOf(o) // with padding
		}
	}
	return min(4, 1+others/(int(c.h.slots())-k+1))
}

func (c *Call) overlaps(o *Call) bool { return c.Begin <= o.End && o.Begin <= c.End }

// rests is at how many moments a call that waits may look after the ring: ReadPos stored at one is
// room for a message that is taken at a later one.
const rests = 3

// receiving adds the steps of a consumer's call.
func (c *compiler) receiving(call *Call) {
	client, maybe := uint8(call.Client), call.Answer == None
	from := call.Begin
	add := func(s step, to int64) {
		s.client, s.call, s.once = client, call, c.h.AtMostOnce[client]
		c.add(s, from, to)
	}
	switch call.Op {
	case Open:
		c.loans[client] = nil
		add(step{do: takeOver, maybe: maybe}, call.End)
		return
	case Stop:
		add(step{do: giveBack, maybe: maybe}, call.End)
		add(step{do: remark, maybe: maybe}, call.End)
		return
	case Release:
		if m := c.loans[client]; call.Loan >= 1 && call.Loan <= len(m) {
			add(step{do: release, loan: uint8(call.Loan), got: m[call.Loan-1], maybe: maybe}, call.End)
		}
		return
	case Check:
		c.check(call, add)
		return
	case ForceSkip:
		add(step{do: force, maybe: maybe, over: c.joined(call), beside: c.committing(call)}, call.End)
		return
	case Dropped:
		if !maybe {
			add(step{do: count}, call.End)
		}
		return
	}
	end := call.End
	if len(call.Got) > 0 && (call.Op == TryDrain || call.Op == Drain) {
		end = call.Got[0].At
	}
	add(step{do: comeBack, maybe: maybe && len(call.Got) == 0}, end)
	if call.Op == Drain {
		for range rests {
			add(step{do: rest, maybe: maybe && len(call.Got) == 0}, end)
		}
	}
	do := map[Op]action{TryReceive: get, TryNext: borrow, TryDrain: hand, Drain: hand}[call.Op]
	for i, m := range call.Got {
		next := call.End
		if i+1 < len(call.Got) {
			next = call.Got[i+1].At
		}
		s := step{do: do, got: m}
		if m.Size != c.sizes[m.ID] {
			s.got.ID = 0 // nobody has sent that
		}
		if do != hand {
			add(s, call.End)
			if do == borrow {
				c.loans[client] = append(c.loans[client], m)
			}
			continue
		}
		add(s, m.At)
		from = m.At
		add(step{do: handled, last: i+1 == call.Max, maybe: maybe && i+1 == len(call.Got)}, next)
	}
	c.without(call, add)
}

// check adds the steps of a Check.
func (c *compiler) check(call *Call, add func(step, int64)) {
	maybe := call.Answer == None
	add(step{do: settle, maybe: maybe}, call.End)
	add(step{do: skipDead, maybe: maybe, over: c.joined(call)}, call.End)
	add(step{do: flush, maybe: maybe}, call.End)
	if call.Answer == Told {
		add(step{do: hear}, call.End)
	}
}

// joined tells whether a producer came during a call. On its way to a free place it holds,
// for a moment, the lock of one that died and left a claim, which then looks alive.
func (c *compiler) joined(call *Call) bool {
	for i := range c.h.Calls {
		if o := &c.h.Calls[i]; o.Op == Join && o.overlaps(call) {
			return true
		}
	}
	return false
}

// committing are the calls during a ForceSkip that commit claims. One that is about to is left alone.
func (c *compiler) committing(call *Call) (calls []*Call) {
	for i := range c.h.Calls {
		if o := &c.h.Calls[i]; (o.Op <= TrySendBatch || o.Op == Commit) && o.overlaps(call) {
			calls = append(calls, o)
		}
	}
	return calls
}

// without adds the steps of a receiving call that found no more messages.
func (c *compiler) without(call *Call, add func(step, int64)) {
	n := len(call.Got)
	switch {
	case call.Answer == None:
		add(step{do: look, maybe: true}, call.End)
		if n == 0 {
			add(step{do: flush, maybe: true}, call.End)
		}
	case call.Answer == Told:
		add(step{do: hearAnywhere}, call.End)
		add(step{do: flush}, call.End)
	case call.Answer == TimedOut:
		add(step{do: timeUp}, call.End)
		add(step{do: rest}, call.End)
	case call.Answer == Empty:
		add(step{do: seeNothing}, call.End)
		add(step{do: flush}, call.End)
	case (call.Op == TryDrain || call.Op == Drain) && n < call.Max:
		add(step{do: seeNothing}, call.End)
	}
}
