package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/layout"
)

// Lanes of messages.
const (
	laneLab = 1 + iota
	laneVictim
	laneSuccessor
)

// stage is one ring for one victim, and everything about it that is not the victim's.
type stage struct {
	l     *lab
	scene scene
	ring  string
	mem   []byte // the ring's file, mapped once more to look at
	view  *layout.View
	v     *child

	live      *shmring.Producer // a producer that is not killed; nil: there can be none
	c         *shmring.Consumer // likewise the consumer
	claim     shmring.Claim     // of live
	held      bool              // and it is open
	written   uint64            // messages of live
	at        []uint64          // their positions, as long as nobody else writes
	next      uint64
	newcomers uint32 // producers that came after the victim's death
	ends      int    // of streams, as the consumer was told
	deaths    int    // likewise of producers
	skips     int    // claims that the consumer passed over
	marked    uint64 // messages before this number were handled by a consumer that died

	r     result // of this stage alone
	check *checker
}

const stageSlots = 8

// newStage makes a ring in the state of a scene and starts a victim on it.
func newStage(l *lab, sc scene) (*stage, bool) {
	s := &stage{l: l, scene: sc}
	s.check = newChecker(&s.r, 0)
	o := shmring.Options{Kind: sc.kind, Slots: stageSlots, SlotSize: 64, MaxMessage: 3 * 64}
	if sc.kind == shmring.KindMPSC {
		o.MaxProducers = 2
		if sc.state == contended && sc.operation().attach {
			o.MaxProducers = 3 // one remains in quarantine until the ring is empty
		}
	}
	var ok bool
	if s.ring, ok = l.createRing(o); !ok {
		return s, false
	}
	if err := s.build(); err != nil {
		l.must(fmt.Errorf("%s: %w", sc, err))
		return s, false
	}
	return s, true
}

func (s *stage) build() error {
	op, state := s.scene.operation(), s.scene.state
	if err := s.look(); err != nil {
		return err
	}
	if err := s.openLive(); err != nil {
		return err
	}
	if err := s.openConsumer(); err != nil {
		return err
	}
	// Once around nearly: a ring that was never used is a special case.
	reading := op.consumer || op.attach
	before := 3
	if state == wrapping {
		before = stageSlots - 1
		if reading {
			before--
		}
	}
	var content []int
	switch {
	case state == full:
		content = slices.Repeat([]int{smallMessage}, stageSlots)
	case !reading:
	case state == wrapping, state == contended:
		content = []int{smallMessage, largeMessage, smallMessage}
	case op.consumer && !op.attach:
		content = []int{smallMessage}
	}
	for range before {
		if err := s.tell(smallMessage); err != nil {
			return err
		}
	}
	s.drain()
	for _, size := range content {
		if err := s.tell(size); err != nil {
			return err
		}
	}
	if op.consumer {
		if err := s.closeConsumer(); err != nil {
			return err
		}
	} else if s.scene.kind == shmring.KindSPSC {
		if err := s.closeLive(); err != nil {
			return err
		}
	}
	if state == contended {
		if err := s.contend(); err != nil {
			return err
		}
	}
	var err error
	s.v, err = s.l.spawn(args{
		Role: "step", Ring: s.ring, Kind: s.scene.kind, Lane: laneVictim, Number: s.scene.op, Text: fmt.Sprint(int(state)),
	}, func(c *exec.Cmd) { c.Env = append(c.Env, "GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1") })
	if err != nil {
		return err
	}
	if !s.l.reach(s.v, attached) {
		return errors.New("the victim does not get ready")
	}
	if op.consumer && !op.attach {
		s.handles() // in prepare
	}
	return nil
}

// contend makes the state contended: somebody has announced sleep on the bell that the
// victim rings; in a ring for many producers, the newest claim is that of a live
// producer and not on record; and the role that the victim is to take has belonged to
// somebody who died.
func (s *stage) contend() error {
	op := s.scene.operation()
	if s.live != nil && s.scene.kind == shmring.KindMPSC {
		var err error
		if s.claim, err = s.live.TryClaim(smallMessage); err != nil {
			return err
		}
		s.held = true
	}
	if op.rings {
		s.bell().Or(1)
	}
	if op.attach {
		i := layout.ConsumerIndex
		if !op.consumer {
			i = s.free()
		}
		s.view.Participants[i].State.Store(layout.Used)
	}
	return nil
}

func (s *stage) bell() interface {
	Or(uint32) uint32
	Load() uint32
} {
	if s.scene.operation().consumer {
		return &s.view.Hot.SpaceBell
	}
	return &s.view.Hot.DataBell
}

// free is the first slot for a producer that the lab's own does not have.
func (s *stage) free() int {
	if s.live == nil {
		return 1
	}
	return 2
}

// look maps the ring's file.
func (s *stage) look() error {
	f, err := os.OpenFile(filepath.Join(s.l.Rings, s.ring+".shmring"), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if s.mem, err = unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_SHARED); err != nil {
		return fmt.Errorf("map the ring: %w", err)
	}
	s.view, err = layout.Parse(s.mem)
	return err
}

func (s *stage) options() *shmring.Options {
	return &shmring.Options{Dir: s.l.Rings, Mode: shmring.ModeOpenOnly, WaitForRole: true, KeepStream: true}
}

// brief bounds whatever has to work by now.
func (s *stage) brief() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), labs.Patience)
}

func (s *stage) openLive() (err error) {
	ctx, cancel := s.brief()
	defer cancel()
	s.live, err = shmring.OpenProducer(ctx, s.ring, s.options())
	return err
}

