// Package spec says what a ring may answer: a state machine of positions, records and
// cursors, and the steps of each call. [History.Check] asks porcupine whether there is an
// order of the steps of a history that explains all answers.
//
// A call is not one step. TryReceive first gives back what the last one handed out and then
// looks for a message; a send on an MPSC ring claims and then commits; padding is a record
// of its own; and others act in between. So each call is a row of steps, all within the
// time of the call, and the state machine says which step of a client is next. What the
// steps of a call are is what ring does, at its shared words:
//
//	TrySend       SPSC  pad?, publish | pad?, seeFull
//	              MPSC  (claimPad, finishPad)*, claim, finish | (claimPad, finishPad)*, seeFull
//	TrySendBatch  SPSC  publish*, batchEnd               each publishes a record, pads, or is refused
//	              MPSC  (claim, finish)*, batchEnd
//	Send          MPSC  (claimPad, finishPad)*, claim, finish
//	                    or, after 5 ms, takeTurn, (claimPad, finishPad)*, claim, finish, endTurn
//	TryClaim      SPSC  pad?, reserve                      Commit  publish   Abort  nothing
//	              MPSC  (claimPad, finishPad)*, claim      Commit  finish    Abort  abort
//	Leave               leave                              Join    reapAny
//	TryReceive          comeBack, get | comeBack, seeNothing, flush
//	TryNext             comeBack, borrow | comeBack, seeNothing, flush        Release  release
//	TryDrain            comeBack, (hand, handled)*, seeNothing?
//	Drain               comeBack, rest*, (hand, handled)*, seeNothing? | comeBack, rest*, timeUp, rest
//	Check               settle, skipDead, flush
//	ForceSkip           force                              Dropped  count
//	Stop                giveBack, remark                   Open     takeOver
//
// A call that was cut off by a kill did some of its steps, from the first on, before its
// process was dead. That, and padding, is why a history has several states at a time.
//
// # The rules
//
// FIFO: a message is delivered at its position, and positions are given out in the order of
// the claims (SPSC: of the commits). A consumer that takes over begins at ReadPos.
//
// ErrEmpty: the record that is next for this consumer, behind those that were discarded, is
// not there, or is a claim that is not finished: its owner is inside a call, holds it open, or
// died and Check has not passed it. Check takes the dead for alive, once, while another
// producer is just opening the ring.
//
// Once: a consumer that delivers at most once passes over the records before the mark that its
// predecessor has left, counts them, and passes over no others. Its own mark does not run ahead,
// and neither does that of any consumer that was closed: it lies behind what was handed out, or
// the batch that it was in, or where it lay when that consumer came.
//
// A batch is a prefix of what was to be sent, in records of as many messages as a record may
// have, or half as many where there is no room, and so on. A record comes, is released and comes
// again as a whole.
//
// ErrRevoked: a claim that ForceSkip gave up is not delivered. Its owner learns of it when it
// finishes the claim, and from then on that handle does nothing. ReadPos does not pass the claim
// before the handle is closed or its owner was found dead. Another claim that is open then is
// like one of the dead. One that its owner is about to commit at that moment is left alone: ErrBusy.
//
// A call that waits looks after the ring meanwhile: it stores ReadPos and passes claims of the
// dead. If its context ends it, nothing was next, or it had done chores before it looked.
//
// ErrFull: what is taken, from ReadPos to the newest claim, leaves no room for the message,
// or, if the message does not fit into the rest of the lap, for that rest as padding. Where
// there was room for the padding it is published, and takes room, before ErrFull. On an MPSC ring
// it also comes while a Send of another producer, which has waited for 5 ms, is not over; if that
// producer was killed, until others have found that out, for which this package sets no limit.
package spec

import (
	"hash/maphash"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// Verdict is what became of a check.
type Verdict = porcupine.CheckResult

// set is the states that a history may be in.
type set struct {
	next   [MaxClients]uint16 // the number of each client's next step
	states []state
	hash   uint64
	// mustGo, unless 0, is a client, from 1, whose next step changes nothing, and may come at
	// once: so that the search need not look at all the orders in which it comes later.
	mustGo uint8
}

var seed = maphash.MakeSeed()

// model is the state machine for porcupine.
func (g *Geometry) model() porcupine.Model {
	var found []state
	return porcupine.Model{
		Init: func() any { return &set{states: make([]state, 1)} },
		Step: func(in, input, _ any) (bool, any) {
			from, t := in.(*set), input.(*timed)
			if from.next[t.client] != t.number || from.mustGo != 0 && from.mustGo != t.client+1 {
				return false, from
			}
			found = found[:0]
			for _, s := range from.states {
				found = g.apply(found, s, &t.step)
			}
			if len(found) == 0 {
				return false, from
			}
			to := &set{next: from.next, states: distinct(found)}
			to.next[t.client]++
			if t.more && !slices.ContainsFunc(to.states, t.isBusy) {
				to.mustGo = t.client + 1
			}
			to.hash = maphash.Comparable(seed, to.next)
			for _, s := range to.states {
				to.hash ^= maphash.Comparable(seed, s)
			}
			return true, to
		},
		Equal: func(a, b any) bool { return a.(*set).equals(b.(*set)) },
		Hash:  func(a any) uint64 { return a.(*set).hash },
	}
}

func distinct(all []state) (list []state) {
	for _, s := range all {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}

func (a *set) equals(b *set) bool {
	if a.next != b.next || len(a.states) != len(b.states) {
		return false
	}
	for _, s := range a.states {
		if !slices.Contains(b.states, s) {
			return false
		}
	}
	return true
}

// operations makes steps those of porcupine.
func operations(steps []timed) []porcupine.Operation {
	list := make([]porcupine.Operation, len(steps))
	for i := range steps {
		t := &steps[i]
		list[i] = porcupine.Operation{ClientId: int(t.client), Input: t, Call: t.from, Return: t.to}
	}
	return list
}

// Check looks for an order of the steps that explains the history, for as long as the
// limit. Its answer is porcupine.Unknown after that.
func (h *History) Check(limit time.Duration) Verdict {
	return porcupine.CheckOperationsTimeout(h.model(), operations(h.steps()), limit)
}

// longest is the longest order of steps that porcupine finds, and what the ring is then.
func (h *History) longest(list []timed) (at *set, done []*timed) {
	m := h.model()
	_, info := porcupine.CheckOperationsVerbose(m, operations(list), explainLimit)
	at = m.Init().(*set)
	for _, orders := range info.PartialLinearizationsOperations() {
		for _, order := range orders {
			if len(order) <= len(done) {
				continue
			}
			at, done = m.Init().(*set), nil
			for _, o := range order {
				_, next := m.Step(at, o.Input, nil)
				at, done = next.(*set), append(done, o.Input.(*timed))
			}
		}
	}
	return at, done
}

// explainLimit bounds the search for an explanation.
const explainLimit = 20 * time.Second
