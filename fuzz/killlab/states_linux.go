package main

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/doorbell"
	"github.com/shmring/shmring/fuzz/internal/labs"
)

// before brings the ring into its state, as far as that can be done before the victim
// is there.
func (t *trial) before() bool {
	mpsc := t.kind == shmring.KindMPSC
	switch {
	case t.state == "absent":
		return true
	case t.op.victim == "admin":
		switch t.state {
		case "empty":
			t.letGo()
			return true
		case "stalled":
			return t.openPeer() && t.stall() && t.openConsumer()
		}
		if !t.crashed("producer") || mpsc && !t.crashed("claim") || !t.crashed("consumer") {
			return false
		}
		t.letGo()
		return true
	case t.op.victim == "producer":
		if t.state == "wrecked" {
			return t.crashed("producer") && t.openConsumer()
		}
		if mpsc || t.state == "full" {
			if !t.openPeer() {
				return false
			}
			for t.state == "full" && t.try(inlineSize) {
			}
		}
		if !mpsc && t.p != nil {
			if !t.must("close", t.p.Close()) {
				return false
			}
			t.p = nil
		}
		return t.openConsumer()
	}
	// The victim is a consumer.
	switch {
	case t.state == "contended" && mpsc && t.op.name == "check":
		if !t.crashed("claim") { // with nothing before it
			return false
		}
	case t.state == "contended" || t.state == "wrecked":
		if !t.crashed("producer") {
			return false
		}
	}
	if t.state == "contended" && !mpsc {
		return true // and its death is what the consumer finds
	}
	if !t.openPeer() {
		return false
	}
	switch t.state {
	case "full", "contended":
		for t.try(inlineSize) {
		}
	case "wrapping":
		t.try(twoSlots)
		t.try(inlineSize)
	case "wrecked":
		t.try(inlineSize)
		return t.crashed("consumer")
	}
	return true
}

// stall leaves an open claim of the peer's.
func (t *trial) stall() bool {
	t.account(peerLane).tried++
	claim, err := t.p.TryClaim(twoSlots)
	if !t.must("claim", err) {
		return false
	}
	t.held = &claim
	fill(t.held.Bytes(), source{lane: peerLane}, 0)
	return true
}

// meanwhile does what has to be done when the victim is attached.
func (t *trial) meanwhile() bool {
	switch {
	case t.state == "sysv-lost":
		sems := &t.view.Hot.Semaphores
		err := doorbell.Remove(t.view.Config, sems, os.Geteuid())
		sems.Key.Store(0)
		return t.must("remove the semaphores", err)
	case t.op.victim == "producer" && t.state == "contended" && t.kind == shmring.KindMPSC && !t.op.attaches:
		return t.stall()
	case t.op.victim == "producer" && t.state == "contended" && t.kind == shmring.KindSPSC:
		t.listen()
		return t.asleep("the consumer", &t.view.Hot.DataBell)
	case t.op.victim == "consumer" && t.state == "full":
		msg := t.made(peerLane, inlineSize)
		t.inBackground(func() error { return t.p.Send(t.ctx, msg) })
		return t.asleep("the producer", &t.view.Hot.SpaceBell)
	}
	return true
}

// giveWay is called once when the victim sleeps.
func (t *trial) giveWay() {
	switch {
	case t.op.victim == "producer" && t.busy == nil && t.state == "full" && t.kind == shmring.KindMPSC:
		t.inBackground(func() error {
			// Let it wait until it takes priority, unless it does not live that long.
			for t.view.Hot.Priority.Load() == 0 {
				select {
				case <-t.gone:
					return t.hear()
				case <-t.ctx.Done():
					return t.ctx.Err()
				case <-time.After(time.Millisecond):
				}
			}
			return t.hear()
		})
	case t.op.victim == "producer" && t.busy == nil:
		t.listen()
	case t.op.victim == "consumer" && t.p != nil && t.busy == nil:
		t.try(inlineSize)
	}
}

// listen receives in the background until the successor's last message has come.
func (t *trial) listen() { t.inBackground(t.hear) }

func (t *trial) inBackground(f func() error) {
	done := make(chan error, 1)
	t.busy = done
	go func() { done <- f() }()
}

// successorMessages is how many messages the successor sends.
const successorMessages = 2

// hear receives until the successor's last message has come.
func (t *trial) hear() error {
	for {
		m, err := t.c.Next(t.ctx)
		if expected(err) != nil {
			return err
		}
		if err != nil {
			continue
		}
		e := noted(m)
		t.handled = append(t.handled, e)
		m.Release()
		if e.source.lane == successorLane && e.seq == successorMessages-1 {
			return nil
		}
	}
}

