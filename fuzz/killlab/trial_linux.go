package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

// trialSlots is the size of the rings in which single points are killed at.
const trialSlots = 8

// trial is one victim, its ring and its peers, which are handles of the lab's own.
type trial struct {
	l     *lab
	op    operation
	kind  shmring.Kind
	state string
	only  string // see args.Only

	ctx      context.Context
	ring     string
	start    uint64
	seg      *shm.Segment // to look at the bells
	view     *layout.View
	p        *shmring.Producer // a peer that lives through it
	held     *shmring.Claim    // of p
	c        *shmring.Consumer
	victim   *child
	gone     chan struct{} // the victim has ended
	accounts map[source]*account
	handled  []entry // by consumers that came after the victim, or beside it
	busy     chan error
	cancel   context.CancelFunc
}

// account is what one sender sent, and what has come of it.
type account struct{ tried, sent, came uint64 }

// Lanes of a trial's senders.
const (
	peerLane      = 1
	crashedLane   = 2
	victimLane    = 3
	successorLane = 4
)

func (t *trial) String() string {
	return fmt.Sprintf("%s %s, %s, %s", t.op.victim, t.op.name, t.kind, t.state)
}

func (t *trial) fault(heading *uint64, format string, args ...any) {
	t.l.fault(heading, "%v: %s", t, fmt.Sprintf(format, args...))
}

// must reports an error of something that has to work.
func (t *trial) must(what string, err error) bool {
	if err != nil {
		heading := &t.l.r.Other
		if t.ctx.Err() != nil {
			heading = &t.l.r.Stuck
		}
		t.fault(heading, "%s: %v", what, err)
	}
	return err == nil
}

func (t *trial) options() *shmring.Options {
	return &shmring.Options{Dir: t.l.Rings, Mode: shmring.ModeOpenOnly, KeepStream: true, WaitPolicy: shmring.WaitSleep,
		Doorbell: wish(t.state)}
}

// begin makes the ring, so that the state's position comes next.
func (t *trial) begin() bool {
	t.ctx, t.cancel = context.WithTimeout(t.l.Ctx, labs.Patience)
	t.ring = fmt.Sprintf("t%d", t.l.names.Add(1))
	t.accounts = map[source]*account{}
	t.start = 5*trialSlots + 2
	switch t.state {
	case "wrapping":
		t.start = 6*trialSlots - 1
	case "renewal":
		t.start = (1<<layout.RenewBits-1)*trialSlots + 2
	case "absent":
		return true
	}
	cfg := layout.Config{Kind: layout.Kind(t.kind), Slots: trialSlots, SlotSize: 64, MaxMessage: trialSlots * 64,
		Participants: 2, Doorbell: usualDoorbell(), Start: t.start}
	if onSemaphores(t.state) {
		cfg.Doorbell = layout.SysV
	}
	rand.Read(cfg.UUID[:])
	if t.kind == shmring.KindMPSC {
		cfg.Participants = 3
	}
	size, err := cfg.Size()
	if !t.must("size", err) {
		return false
	}
	t.seg, err = shm.Create(t.ctx, t.ring, size, &shm.Options{Dir: t.l.Rings}, func(mem []byte, locks shm.Locks) error {
		if locks == shm.Flock {
			cfg.Incompat |= layout.FlockLocks
		}
		_, err := layout.Format(mem, cfg)
		return err
	})
	if !t.must("create", err) {
		return false
	}
	t.view, err = layout.Parse(t.seg.Bytes())
	return t.must("parse", err)
}

// usualDoorbell is the one that rings get here if nobody has a wish.
func usualDoorbell() layout.Doorbell {
	for _, bell := range []layout.Doorbell{layout.SysV, layout.Poll} {
		if os.Getenv(shmring.EnvDoorbell) == bell.String() {
			return bell
		}
	}
	return layout.Futex
}

// wish is the option for a ring on the doorbell that a state needs.
func wish(state string) shmring.Doorbell {
	if onSemaphores(state) {
		return shmring.DoorbellSysV
	}
	return shmring.DoorbellAuto
}

// onSemaphores tells a state in which the ring has SysV semaphores for a doorbell.
func onSemaphores(state string) bool { return strings.HasPrefix(state, "sysv") }

// letGo closes the handle that only looks, so that the ring can be unused.
func (t *trial) letGo() {
	if t.seg != nil {
		_ = t.seg.Close()
		t.seg, t.view = nil, nil
	}
}

