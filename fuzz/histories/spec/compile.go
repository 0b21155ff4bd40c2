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
	loans [MaxClients][]timed // what TryNext returned
}

func (h *History) steps() []timed {
	c := compiler{h: h}
	for i := range h.Calls {
		call := &h.Calls[i]
		switch {
		case call.Op <= Abort:
			c.sending(call)
		case call.Op != Join:
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

func (c *compiler) add(s step, from, to int64) {
	s.number = c.count[s.client]
	c.count[s.client]++
	c.list = append(c.list, timed{s, from, to})
}

// sending adds the steps of a producer's call.
func (c *compiler) sending(call *Call) {
	k := c.h.slotsFor(call.Size)
	add := func(do action, id uint8) {
		s := step{do: do, client: uint8(call.Client), k: k, id: id, maybe: call.Answer == None, call: call}
		c.add(s, call.Begin, call.End)
	}
	switch call.Op {
	case Commit, Abort:
		switch {
		case c.h.MPSC && call.Op == Abort:
			add(abort, call.ID)
		case c.h.MPSC:
			add(finish, call.ID)
		case call.Op == Commit:
			add(publish, call.ID)
		}
		return
	}
	for range c.paddings(call, k) {
		if c.h.MPSC {
			add(claimPad, 0)
			add(finishPad, 0)
		} else {
			add(pad, 0)
		}
	}
	switch call.Answer {
	case Full:
		add(seeFull, call.ID)
	case None, OK:
		switch {
		case c.h.MPSC && call.Op == TrySend:
			add(claim, call.ID)
			add(finish, call.ID)
		case c.h.MPSC:
			add(claim, call.ID)
		case call.Op == TrySend:
			add(publish, call.ID)
		default:
			add(reserve, call.ID)
		}
	}
}

// paddings is how often a call may have to pad: again if others have claimed a lap less its
// own length meanwhile.
func (c *compiler) paddings(call *Call, k uint16) int {
	if k == 1 {
		return 0
	}
	if !c.h.MPSC {
		return 1
	}
	others := 0
	for i := range c.h.Calls {
		o := &c.h.Calls[i]
		if o.Op <= TryClaim && o.Client != call.Client && o.Begin <= call.End && call.Begin <= o.End {
			others += 2 * int(c.h.slotsFor(o.Size)) // with padding
		}
	}
	return min(4, 1+others/(c.h.Slots-int(k)+1))
}

// receiving adds the steps of a consumer's call.
func (c *compiler) receiving(call *Call) {
	client, maybe := uint8(call.Client), call.Answer == None
	from := call.Begin
	add := func(s step, to int64) {
		s.client, s.call = client, call
		c.add(s, from, to)
	}
	switch call.Op {
	case Open:
		add(step{do: takeOver}, call.End)
		return
	case Release:
		if m := c.loans[client]; call.Loan >= 1 && call.Loan <= len(m) {
			s := m[call.Loan-1]
			end := uint16(s.got.Position) + s.k
			add(step{do: release, loan: uint8(call.Loan), end: end, maybe: maybe}, call.End)
		}
		return
	case Check:
		add(step{do: settle, maybe: maybe}, call.End)
		add(step{do: skipDead, maybe: maybe, over: c.joined(call)}, call.End)
		if call.Answer == Told {
			add(step{do: hear}, call.End)
		}
		return
	}
	end := call.End
	if len(call.Got) > 0 && call.Op == TryDrain {
		end = call.Got[0].At
	}
	add(step{do: comeBack, maybe: maybe && len(call.Got) == 0}, end)
	do := map[Op]action{TryReceive: get, TryNext: borrow, TryDrain: hand}[call.Op]
	for i, m := range call.Got {
		next := call.End
		if i+1 < len(call.Got) {
			next = call.Got[i+1].At
		}
		s := step{do: do, got: m, k: c.h.slotsFor(m.Size)}
		if do != hand {
			add(s, call.End)
			if do == borrow {
				c.loans[client] = append(c.loans[client], timed{step: s})
			}
			continue
		}
		add(s, m.At)
		from = m.At
		add(step{do: handled, maybe: maybe && i+1 == len(call.Got)}, next)
	}
	c.without(call, add)
}

// joined tells whether a producer came during a call. On its way to a free place it holds,
// for a moment, the lock of one that died and left a claim, which then looks alive.
func (c *compiler) joined(call *Call) bool {
	for i := range c.h.Calls {
		o := &c.h.Calls[i]
		if o.Op == Join && o.Begin <= call.End && call.Begin <= o.End {
			return true
		}
	}
	return false
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
	case call.Answer == Empty:
		add(step{do: seeNothing}, call.End)
		add(step{do: flush}, call.End)
	case call.Op == TryDrain && n < call.Max:
		add(step{do: seeNothing}, call.End)
	}
}
