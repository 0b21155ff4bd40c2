package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/layout"
)

// verify looks at a ring whose victim is dead: everything that was sent is there, told
// once and in order, others go on in the victim's place, and nothing is lost of the ring
// itself.
func (t *scenario) verify() bool {
	returned := t.victim.j.Get(phase) == operated
	ok := true
	// The consumer of an SPSC ring gathers more than one message before it makes room.
	gathers := t.kind == shmring.KindSPSC && t.op.victim == "consumer" && t.op.name != "close"
	if t.rung && t.op.rings && !gathers && returned && t.bell().Load()&layout.BellSleeper != 0 {
		ok = t.fault(&t.l.r.Stuck, "the operation has returned, and has not rung for a sleeper")
	}
	t.credit()
	if t.c == nil && !t.createConsumer() {
		return false
	}
	if t.blocked != nil {
		t.listen(nil)
	}
	if !t.unblocked() || t.listening != nil && !t.must("receive", t.listening()) {
		return false
	}
	early, well := t.early()
	if !well || !t.drain() || !t.release() || !t.drain() {
		return false
	}
	if early != nil && !t.must("close the one who came early", early.Close()) {
		return false
	}
	ok = t.fate(returned) && t.fates() && ok
	return t.goOn() && t.closeConsumer() && t.unused() && t.count(returned) && ok
}

// credit notes what the victim sent, and what it handled.
func (t *scenario) credit() {
	j := t.victim.j
	switch t.op.victim {
	case "producer":
		*t.account(source{lane: victimLane}) = account{tried: j.Get(tried), sent: j.Get(sent)}
	case "consumer":
		j.drain(func(e entry) { t.handled = append(t.handled, e) })
		for range j.Get(receipts) {
			// The only sender there is before a stepped consumer, behind what was crashed.
			n := t.handledOf(peerLane)
			t.handled = append(t.handled, entry{source: source{lane: peerLane}, seq: n})
		}
	}
}

// handledOf counts what was handled of a lane.
func (t *scenario) handledOf(lane uint32) (n uint64) {
	for _, e := range t.handled {
		if e.source.lane == lane {
			n++
		}
	}
	return n
}

// createConsumer opens a consumer of a ring that may not be there. If there is the name,
// it leads to a complete ring, as the consumer will find.
func (t *scenario) createConsumer() bool {
	if t.op.name == "create" || t.op.name == "remove" {
		o := t.options()
		creating(o, t.kind)
		p, err := shmring.OpenProducer(t.ctx, t.ring, o)
		if err == nil {
			err = p.Close()
			t.accounts, t.handled, t.unreleased = map[source]*account{}, nil, 0
			t.unmap()
		}
		if !errors.Is(err, fs.ErrExist) && !t.must("create", err) {
			return false
		}
	}
	if t.op.name == "resize" {
		t.unmap() // it may be another file by now
	}
	if !t.openConsumer() {
		return false
	}
	return t.mem != nil || t.must("map the ring", t.look())
}

// early attaches a producer to a ring for many before anybody has looked after the dead
// one. It gets that one's slot at once only if nothing in the ring is still that one's;
// else its life would be taken for that of a dead owner, for whom the consumer then
// waits. Nil if there is no slot yet.
func (t *scenario) early() (*shmring.Producer, bool) {
	if t.kind != shmring.KindMPSC || t.op.victim != "producer" {
		return nil, true
	}
	ctx, cancel := context.WithTimeout(t.ctx, time.Millisecond)
	defer cancel()
	p, err := shmring.OpenProducer(ctx, t.ring, t.options())
	if err != nil {
		return nil, errors.Is(err, context.DeadlineExceeded) || t.must("a producer that comes at once", err)
	}
	return p, true
}

// release lets the peer commit its claim: nobody may have touched it, unless that is
// what the operation is about. Then it may be too late.
func (t *scenario) release() bool {
	if t.held == nil {
		return true
	}
	err := t.held.Commit()
	t.held = nil
	if err == nil {
		t.account(source{lane: peerLane}).sent++
	}
	if t.op.name == "force-skip" {
		return t.closePeer()
	}
	return t.must("commit of a live producer's claim", err)
}

// take handles a message.
func (t *scenario) take(m shmring.Message) {
	t.handled = append(t.handled, noted(m))
	m.Release()
}

