package main

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/doorbell"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

// before brings the ring into its state, as far as that can be done before the victim
// is there.
func (t *scenario) before() bool {
	switch {
	case t.state == "absent":
		return true
	case t.kind == shmring.KindBroadcast:
		return t.beforeBroadcast()
	case t.op.victim == "admin":
		return t.beforeAdmin()
	case t.op.victim == "producer":
		return t.beforeProducer()
	}
	return t.beforeConsumer()
}

func (t *scenario) beforeAdmin() bool {
	switch t.state {
	case "empty":
		return true
	case "stalled":
		return t.openPeer() && t.stall() && t.openConsumer()
	}
	return t.crashed("producer") && (t.kind == shmring.KindSPSC || t.crashed("claim")) && t.crashed("consumer")
}

func (t *scenario) beforeProducer() bool {
	if t.state == "wrecked" {
		return t.crashed("producer") && t.openConsumer()
	}
	if t.kind == shmring.KindMPSC || t.state == "full" {
		if !t.openPeer() {
			return false
		}
		if t.state == "full" && !t.fill() {
			return false
		}
	}
	return (t.kind == shmring.KindMPSC || t.closePeer()) && t.openConsumer()
}

func (t *scenario) beforeConsumer() bool {
	switch {
	case t.state == "contended" && t.kind == shmring.KindMPSC && t.op.name == "check":
		if !t.crashed("claim") { // with nothing before it
			return false
		}
	case t.state == "contended", t.state == "wrecked":
		if !t.crashed("producer") {
			return false
		}
	}
	if t.state == "contended" && t.kind == shmring.KindSPSC {
		return true // and its death is what the consumer finds
	}
	if !t.openPeer() {
		return false
	}
	if t.handlesFirst() && t.state != "contended" {
		t.try(inlineSize)
	}
	switch t.state {
	case "full", "contended":
		return t.fill()
	case "wrapping":
		t.try(twoSlots)
		t.try(inlineSize)
	case "wrecked":
		t.try(inlineSize)
		return t.crashed("consumer")
	case "over":
		t.try(inlineSize)
		return t.must("end the peer's stream", t.p.CloseSend()) && t.closePeer()
	}
	return true
}

// stall leaves an open claim of the peer's.
func (t *scenario) stall() bool {
	claim, err := t.p.TryClaim(twoSlots)
	if !t.must("claim", err) {
		return false
	}
	t.held = &claim
	who := source{lane: peerLane}
	fill(t.held.Bytes(), who, t.account(who).tried)
	t.account(who).tried++
	return true
}

// meanwhile does what has to be done when the victim is attached.
func (t *scenario) meanwhile() bool {
	producer := t.op.victim == "producer"
	switch {
	case t.state == "sysv-lost":
		sems := &t.view.Hot.Semaphores
		info, err := os.Stat(filepath.Join(t.l.Rings, t.ring+shm.Suffix))
		if err == nil {
			err = doorbell.Remove(t.view.Config, sems, doorbell.File{
				Inode: info.Sys().(*syscall.Stat_t).Ino, Owner: os.Geteuid(),
			})
		}
		sems.Key.Store(0)
		return t.must("remove the semaphores", err)
	case producer && t.state == "contended" && t.kind == shmring.KindMPSC && (t.stepped || !t.op.attaches):
		if t.stepped {
			t.bell().Or(layout.BellSleeper)
			t.rung = true
		}
		return t.stall()
	case producer && t.state == "contended" && t.kind == shmring.KindSPSC,
		t.op.victim == "consumer" && t.state == "full":
		switch {
		case t.stepped:
			t.bell().Or(layout.BellSleeper)
			t.rung = true
			return true
		case producer:
			t.listen(nil)
		default:
			t.block()
		}
		return t.l.until(t.String()+": the other side asleep", func() bool { return t.bell().Load()&layout.BellSleeper != 0 })
	}
	return true
}

// bell is the one on which the other side sleeps.
func (t *scenario) bell() *atomic.Uint32 {
	if t.op.victim == "consumer" {
		return &t.view.Hot.SpaceBell
	}
	return &t.view.Hot.DataBell
}

// giveWay is called once when the victim sleeps.
func (t *scenario) giveWay() {
	switch {
	case t.op.victim == "producer" && t.listening == nil && t.state == "full" && t.kind == shmring.KindMPSC:
		// Let it wait until it takes priority, unless it does not live that long.
		t.listen(func() bool { return t.view.Hot.Priority.Load() != 0 })
	case t.op.victim == "producer" && t.listening == nil:
		t.listen(nil)
	case t.op.victim == "consumer" && t.p != nil && t.blocked == nil:
		t.try(inlineSize)
	}
}

// block lets the peer wait for room.
func (t *scenario) block() {
	a := t.account(source{lane: peerLane})
	msg := source{lane: peerLane}.made(a.tried, inlineSize)
	a.tried++
	done := make(chan error, 1)
	t.blocked = done
	go func() { done <- t.p.Send(t.ctx, msg) }()
}

// unblocked waits for the end of block.
func (t *scenario) unblocked() bool {
	if t.blocked == nil {
		return true
	}
	err := <-t.blocked
	t.blocked = nil
	if err == nil {
		t.account(source{lane: peerLane}).sent++
	}
	return t.must("a send that waited for room", err)
}

// listen receives in the background, once it is time to or the victim is gone.
func (t *scenario) listen(isTime func() bool) {
	ctx, cancel := context.WithCancel(t.ctx)
	done := make(chan error, 1)
	t.listening = func() error {
		cancel()
		t.listening = nil
		return <-done
	}
	go func() {
		for isTime != nil && !isTime() && ctx.Err() == nil && !t.victim.HasEnded() {
			time.Sleep(time.Millisecond)
		}
		done <- t.hear(ctx)
	}()
}

// hear receives until the context ends.
func (t *scenario) hear(ctx context.Context) error {
	for {
		m, err := t.c.Next(ctx)
		switch {
		case err == nil:
			t.take(m)
		case t.told(err) == nil:
		case ctx.Err() != nil && t.ctx.Err() == nil:
			return nil
		default:
			return err
		}
	}
}
