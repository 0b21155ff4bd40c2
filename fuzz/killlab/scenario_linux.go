package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/doorbell"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

// scenarioSlots is the size of the rings in which single points are killed at.
const scenarioSlots = 8

// scenario is one victim, its ring and its peers, which are handles of the lab's own.
type scenario struct {
	l       *lab
	op      *operation
	kind    shmring.Kind
	state   string
	stepped bool   // the victim is, so that nobody else may move meanwhile
	joined  bool   // the victim's producer publishes by plain stores, where the system can do barriers
	where   string // it died, for the report
	only    string // see args.Only

	ctx       context.Context
	cancel    context.CancelFunc
	ring      string
	start     uint64
	mem       []byte // the ring's file, mapped once more to look at
	view      *layout.View
	p         *shmring.Producer // a peer that lives through it
	held      *shmring.Claim    // of p
	c         *shmring.Consumer
	blocked   chan error   // the end of a send of p's that waits for room
	listening func() error // ends what receives in the background
	rung      bool         // the bell says that somebody sleeps, and nobody does
	victim    *child

	accounts   map[source]*account
	handled    []entry // by consumers that came before, after or beside the victim, and by it
	crashes    int     // of others than the victim
	unreleased int     // messages that a consumer handled which crashed
	ends       int     // of streams, as the consumer was told
	deaths     int     // likewise of producers
	skips      int     // claims that were passed over
	successor  uint32  // how many producers came after the victim's death

	// Of a broadcast ring, which has no consumer:
	row       []sending // all that was sent
	witnesses []*witness
	heard     uint64 // messages, by all of them
}

// creating makes options create a ring like that of a scenario.
func creating(o *shmring.Options, kind shmring.Kind) {
	o.Mode, o.Kind, o.Slots, o.SlotSize, o.MaxMessage = shmring.ModeCreateOnly, kind, scenarioSlots, 64, scenarioSlots*64
	switch kind {
	case shmring.KindMPSC:
		o.MaxProducers = 2
	case shmring.KindBroadcast:
		o.MaxMessage = broadcastMost
	}
}

// account is what one sender sent, and what has come of it.
type account struct{ tried, sent, came uint64 }

// Lanes of a scenario's senders.
const (
	peerLane      = 1
	crashedLane   = 2
	victimLane    = 3
	successorLane = 4
)

// everyScenario yields every operation in every kind and state of the ring, until time is up.
func everyScenario(l *lab, stepped bool) iter.Seq[scenario] {
	return func(yield func(scenario) bool) {
		for _, kind := range []shmring.Kind{shmring.KindSPSC, shmring.KindMPSC, shmring.KindBroadcast} {
			for i := range operations {
				op := &operations[i]
				if !slices.Contains(strings.Fields(op.kinds), kind.String()) {
					continue
				}
				states := op.states
				if stepped {
					states = op.stepped
				}
				for state := range strings.FieldsSeq(states) {
					if !hasState(kind, state) {
						continue
					}
					t := scenario{l: l, op: op, kind: kind, state: state, stepped: stepped}
					if l.over() || !yield(t) {
						return
					}
					if t.joined = op.publishes(kind); t.joined && (l.over() || !yield(t)) {
						return
					}
				}
			}
		}
	}
}

// hasState tells whether a ring of that kind can be brought into a state here.
func hasState(kind shmring.Kind, state string) bool {
	switch {
	case onSemaphores(state):
		return kind != shmring.KindBroadcast && doorbell.Refused(layout.SysV) == nil
	case kind == shmring.KindBroadcast:
		return state != "contended" && state != "renewal"
	}
	return true
}

func (t *scenario) String() string {
	state := t.state
	if t.joined {
		state += ", joined"
	}
	return fmt.Sprintf("%v, %v, %s%s", t.op, t.kind, state, t.where)
}

// fault is never true, so that one can return it.
func (t *scenario) fault(heading *uint64, format string, args ...any) bool {
	t.l.fault(heading, "%v: %s", t, fmt.Sprintf(format, args...))
	return false
}