func (t *trial) account(lane uint32) *account {
	who := source{lane: lane}
	a := t.accounts[who]
	if a == nil {
		a = &account{}
		t.accounts[who] = a
	}
	return a
}

// made is the next message of one of the lab's own senders.
func (t *trial) made(lane uint32, size int) []byte {
	a := t.account(lane)
	b := source{lane: lane}.made(a.tried, size)
	a.tried++
	return b
}

// try lets the peer send without waiting; false: the ring is full.
func (t *trial) try(size int) bool {
	a := t.account(peerLane)
	err := t.p.TrySend(t.made(peerLane, size))
	if err == shmring.ErrFull {
		a.tried--
		return false
	}
	if t.must("send", err) {
		a.sent++
	}
	return err == nil
}

// openPeer attaches the producer that lives through it.
func (t *trial) openPeer() bool {
	var err error
	t.p, err = shmring.OpenProducer(t.ctx, t.ring, t.options())
	return t.must("open the peer", err)
}

func (t *trial) openConsumer() bool {
	o := t.options()
	o.WaitForRole = true
	var err error
	t.c, err = shmring.OpenConsumer(t.ctx, t.ring, o)
	return t.must("open a consumer", err)
}

// crashed leaves a participant that died in the middle of something.
func (t *trial) crashed(what string) bool {
	c, err := t.l.spawn(args{Role: "crashed", Ring: t.ring, Text: what, Lane: crashedLane, Wait: wish(t.state)}, nil)
	if !t.must("spawn", err) {
		return false
	}
	ok := t.l.reach(c, operated)
	c.Signal(unix.SIGKILL)
	_ = c.Wait()
	a := t.account(crashedLane)
	a.tried += c.j.get(tried)
	a.sent += c.j.get(sent)
	c.j.drain(func(e entry) { t.handled = append(t.handled, e) })
	c.forget()
	return ok
}

func init() { roles["crashed"] = beCrashed }

// beCrashed does something and then nothing, until it is killed.
func beCrashed(ctx context.Context, a args, j *journal) error {
	v := &victim{a: a, j: j}
	switch a.Text {
	case "producer":
		if err := v.open(ctx, shmring.ModeOpenOnly); err != nil {
			return err
		}
		if err := v.send(ctx, inlineSize); err != nil {
			return err
		}
		fallthrough
	case "claim":
		if v.s == nil {
			if err := v.open(ctx, shmring.ModeOpenOnly); err != nil {
				return err
			}
		}
		if _, err := v.s.p.Claim(ctx, twoSlots); err != nil {
			return err
		}
	case "consumer":
		if err := v.listen(ctx); err != nil {
			return err
		}
		m, err := v.c.TryNext()
		if err == nil {
			keep(j, m)
		} else if err != shmring.ErrEmpty {
			return err
		}
	}
	j.set(phase, operated)
	j.await(command, 1, labs.ChildLimit)
	return nil
}

// end removes the ring and whatever else there is.
func (t *trial) end() {
	t.cancel()
	if t.victim != nil {
		t.victim.Signal(unix.SIGKILL)
		<-t.gone
		t.victim.forget()
	}
	if t.busy != nil {
		<-t.busy
	}
	if t.p != nil {
		_ = t.p.Close()
	}
	if t.c != nil {
		_ = t.c.Close()
	}
	t.letGo()
	if err := shmring.Remove(context.Background(), t.ring, &shmring.AdminOptions{Dir: t.l.Rings}); err != nil {
		t.fault(&t.l.r.Leaked, "%v", err)
	}
	if left, _ := os.ReadDir(t.l.Rings); len(left) > 0 {
		var names []string
		for _, f := range left {
			names = append(names, f.Name())
			_ = os.Remove(t.l.Rings + "/" + f.Name())
		}
		t.fault(&t.l.r.Leaked, "left behind: %s", strings.Join(names, " "))
	}
}

// asleep waits until somebody sleeps on a bell.
func (t *trial) asleep(what string, bell interface{ Load() uint32 }) bool {
	for end := time.Now().Add(labs.Patience); bell.Load()&1 == 0; time.Sleep(50 * time.Microsecond) {
		if time.Now().After(end) {
			t.fault(&t.l.r.Stuck, "%s does not lie down", what)
			return false
		}
	}
	return true
}