func (s *stage) openConsumer() (err error) {
	ctx, cancel := s.brief()
	defer cancel()
	o := s.options()
	o.OnSkip = func(shmring.SkippedClaim) { s.skips++ }
	s.c, err = shmring.OpenConsumer(ctx, s.ring, o)
	return err
}

func (s *stage) closeLive() error {
	if s.live == nil {
		return nil
	}
	p := s.live
	s.live = nil
	return p.Close()
}

func (s *stage) closeConsumer() error {
	if s.c == nil {
		return nil
	}
	c := s.c
	s.c = nil
	return c.Close()
}

// tell sends the lab's next message.
func (s *stage) tell(size int) error {
	msg := source{lane: laneLab}.made(s.written, size)
	err := s.live.TrySend(msg)
	// The victim may have died with the turn: the others hold back for 20 ms then.
	for end := time.Now().Add(200 * time.Millisecond); err == shmring.ErrFull && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
		err = s.live.TrySend(msg)
	}
	if err != nil {
		return fmt.Errorf("the live producer: %w", err)
	}
	s.written++
	slots := uint64(size+63) / 64
	if s.next%stageSlots+slots > stageSlots {
		s.next += stageSlots - s.next%stageSlots // padding
	}
	s.at = append(s.at, s.next)
	s.next += slots
	return nil
}

// commit finishes the claim of the live producer: nobody may have touched it.
func (s *stage) commit() {
	if !s.held {
		return
	}
	s.held = false
	fill(s.claim.Bytes(), source{lane: laneLab}, s.written)
	if err := s.claim.Commit(); err != nil {
		s.r.fault(&s.r.Lost, "the claim of a live producer was taken from it: %v", err)
		return
	}
	s.written++
}

// handles notes that the victim has handled the next message.
func (s *stage) handles() {
	seq := s.check.lane(laneLab).next
	s.check.handled(entry{source: source{lane: laneLab}, seq: seq, record: s.at[seq]})
	s.marked = seq + 1
}

// take is one message as the lab's consumer sees it.
func (s *stage) take(m shmring.Message) {
	e := noted(m)
	if e.flags == 0 && e.source.lane == laneLab && e.seq < s.marked {
		s.r.fault(&s.r.Duplicated, "message %d, which a dead consumer had handled, comes without a mark", e.seq)
	}
	s.check.handled(e)
}

// drain handles what there is: until the ring is empty, or nothing is left but a claim
// that the lab holds open and what is behind it.
func (s *stage) drain() {
	looked := false
	for end := time.Now().Add(labs.Patience); ; {
		m, err := s.c.TryNext()
		if err == nil {
			s.take(m)
			m.Release()
			continue
		}
		if err == shmring.ErrEmpty {
			if looked && (s.held || s.c.Used() == 0) {
				return
			}
			looked = true
			err = s.c.Check()
		}
		if !s.told(err) {
			return
		}
		if time.Now().After(end) {
			s.r.fault(&s.r.Stuck, "after %v, %d slots are still in use: nobody passes over them", labs.Patience, s.c.Used())
			return
		}
	}
}

// told takes what the consumer says besides messages; false: it fails.
func (s *stage) told(err error) bool {
	switch {
	case err == io.EOF:
		s.ends++
	case errors.Is(err, shmring.ErrPeerDead):
		s.deaths++
	case err != nil:
		s.r.fault(&s.r.Other, "the consumer: %v", err)
		return false
	}
	return true
}

// close lets go of everything. The victim is dead, or never was.
func (s *stage) close() {
	if s.v != nil {
		if !s.v.HasEnded() {
			s.v.kill()
		}
		s.v.forget()
	}
	if s.held {
		s.claim.Abort()
	}
	s.l.must(s.closeLive())
	s.l.must(s.closeConsumer())
	if s.mem != nil {
		s.l.must(unix.Munmap(s.mem))
	}
	if s.ring == "" {
		return
	}
	// A child that is being started shares all descriptors of the lab until its exec.
	err := shmring.Remove(context.Background(), s.ring, &shmring.AdminOptions{Dir: s.options().Dir})
	end := time.Now().Add(labs.Patience)
	for ; errors.Is(err, shmring.ErrBusy) && time.Now().Before(end); runtime.Gosched() {
		err = shmring.Remove(context.Background(), s.ring, &shmring.AdminOptions{Dir: s.options().Dir})
	}
	if err != nil {
		s.r.fault(&s.r.Leaked, "the ring cannot be removed: %v", err)
	}
}

// report adds what this stage found to the lab's result.
func (s *stage) report(where string) {
	l := s.l
	l.mu.Lock()
	defer l.mu.Unlock()
	sum, own := l.r, &s.r
	for _, h := range []struct{ sum, own *uint64 }{
		{&sum.Delivered, &own.Delivered}, {&sum.Lost, &own.Lost}, {&sum.Duplicated, &own.Duplicated},
		{&sum.Repeated, &own.Repeated}, {&sum.Torn, &own.Torn}, {&sum.Disordered, &own.Disordered},
		{&sum.Stuck, &own.Stuck}, {&sum.Leaked, &own.Leaked}, {&sum.Other, &own.Other},
	} {
		*h.sum += *h.own
	}
	if len(own.Problems) > 0 && len(sum.Problems) < labs.MaxProblems {
		sum.Problems = append(sum.Problems, where+": "+strings.Join(own.Problems, "; "))
	}
}