// must reports an error of something that has to work.
func (t *scenario) must(what string, err error) bool {
	switch {
	case err == nil:
		return true
	case t.ctx.Err() != nil:
		return t.fault(&t.l.r.Stuck, "%s: %v", what, err)
	}
	return t.fault(&t.l.r.Other, "%s: %v", what, err)
}

// run makes the ring and starts the victim, which lead leads to its end, and looks at
// what is left. False: something is wrong.
func (t *scenario) run(role string, at int, change func(*exec.Cmd), lead func() bool) bool {
	t.bound()
	defer t.end()
	if !t.begin() || !t.before() {
		return false
	}
	a := args{Role: role, Ring: t.ring, Kind: t.kind, Lane: victimLane, Number: at, Wait: wish(t.state),
		Count: t.start, Text: t.op.String() + "/" + t.state, Only: t.only, Joined: t.joined}
	var err error
	if t.victim, err = t.l.spawn(a, change); !t.must("spawn", err) {
		return false
	}
	if !t.l.reach(t.victim, attached) || !t.meanwhile() || !lead() {
		return false
	}
	if t.stepped { // which takes its time, and nobody waited meanwhile
		t.cancel()
		t.bound()
	}
	if t.kind == shmring.KindBroadcast {
		return t.verifyBroadcast()
	}
	return t.verify()
}

// bound gives the lab's own handles the time that they have from now on.
func (t *scenario) bound() { t.ctx, t.cancel = context.WithTimeout(t.l.Ctx, labs.Patience) }

// begin makes the ring, so that the state's position comes next.
func (t *scenario) begin() bool {
	t.ring = fmt.Sprintf("t%d", t.l.names.Add(1))
	t.accounts = map[source]*account{}
	t.start = 5*scenarioSlots + 2
	switch t.state {
	case "wrapping":
		t.start = 6*scenarioSlots - 1
		if t.handlesFirst() {
			t.start--
		}
	case "renewal":
		t.start = (1<<layout.RenewBits-1)*scenarioSlots + 2
	case "absent":
		return true
	}
	if t.kind != shmring.KindMPSC {
		t.start = t.startInLine()
	}
	cfg := layout.Config{Kind: layout.Kind(t.kind), Slots: scenarioSlots, SlotSize: 64, MaxMessage: scenarioSlots * 64,
		Participants: 2, Doorbell: usualDoorbell(), Start: t.start}
	if onSemaphores(t.state) {
		cfg.Doorbell = layout.SysV
	}
	rand.Read(cfg.UUID[:])
	switch t.kind {
	case shmring.KindMPSC:
		cfg.Participants = 3
	case shmring.KindBroadcast:
		cfg.MaxMessage, cfg.Doorbell = broadcastMost, layout.Poll
	}
	size, err := cfg.Size()
	if !t.must("size", err) {
		return false
	}
	seg, err := shm.Create(t.ctx, t.ring, size, &shm.Options{Dir: t.l.Rings}, func(mem []byte, locks shm.Locks) error {
		if locks == shm.Flock {
			cfg.Incompat |= layout.FlockLocks
		}
		_, err := layout.Format(mem, cfg)
		return err
	})
	return t.must("create", err) && t.must("close", seg.Close()) && t.must("map the ring", t.look())
}

// scenarioArea is how many bytes the records of an SPSC ring lie in, inline how many one of
// inlineSize takes.
const (
	scenarioArea = 2 * scenarioSlots * 64
	inline       = layout.RecordHeader + inlineSize
)

// startInLine is the position for a state of an SPSC or broadcast ring.
func (t *scenario) startInLine() uint64 {
	switch t.state {
	case "wrapping":
		start := uint64(6*scenarioArea - inline)
		if t.handlesFirst() {
			start -= inline
		}
		return start
	case "renewal":
		return 1<<40 - scenarioArea/2
	}
	return 5*scenarioArea + 128
}

// handlesFirst tells whether the victim has handled a message before its operation.
func (t *scenario) handlesFirst() bool {
	return t.stepped && t.op.victim == "consumer" && !t.op.attaches
}