// told takes what the consumer says besides messages, and returns an error that it must
// not say.
func (t *scenario) told(err error) error {
	switch {
	case err == io.EOF:
		t.ends++
	case errors.Is(err, shmring.ErrPeerDead):
		t.deaths++
	default:
		return err
	}
	return nil
}

// drain handles what there is: until the ring is empty, or nothing is left but a claim
// that the lab holds open and what is behind it.
func (t *scenario) drain() bool {
	looked := false
	for end := time.Now().Add(labs.Patience); ; {
		m, err := t.c.TryNext()
		if err == nil {
			t.take(m)
			continue
		}
		if err == shmring.ErrEmpty {
			if looked && (t.held != nil || t.c.Used() == 0) {
				return true
			}
			looked = true
			err = t.c.Check()
		}
		if err := t.told(err); !t.must("receive", err) {
			return false
		}
		if time.Now().After(end) {
			return t.fault(&t.l.r.Stuck, "after %v, %d slots are still in use: nobody passes over them", labs.Patience,
				t.c.Used())
		}
	}
}

// fate checks what the consumer was told of the victim, where nobody else has died.
func (t *scenario) fate(returned bool) bool {
	r := t.l.r
	told := t.victim.j.Get(ends)
	if t.state == "over" && (t.ends > 1 || told == 0 && t.ends == 0 || told == 2 && t.ends > 0) {
		return t.fault(&r.Other, "the end of the stream was told %d times behind a victim that had got to step %d of it",
			t.ends, told)
	}
	if t.op.victim != "producer" || t.op.attaches || t.crashes > 0 {
		return true
	}
	ok := true
	if t.skips > 1 || t.skips > 0 && returned {
		ok = t.fault(&r.Other, "%d claims were left behind (has it returned: %v)", t.skips, returned)
	}
	if t.kind != shmring.KindSPSC {
		return ok
	}
	ends := t.op.name == "close" || t.op.name == "close-send"
	switch {
	case ends && returned && t.ends != 1:
		ok = t.fault(&r.Lost, "the end of the stream was sent once and came %d times", t.ends)
	case !ends && t.ends > 0:
		ok = t.fault(&r.Other, "io.EOF, and nobody has ended the stream")
	case t.ends+t.deaths != 1:
		ok = t.fault(&r.Other, "the producer died: io.EOF came %d times, its death %d times", t.ends, t.deaths)
	}
	return ok
}

// fates looks at what stands in the segment: whoever is gone has left a fate, and that of
// the only producer is where the ring ends now that all is read.
func (t *scenario) fates() bool {
	for i := 1; i < len(t.view.Participants); i++ {
		m := &t.view.Participants[i]
		epoch, newest := m.Epoch.Load(), &m.Fates[0]
		for k := range m.Fates {
			if int32(m.Fates[k].Fate.Load().Upto()-newest.Fate.Load().Upto()) > 0 {
				newest = &m.Fates[k]
			}
		}
		if upto := newest.Fate.Load().Upto(); upto != epoch {
			if !m.State.Load().Attached() {
				return t.fault(&t.l.r.Other, "producer %d is gone: stream %d has no fate, only those up to %d", i, epoch, upto)
			}
			continue
		}
		if epoch == 0 || t.kind != shmring.KindSPSC {
			continue
		}
		if pos, end := newest.Pos.Load(), t.view.Hot.ReadPos.Load()+uint64(t.c.Used()); pos != end {
			return t.fault(&t.l.r.Other, "stream %d ends at %d by its fate, and at %d by its records", epoch, pos, end)
		}
	}
	return true
}

// goOn shows that the survivors do, and that as many producers as there is room for can
// still attach, twice. Each sends two messages.
func (t *scenario) goOn() bool {
	if t.p != nil && (!t.survives() || t.kind == shmring.KindSPSC && !t.closePeer()) {
		return false
	}
	for range 2 {
		if !t.fillUp() {
			return false
		}
	}
	return t.closePeer()
}

// survives lets the peer send. The victim may have died with priority: the others hold
// back for 20 ms then.
func (t *scenario) survives() bool {
	if !t.l.until(t.String()+": room for a survivor", func() bool { return t.try(twoSlots) }) {
		return false
	}
	return t.drain()
}