// run does the operation with a death at its at-th point; at 0: none. It returns how
// many points were passed, and whether the victim died of one.
func (t *trial) run(at int, exe string) (hits int, last uint64, died, ok bool) {
	defer t.end()
	if !t.begin() || !t.before() {
		return 0, 0, false, false
	}
	a := args{Role: "point", Ring: t.ring, Kind: t.kind, Lane: victimLane, Number: at, Wait: wish(t.state),
		Count: t.start, Text: t.op.victim + " " + t.op.name + "/" + t.state, Only: t.only}
	var err error
	if t.victim, err = t.l.spawn(a, runs(exe)); !t.must("spawn", err) {
		return 0, 0, false, false
	}
	t.gone = make(chan struct{})
	go func() {
		_ = t.victim.Wait()
		close(t.gone)
	}()
	if !t.l.reach(t.victim, attached) || !t.meanwhile() {
		return 0, 0, false, false
	}
	t.victim.j.set(command, 1)
	if !t.watch() {
		return 0, 0, false, false
	}
	hits, last = int(t.victim.j.get(extra)), t.victim.j.get(where)
	died = t.victim.j.get(phase) < operated
	if died {
		t.l.killed()
		if !t.victim.WasKilled() {
			t.fault(&t.l.r.Other, "%v", t.victim.Wait())
			return hits, last, died, false
		}
	}
	return hits, last, died, t.verify()
}

// watch waits for the victim's end, and gives way when it sleeps.
func (t *trial) watch() bool {
	gave := false
	for end := time.Now().Add(labs.Patience); ; {
		select {
		case <-t.gone:
			return true
		case <-time.After(100 * time.Microsecond):
		}
		if !gave && sleeps(t.victim.j.get(where)) {
			gave = true
			t.giveWay()
		}
		if time.Now().After(end) {
			t.fault(&t.l.r.Stuck, "the operation does not end")
			return false
		}
	}
}

// verify looks at what the victim has left. Everything goes on with a successor in the
// victim's place.
func (t *trial) verify() bool {
	j := t.victim.j
	switch t.op.victim {
	case "producer":
		*t.account(victimLane) = account{tried: j.get(tried), sent: j.get(sent)}
	case "consumer":
		j.drain(func(e entry) { t.handled = append(t.handled, e) })
	}
	if t.op.name == "force-skip" {
		if t.held.Commit() == nil { // else it came too late
			t.account(peerLane).sent++
		}
		if !t.must("close", t.p.Close()) {
			return false
		}
		t.p = nil
	} else if t.held != nil {
		if !t.must("commit", t.held.Commit()) {
			return false
		}
		t.account(peerLane).sent++
	}
	return t.goOn() && t.count()
}

// goOn lets a successor send, and everything be received.
func (t *trial) goOn() bool {
	o := t.options()
	o.WaitForRole, o.Mode = true, shmring.ModeOpenOrCreate
	o.Kind, o.Slots, o.SlotSize, o.MaxMessage = t.kind, trialSlots, 64, trialSlots*64
	if t.kind == shmring.KindMPSC {
		o.MaxProducers = 2
	}
	if t.c == nil {
		if t.op.name == "create" || t.op.name == "remove" {
			// If there is a name, it leads to a complete ring, as the consumer will find.
			create := *o
			create.Mode = shmring.ModeCreateOnly
			first, err := shmring.OpenProducer(t.ctx, t.ring, &create)
			if err == nil {
				err = first.Close()
				t.accounts, t.handled = map[source]*account{}, nil
			}
			if !errors.Is(err, fs.ErrExist) && !t.must("create", err) {
				return false
			}
		}
		if !t.openConsumer() {
			return false
		}
	}
	if t.op.victim == "consumer" && t.busy != nil { // the peer is blocked
		blocked := t.busy
		t.listen()
		if !t.must("blocked send", <-blocked) {
			return false
		}
		t.account(peerLane).sent++
	} else if t.busy == nil {
		t.listen()
	}
	successor := t.p
	if t.kind == shmring.KindMPSC || successor == nil {
		var err error
		if successor, err = shmring.OpenProducer(t.ctx, t.ring, o); !t.must("open the successor", err) {
			return false
		}
		defer successor.Close()
	}
	for _, size := range []int{twoSlots, inlineSize} {
		if !t.must("send of the successor", successor.Send(t.ctx, t.made(successorLane, size))) {
			return false
		}
		t.account(successorLane).sent++
	}
	err := <-t.busy
	t.busy = nil
	return t.must("receive", err)
}

// count compares what came with what was sent.
func (t *trial) count() bool {
	r, ok := t.l.r, true
	wrong := func(heading *uint64, format string, args ...any) {
		t.fault(heading, format, args...)
		ok = false
	}
	for _, e := range t.handled {
		a := t.accounts[source{lane: e.source.lane}]
		switch {
		case e.flags&entryTorn != 0 || a == nil || e.source.life != 0:
			wrong(&r.Torn, "torn message: %+v", e)
		case e.seq == a.came:
			a.came++
			r.Delivered++
		case e.seq > a.came:
			wrong(&r.Lost, "lane %d: number %d comes where %d is due", e.source.lane, e.seq, a.came)
		case e.flags&entryAgain == 0:
			wrong(&r.Duplicated, "lane %d: number %d came again without a mark", e.source.lane, e.seq)
		default:
			r.Repeated++
		}
	}
	for who, a := range t.accounts {
		if a.came < a.sent || a.came > a.tried {
			wrong(&r.Lost, "lane %d: %d sends returned, %d were tried, %d came", who.lane, a.sent, a.tried, a.came)
		}
	}
	return ok
}