// look maps the ring's file without any lock: nobody shall take that for a user of the ring.
func (t *scenario) look() error {
	f, err := os.OpenFile(filepath.Join(t.l.Rings, t.ring+shm.Suffix), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	t.mem, err = unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err == nil {
		t.view, err = layout.Parse(t.mem)
	}
	return err
}

func (t *scenario) unmap() {
	if t.mem != nil {
		_ = unix.Munmap(t.mem)
		t.mem, t.view = nil, nil
	}
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

func (t *scenario) options() *shmring.Options {
	return &shmring.Options{Dir: t.l.Rings, Mode: shmring.ModeOpenOnly, KeepStream: true, WaitForRole: true,
		WaitPolicy: shmring.WaitSleep, Doorbell: wish(t.state)}
}

func (t *scenario) account(who source) *account {
	a := t.accounts[who]
	if a == nil {
		a = &account{}
		t.accounts[who] = a
	}
	return a
}

// try lets the peer send without waiting; false: the ring is full.
func (t *scenario) try(size int) bool {
	a := t.account(source{lane: peerLane})
	err := t.p.TrySend(source{lane: peerLane}.made(a.tried, size))
	if err == shmring.ErrFull {
		return false
	}
	a.tried++
	if t.must("send", err) {
		a.sent++
	}
	return err == nil
}

// fill lets the peer send until nothing fits any more.
func (t *scenario) fill() bool {
	most := scenarioSlots
	if t.kind == shmring.KindSPSC {
		most = scenarioArea / inline
	}
	for range most + 1 {
		if !t.try(inlineSize) {
			return true
		}
	}
	return t.fault(&t.l.r.Stuck, "%d messages fit into %d slots", most+1, scenarioSlots)
}

// openPeer attaches the producer that lives through it.
func (t *scenario) openPeer() bool {
	var err error
	t.p, err = shmring.OpenProducer(t.ctx, t.ring, t.options())
	return t.must("open the peer", err)
}

func (t *scenario) closePeer() bool {
	if t.p == nil {
		return true
	}
	err := t.p.Close()
	t.p = nil
	return t.must("close the peer", err)
}

func (t *scenario) openConsumer() bool {
	o := t.options()
	o.OnSkip = func(shmring.SkippedClaim) { t.skips++ }
	var err error
	t.c, err = shmring.OpenConsumer(t.ctx, t.ring, o)
	return t.must("open a consumer", err)
}

func (t *scenario) closeConsumer() bool {
	if t.c == nil {
		return true
	}
	err := t.c.Close()
	t.c = nil
	return t.must("close the consumer", err)
}

// crashed leaves a participant that died in the middle of something.
func (t *scenario) crashed(what string) bool {
	c, err := t.l.spawn(args{Role: "crashed", Ring: t.ring, Text: what, Lane: crashedLane, Wait: wish(t.state)}, nil)
	if !t.must("spawn", err) {
		return false
	}
	defer c.discard()
	if !t.l.reach(c, operated) {
		return false
	}
	c.Kill()
	t.crashes++
	if what == "consumer" {
		t.unreleased++
	}
	a := t.account(source{lane: crashedLane})
	a.tried += c.j.Get(tried)
	a.sent += c.j.Get(sent)
	c.j.drain(func(e entry) { t.handled = append(t.handled, e) })
	return true
}

// end removes the ring and whatever else there is.
func (t *scenario) end() {
	if t.victim != nil {
		t.victim.discard()
	}
	t.cancel()
	t.dismissWitnesses()
	if t.listening != nil {
		_ = t.listening()
	}
	if t.blocked != nil {
		<-t.blocked
	}
	if t.p != nil {
		_ = t.p.Close()
	}
	if t.c != nil {
		_ = t.c.Close()
	}
	t.unmap()
	// Whoever is being started shares all descriptors of the lab until its exec.
	ctx, cancel := context.WithTimeout(context.Background(), labs.Patience)
	defer cancel()
	if err := shmring.Remove(ctx, t.ring, &shmring.AdminOptions{Dir: t.l.Rings}); err != nil {
		t.fault(&t.l.r.Leaked, "%v", err)
	}
	if t.stepped {
		return // others have their rings there
	}
	if left := t.l.Left(); len(left) > 0 {
		for _, name := range left {
			_ = os.Remove(filepath.Join(t.l.Rings, name))
		}
		t.fault(&t.l.r.Leaked, "left behind: %s", strings.Join(left, " "))
	}
}