func (t *scenario) fillUp() bool {
	room := len(t.view.Participants) - 1
	if t.p != nil {
		room--
	}
	for range room {
		p, who, ok := t.follow()
		if !ok {
			return false
		}
		defer p.Close()
		*t.account(who) = account{tried: 2, sent: 2}
		if !t.drain() {
			return false
		}
	}
	return true
}

// follow attaches a producer that sends two messages. Unless ok it is closed.
func (t *scenario) follow() (p *shmring.Producer, who source, ok bool) {
	p, err := shmring.OpenProducer(t.ctx, t.ring, t.options())
	if !t.must("a producer that follows", err) {
		return nil, who, false
	}
	t.successor++
	who = source{successorLane, t.successor}
	for seq, size := range []int{inlineSize, twoSlots} {
		if !t.must("a send of one that follows", p.Send(t.ctx, who.made(uint64(seq), size))) {
			p.Close()
			return nil, who, false
		}
	}
	return p, who, true
}

// unused makes sure that nobody seems to be there after all have left.
func (t *scenario) unused() bool {
	ok := true
	for i := range t.view.Participants {
		if state := t.view.Participants[i].State.Load(); state != layout.Free {
			ok = t.fault(&t.l.r.Leaked, "participant %d is in state %v after all have left", i, state)
		}
	}
	return ok
}

// numbered looks whether the ring's own count of messages is right, which consumers have kept, the
// victim perhaps among them, and which its death may have cut off anywhere.
func (t *scenario) numbered(came uint64) bool {
	w := &t.view.Hot.Waypoints
	newest := w.Places[w.Turn&1]
	if read := t.view.Hot.ReadPos.Load(); newest.Position != read || newest.Messages != came {
		return t.fault(&t.l.r.Lost, "%d messages came before position %d, the ring says %d before %d", came, read,
			newest.Messages, newest.Position)
	}
	return true
}

// count compares what came with what was sent.
func (t *scenario) count(returned bool) bool {
	var r result // what is right, to be added when nobody else does
	ok := true
	for _, e := range t.handled {
		a := t.accounts[e.source]
		switch {
		case e.flags&entryTorn != 0 || a == nil:
			ok = t.fault(&t.l.r.Torn, "torn message: %+v", e)
		case e.seq == a.came:
			a.came++
			r.Delivered++
		case e.seq > a.came:
			ok = t.fault(&t.l.r.Lost, "lane %d: number %d comes where %d is due", e.source.lane, e.seq, a.came)
		case e.flags&entryRedelivered == 0:
			ok = t.fault(&t.l.r.Duplicated, "lane %d: number %d came again without a mark", e.source.lane, e.seq)
		default:
			r.Repeated++
		}
	}
	for who, a := range t.accounts {
		if a.came < a.sent || a.came > a.tried {
			ok = t.fault(&t.l.r.Lost, "lane %d: %d sends returned, %d were tried, %d came", who.lane, a.sent, a.tried, a.came)
		}
	}
	if a := t.accounts[source{lane: victimLane}]; t.op.name == "batch" && a != nil && a.came != 0 && a.came != a.tried &&
		t.kind == shmring.KindMPSC && (t.stepped || t.state != "full") { // where it waits for room, it may send a part
		ok = t.fault(&t.l.r.Torn, "%d messages of a batch of %d came", a.came, a.tried)
	}
	if most := t.mostRedelivered(returned); r.Repeated > uint64(most) {
		ok = t.fault(&t.l.r.Duplicated, "%d messages came again, %d are explained", r.Repeated, most)
	}
	ok = t.numbered(r.Delivered) && ok
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	t.l.r.Delivered += r.Delivered
	t.l.r.Repeated += r.Repeated
	return ok
}

// mostRedelivered is how many messages may come again. An MPSC ring this small gathers no releases:
// what was given back does not; an SPSC ring gathers an eighth of its area. Receive gives back what
// it returned at the next call.
func (t *scenario) mostRedelivered(returned bool) int {
	n := t.unreleased
	if n > 0 && t.kind == shmring.KindSPSC {
		n += scenarioArea / 8 / (layout.RecordHeader + messageHeader)
	}
	if t.op.victim != "consumer" {
		return n
	}
	if t.kind == shmring.KindSPSC {
		n += scenarioArea / 8 / (layout.RecordHeader + messageHeader)
	}
	if !returned || t.op.name == "receive" && !t.stepped {
		n += t.op.redelivers
	}
	if t.handlesFirst() && !returned {
		n++
	}
	return n
}
