package main

import (
	"context"
	"errors"
	"io/fs"

	"github.com/shmring/shmring"
)

// broadcastMost is the longest message of a broadcast ring of a scenario: with it the area is as large as that of
// an SPSC ring, scenarioArea, and the producer makes a waypoint every 128 bytes.
const broadcastMost = 112

// sending is so many messages of one sender, from its first on. What was sent into a broadcast ring is
// a row of them, because one producer follows another.
type sending struct {
	who source
	n   uint64
}

// witness is an observer of the lab's own in a scenario. It moves nothing.
type witness struct {
	in   *shmring.Observer
	next uint64 // number of the next message; 0: it has got none
}

// beforeBroadcast is before for a broadcast ring: one witness comes before anything is sent, another before
// the victim does what it dies of.
func (t *scenario) beforeBroadcast() bool {
	if !t.observe(shmring.FromNow) {
		return false
	}
	switch t.state {
	case "full": // and half a lap more
		if !t.openPeer() {
			return false
		}
		for range scenarioArea * 3 / 2 / inline {
			if !t.try(inlineSize) {
				return t.fault(&t.l.r.Stuck, "a broadcast ring is full")
			}
		}
		who := source{lane: peerLane}
		t.row = append(t.row, sending{who, t.account(who).sent})
		if !t.closePeer() {
			return false
		}
	case "wrecked":
		if !t.crashed("producer") {
			return false
		}
		who := source{lane: crashedLane}
		t.row = append(t.row, sending{who, t.account(who).sent})
	}
	return t.observe(shmring.FromOldest)
}

// observe adds a witness.
func (t *scenario) observe(from shmring.Start) bool {
	o := &shmring.ObserverOptions{Dir: t.l.Rings, From: from}
	in, err := shmring.OpenObserver(t.ctx, t.ring, o)
	if err == nil {
		t.witnesses = append(t.witnesses, &witness{in: in})
	}
	return t.must("observe", err)
}

// dismissWitnesses closes all of them.
func (t *scenario) dismissWitnesses() {
	for _, w := range t.witnesses {
		_ = w.in.Close()
	}
	t.witnesses = nil
}

// total is how many messages were sent.
func (t *scenario) total() (n uint64) {
	for _, s := range t.row {
		n += s.n
	}
	return n
}

// numberOf is whose message has a number, counted from 1 on, and which of its it is.
func (t *scenario) numberOf(number uint64) (who source, seq uint64) {
	for _, s := range t.row {
		if number <= s.n {
			return s.who, number - 1
		}
		number -= s.n
	}
	return source{}, 0
}

// verifyBroadcast is verify for a ring that has no consumer: how many messages the dead one has sent is what the
// ring says, and has to fit its journal; then each witness has got or missed all that was sent, by number, also what
// successors send.
func (t *scenario) verifyBroadcast() bool {
	returned := t.victim.j.Get(phase) == operated
	t.credit()
	if !t.stillThere() {
		return false
	}
	newest, err := newestSequence(t.ring, t.l.Rings)
	if !t.must("the newest message", err) {
		return false
	}
	who, before := source{lane: victimLane}, t.total()
	a := t.account(who)
	if newest < before+a.sent || newest > before+a.tried || returned && a.sent != a.tried {
		return t.fault(&t.l.r.Lost, "message %d is the newest: %d were sent before, then %d sends returned of %d (all: %v)",
			newest, before, a.sent, a.tried, returned)
	}
	t.row = append(t.row, sending{who, newest - before})
	for range 2 {
		if !t.observe(shmring.FromOldest) || !t.hearWitnesses() || !t.succeed() {
			return false
		}
	}
	if !t.hearWitnesses() || !t.fates() || !t.unused() {
		return false
	}
	return t.counted()
}

// stillThere creates a ring that a victim has not come to create, or has removed. A new one has other witnesses.
func (t *scenario) stillThere() bool {
	if t.op.name == "create" || t.op.name == "remove" {
		o := t.options()
		creating(o, t.kind)
		p, err := shmring.OpenProducer(t.ctx, t.ring, o)
		if err == nil {
			err = p.Close()
			t.row = nil
			t.dismissWitnesses()
			t.unmap()
		}
		if !errors.Is(err, fs.ErrExist) && !t.must("create", err) {
			return false
		}
	}
	return t.mem != nil || t.must("map the ring", t.look())
}

// newestSequence is the number that the ring gives its newest message; 0: there is none.
func newestSequence(ring, dir string) (uint64, error) {
	o := &shmring.ObserverOptions{Dir: dir, From: shmring.FromNewest}
	in, err := shmring.OpenObserver(context.Background(), ring, o)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	m, err := in.TryLatest()
	if err == shmring.ErrEmpty {
		return 0, nil
	}
	return m.Sequence, err
}

// succeed takes the role, sends two messages, and leaves it.
func (t *scenario) succeed() bool {
	p, who, ok := t.follow()
	if !ok {
		return false
	}
	t.row = append(t.row, sending{who, 2})
	return t.must("close one that follows", p.Close())
}

// hearWitnesses lets each of them take all there is, and judges it.
func (t *scenario) hearWitnesses() bool {
	for i, w := range t.witnesses {
		var err error
		for err == nil {
			var m shmring.Observed
			if m, err = w.in.TryNext(); err != nil {
				break
			}
			who, seq, whole := read(m.Bytes)
			wantWho, wantSeq := t.numberOf(m.Sequence)
			if !whole || who != wantWho || seq != wantSeq {
				return t.fault(&t.l.r.Torn, "witness %d, message %d: %v %d (whole: %v), want %v %d", i, m.Sequence, who, seq,
					whole, wantWho, wantSeq)
			}
			if w.next != 0 && m.Sequence != w.next+m.Missed {
				return t.fault(&t.l.r.Lost, "witness %d: message %d, and %d missed, where %d is due", i, m.Sequence, m.Missed,
					w.next)
			}
			w.next = m.Sequence + 1
			t.heard++
		}
		if s := w.in.Stats(); err != shmring.ErrEmpty || w.next != 0 && s.Sequence != t.total() || s.Inexact {
			return t.fault(&t.l.r.Lost, "witness %d: %v after message %d, %d were sent: %+v", i, err, s.Sequence, t.total(), s)
		}
	}
	return true
}

// counted holds the ring's own count, and what all producers have counted, against what was sent.
func (t *scenario) counted() bool {
	s, err := shmring.Inspect(t.ctx, t.ring, &shmring.InspectOptions{Dir: t.l.Rings})
	if !t.must("inspect", err) || !t.must("inspect", s.Err) {
		return false
	}
	if q := s.Ring.Queue; q.Sent != t.total() || !q.Exact || s.Ring.Produced.Messages != t.total() {
		return t.fault(&t.l.r.Other, "%d messages were sent, the ring says %d (exact: %v), its producers %d", t.total(),
			q.Sent, q.Exact, s.Ring.Produced.Messages)
	}
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	t.l.r.Delivered += t.heard
	return true
}
