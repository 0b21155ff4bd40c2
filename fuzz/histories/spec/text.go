package spec

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// String lists the calls in the order of their begins.
func (h *History) String() string {
	var b strings.Builder
	kind := "spsc"
	if h.MPSC {
		kind = "mpsc"
	}
	fmt.Fprintf(&b, "%s, %d slots of %d bytes\n", kind, h.Slots, h.SlotSize)
	calls := slices.Clone(h.Calls)
	slices.SortStableFunc(calls, func(a, b Call) int { return cmp.Compare(a.Begin, b.Begin) })
	var start int64
	if len(calls) > 0 {
		start = calls[0].Begin
	}
	for i := range calls {
		m := calls[i]
		m.Begin, m.End = m.Begin-start, m.End-start
		fmt.Fprintf(&b, "%9d to %9d  client %d  %s\n", m.Begin, m.End, m.Client, m.describe(&h.Geometry))
		for _, got := range m.Got {
			fmt.Fprintf(&b, "%36s%s\n", "", got.describe(start))
		}
	}
	for _, d := range h.Deaths {
		fmt.Fprintf(&b, "%9d to %9d  client %d  is killed\n", d.Last-start, d.Dead-start, d.Client)
	}
	return b.String()
}

func (c *Call) describe(g *Geometry) string {
	text := c.Op.String()
	switch {
	case c.Op == TrySendBatch:
		text += fmt.Sprintf(" messages from %d on, of %d bytes: %d sent", c.ID, c.Sizes, c.N)
	case c.Op <= Abort:
		text += fmt.Sprintf(" message %d, %d bytes, %d slots", c.ID, c.Size, g.slotsFor(c.Size))
	case c.Op == ForceSkip:
		text += fmt.Sprintf(" position %d", c.Position)
	case c.Op == Dropped:
		text += fmt.Sprintf(" %d", c.N)
	case c.Op == Release:
		text += fmt.Sprintf(" loan %d", c.Loan)
	case c.Op == TryDrain || c.Op == Drain:
		text += fmt.Sprintf(" at most %d", c.Max)
	}
	return text + ": " + c.Answer.String()
}

func (m *Got) describe(start int64) string {
	text := fmt.Sprintf("message %d, %d bytes", m.ID, m.Size)
	if m.Placed {
		text += fmt.Sprintf(", position %d.%d", m.Position, m.Index)
	}
	if m.Redelivered {
		text += ", redelivered"
	}
	if m.At != 0 {
		text += fmt.Sprintf(", at %d", m.At-start)
	}
	return text
}

func (t *step) String() string {
	text := fmt.Sprintf("client %d: %s", t.client, actionNames[t.do])
	switch {
	case t.do < seeFull && t.call.Op != TrySendBatch:
		text += fmt.Sprintf(" (message %d, %d slots)", t.id, t.k)
	case t.do == get || t.do == borrow || t.do == hand:
		text += " (" + t.got.describe(0) + ")"
	}
	if t.maybe {
		text += ", perhaps"
	}
	return text
}

var actionNames = [...]string{
	"pad", "reserve", "publish", "claimPad", "finishPad", "claim", "finish", "abort", "seeFull", "seeRevoked",
	"batchEnd", "takeTurn", "endTurn", "leave", "comeBack", "get", "borrow", "hand", "seeNothing", "timeUp", "look",
	"hear", "hearAnywhere", "flush", "settle", "handled", "release", "skipDead", "rest", "force", "reapAny", "count",
	"takeOver", "giveBack", "remark", "die",
}

var phaseNames = [...]string{"", "claimed", "committed", "discarded", "revoked", "orphan"}

// String shows the cursors, and the records from ReadPos on.
func (s *state) String() string {
	text := fmt.Sprintf("ReadPos %d, next %d.%d, tail %d, mark %d, dropped %d:",
		s.read, s.pos, s.index, s.tail, s.mark, s.dropped)
	for i, r := range s.records {
		if r.phase != none {
			text += fmt.Sprintf(" [slot %d: %s, %d slots, client %d, message %d]",
				i, phaseNames[r.phase], r.slots, r.owner, r.id)
		}
	}
	return text
}

// Explain writes a history and how far the longest order of its steps that porcupine found
// goes: with the states there, and the steps that should come next and cannot.
func (h *History) Explain(w io.Writer) {
	fmt.Fprint(w, h)
	list := h.steps()
	at, done := h.longest(list)
	fmt.Fprintf(w, "\n%d of %d steps can be put in an order:\n", len(done), len(list))
	for _, t := range done {
		fmt.Fprintf(w, "  %v\n", &t.step)
	}
	fmt.Fprintln(w, "then the ring is")
	for i := range at.states {
		fmt.Fprintf(w, "  %v\n", &at.states[i])
	}
	fmt.Fprintln(w, "and none of these steps leads on:")
	for i := range list {
		if t := &list[i]; t.number == at.next[t.client] {
			fmt.Fprintf(w, "  %v\n", &t.step)
		}
	}
}
