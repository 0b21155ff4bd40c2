package spec

// A batch is sent in records, each of as many messages as may be in one. Where there is no room
// for so many, half as many are tried, and in the end a message alone; if that has no room
// either, the batch ends there. On an SPSC ring each message is alone.

const (
	entryHeader = 8
	entryAlign  = 8
	batchBytes  = 32 << 10 // the most that is packed into a record, in bytes
)

// entrySize is what a message of n bytes takes in a batch.
func entrySize(n int) int { return entryHeader + (n+entryAlign-1)&^(entryAlign-1) }

// isOver tells whether nothing of a batch is left to be tried.
func (p progress) isOver(c *Call) bool { return p.try == refused || int(p.done) == len(c.Sizes) }

// sent notes that the record r is there.
func (p *progress) sent(r *record) { *p = progress{done: p.done + max(1, r.n)} }

// nextOf is the record that is tried next: its slots, its first message, and how many.
func (g *Geometry) nextOf(c *Call, p progress) (k uint16, id, n uint8) {
	most, left := int(p.try), c.Sizes[p.done:]
	if most == 0 {
		most = len(left)
	}
	oneSlot := max(inline, g.SlotSize)
	limit := min(g.Slots*g.SlotSize, max(batchBytes, oneSlot), max(oneSlot, g.Slots/4*g.SlotSize))
	size := 0
	for int(n) < most && size+entrySize(left[n]) <= limit {
		size += entrySize(left[n])
		n++
	}
	if n <= 1 || g.InLine { // there each message has a record
		n, size = 1, left[0]
	}
	return g.slotsFor(size), c.ID + p.done, n
}

// try is send for a record of a batch, which may have to be smaller, or for the padding before
// it.
func (g *Geometry) try(list []state, s state, t *step) []state {
	p := &s.batches[t.client]
	// Now and then, every so many slots, a call begins anew with what is left.
	if p.try != 0 && s.tail >= lookEvery {
		anew := s
		anew.batches[t.client].try = 0
		list = append(list, anew)
	}
	k, id, n := g.nextOf(t.call, *p)
	need, mustPad := g.fit(&s, k)
	isFull := !g.hasRoom(&s, need)
	if s.turns != 0 { // and so it is where another producer has priority
		held := s
		held.batches[t.client].refuse(n)
		list = append(list, held)
	}
	switch {
	case isFull:
		p.refuse(n)
	default:
		r := record{phase: committed, slots: uint8(need), owner: t.client, id: id}
		switch {
		case mustPad: // it comes again for the record
			r.phase, r.id = discarded, 0
		case n > 1:
			r.n = n
		}
		if t.do == claim {
			r.phase = claimed
		}
		g.add(&s, r)
		if r.phase == committed {
			p.sent(&r)
		}
	}
	return append(list, s)
}

// lookEvery is after how many slots a sending call looks at what else there is.
const lookEvery = 64

// refuse notes that there was no room for a record of n messages.
func (p *progress) refuse(n uint8) {
	if p.try = n / 2; n == 1 {
		p.try = refused
	}
}

// attempts is how many records a call may have tried, at most.
func (c *Call) attempts() (total int) {
	most, sent := len(c.Sizes), c.N
	if c.Answer == None {
		sent = most
	}
	for i := 0; i <= sent && i < most; i++ {
		for n := most - i; n > 0; n /= 2 {
			total++
		}
	}
	return total + 2 // where it begins anew
}

// isBusy tells whether the call that a step is of, a TrySendBatch, has anything left to try.
func (t *timed) isBusy(s state) bool {
	bit := uint8(1) << t.client
	return s.stopped&bit == 0 && s.failed&bit == 0 && !s.batches[t.client].isOver(t.call)
}
