package shmring

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/shmring/shmring/doorbell"
	"github.com/shmring/shmring/futex"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
	"github.com/shmring/shmring/shm"
)

// Info tells what opening a ring did and found.
type Info struct {
	Name string
	Path string
	Size int64 // bytes

	Created   bool // this call made the ring
	TookOver  bool // the participant before us in this role had died without leaving
	Recovered bool // nobody else is alive, and somebody had died without leaving

	Kind         Kind
	Slots        int
	SlotSize     int
	MaxMessage   int
	MaxProducers int
	UUID         [16]byte
	Doorbell     layout.Doorbell // how sleepers are woken
	Spin         time.Duration   // how long this handle spins before it sleeps; negative: for ever
	// Refused are the doorbells that would have been better and do not work here, if this
	// call made the ring and had the choice.
	Refused []doorbell.Refusal

	Locks string // how who lives is told: "ofd" or "flock"; see package shm

	Participant int    // our slot in the table of participants
	Epoch       uint32 // how often that slot has been taken
	Applied     shm.Applied
}

// segment is a ring that was opened and not yet attached to.
type segment struct {
	seg  *shm.Segment
	lot  *doorbell.ParkingLot
	view *layout.View
	info Info
	log  *slog.Logger
}

// Polling for what another process has yet to do: its creation of the ring, or its
// leaving of a role.
const (
	pollFirst = time.Millisecond
	pollMost  = 20 * time.Millisecond
)

// retry calls f until it is done or the context ends.
func retry(ctx context.Context, op string, f func() (done bool, err error)) error {
	var last error // what was waited for
	for pause := pollFirst; ; pause = min(2*pause, pollMost) {
		done, err := f()
		if done {
			if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
				return &ring.ContextError{Op: op, Err: ctx.Err(), Cause: errors.Join(context.Cause(ctx), err, last)}
			}
			return err
		}
		last = err
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return &ring.ContextError{Op: op, Err: ctx.Err(), Cause: errors.Join(context.Cause(ctx), err)}
		}
	}
}

func open(ctx context.Context, name string, o *Options, mode Mode) (*segment, error) {
	if ctx.Err() != nil {
		return nil, &ring.ContextError{Op: "open", Err: ctx.Err(), Cause: context.Cause(ctx)}
	}
	file := &shm.Options{Dir: o.Dir, Perm: o.Perm, AnyOwner: o.AnyOwner, Prefault: o.Prefault, Mlock: o.Mlock}
	var seg *shm.Segment
	var created bool
	var refused []doorbell.Refusal
	err := retry(ctx, "open", func() (bool, error) {
		var err error
		if mode != ModeCreateOnly {
			seg, err = shm.Open(ctx, name, layout.MinSize, file)
			if !errors.Is(err, fs.ErrNotExist) {
				return true, err
			}
		}
		switch mode {
		case ModeOpenOnly:
			return true, err
		case ModeOpenWait:
			return false, err
		}
		seg, refused, err = create(ctx, name, o, file)
		created = err == nil
		// Somebody else won the race to create: open theirs.
		return mode == ModeCreateOnly || !errors.Is(err, fs.ErrExist), err
	})
	if err != nil {
		return nil, err
	}
	view, err := parse(seg)
	if err == nil {
		err = o.agree(seg.Path(), view.Config)
	}
	if err != nil {
		return nil, errors.Join(err, seg.Close())
	}
	cfg := view.Config
	if !created {
		refused = nil
	}
	return &segment{seg: seg, lot: doorbell.NewParkingLot(seg), view: view, log: o.Logger, info: Info{
		Name: name, Path: seg.Path(), Size: int64(len(seg.Bytes())), Created: created,
		Kind: cfg.Kind, Slots: cfg.Slots, SlotSize: cfg.SlotSize, MaxMessage: cfg.MaxMessage,
		MaxProducers: cfg.Participants - 1, UUID: cfg.UUID, Doorbell: cfg.Doorbell, Spin: o.spin(cfg.Doorbell),
		Refused: refused, Locks: seg.Applied().Locks.String(), Applied: seg.Applied(),
	}}, nil
}

// parse checks a segment's header and makes the handle's life locks of the kind that it
// says. Its error names the file.
func parse(seg *shm.Segment) (*layout.View, error) {
	view, err := layout.Parse(seg.Bytes())
	if err != nil {
		return nil, fmt.Errorf("shmring: %s: %w", seg.Path(), err)
	}
	kind := shm.OFD
	if view.Config.Incompat&layout.FlockLocks != 0 {
		kind = shm.Flock
	}
	if err := seg.UseLocks(kind); err != nil {
		return nil, fmt.Errorf("shmring: %w", err)
	}
	return view, nil
}

// probe is doorbell.Probe. Only tests replace it.
var probe = doorbell.Probe

func create(ctx context.Context, name string, o *Options, file *shm.Options) (_ *shm.Segment, refused []doorbell.Refusal, err error) {
	cfg := o.layout()
	cfg.Created = time.Now().UnixNano()
	rand.Read(cfg.UUID[:]) // never fails
	if cfg.Doorbell = o.Doorbell.doorbell(); cfg.Doorbell == 0 {
		cfg.Doorbell, refused = probe()
	} else if err := doorbell.Refused(cfg.Doorbell); err != nil {
		return nil, nil, fmt.Errorf("shmring: %w", err)
	}
	size, err := cfg.Size()
	if err != nil {
		return nil, nil, fmt.Errorf("shmring: %w", err)
	}
	seg, err := shm.Create(ctx, name, size, file, func(mem []byte, locks shm.Locks) error {
		if locks == shm.Flock {
			cfg.Incompat |= layout.FlockLocks
		}
		_, err := layout.Format(mem, cfg)
		return err
	})
	return seg, refused, err
}

// config is what a half of the ring needs of the outside.
func (s *segment) config(o *Options) (ring.Config, error) {
	data, err := doorbell.New(s.view.Config.Doorbell, doorbell.Site{Word: &s.view.Hot.DataBell, View: s.view, Segment: s.seg})
	if err != nil {
		return ring.Config{}, fmt.Errorf("shmring: %s: %w", s.info.Path, err)
	}
	space, err := doorbell.New(s.view.Config.Doorbell, doorbell.Site{Word: &s.view.Hot.SpaceBell, View: s.view, Segment: s.seg})
	if err != nil {
		return ring.Config{}, fmt.Errorf("shmring: %s: %w", s.info.Path, err)
	}
	return ring.Config{
		Locks: s.seg, DataBell: data, SpaceBell: space, ParkingLot: s.lot, SpinFor: s.info.Spin, FirstSleep: o.firstSleep(), MaxSleep: o.longestSleep(),
		WhenFull: ring.WhenFull(o.WhenFull), SendTimeout: o.SendTimeout, Identity: who(), Check: s.seg.Check, Fallbacks: s.fallbacks(),
		ExpectedProducers: o.ExpectedProducers, AtMostOnce: o.Delivery == DeliveryAtMostOnce, OnSkip: s.onSkip(o), OnStall: s.onStall(o),
	}, nil
}

// fallbacks are the better ways of waiting that this handle does without, for people.
func (s *segment) fallbacks() (list []string) {
	for _, r := range s.info.Refused {
		list = append(list, fmt.Sprintf("not the doorbell %s: %v", r.Kind, r.Err))
	}
	if s.info.Doorbell == layout.Futex {
		if err := futex.VectorRefused(); err != nil {
			list = append(list, fmt.Sprintf("cancelling may take %v: %v", futex.Slice, err))
		}
	}
	return list
}

func (s *segment) onSkip(o *Options) func(ring.SkippedClaim) {
	if s.log == nil {
		return o.OnSkip
	}
	return func(k ring.SkippedClaim) {
		s.log.Warn("shmring: passed over the claim of a dead producer",
			"ring", s.info.Name, "position", k.Position, "slots", k.Slots, "pid", k.PID)
		if o.OnSkip != nil {
			o.OnSkip(k)
		}
	}
}

func (s *segment) onStall(o *Options) func(ring.StalledClaim) {
	if s.log == nil {
		return o.OnStall
	}
	return func(c ring.StalledClaim) {
		s.log.Warn("shmring: waiting for the claim of a live producer",
			"ring", s.info.Name, "position", c.Position, "slots", c.Slots, "pid", c.PID, "age", c.Age)
		if o.OnStall != nil {
			o.OnStall(c)
		}
	}
}

// join opens a ring, in the usual mode unless the options say otherwise, and takes a
// role in it by calling take.
func join(ctx context.Context, name string, o *Options, usual Mode, take func(*layout.View, ring.Config) (ring.Attachment, error)) (*segment, error) {
	o, err := o.resolve()
	if err != nil {
		return nil, err
	}
	mode := o.Mode
	if mode == ModeDefault {
		mode = usual
	}
	s, err := open(ctx, name, o, mode)
	if err != nil {
		return nil, err
	}
	err = s.attach(ctx, o, func(cfg ring.Config) (ring.Attachment, error) { return take(s.view, cfg) })
	if err != nil {
		return nil, errors.Join(err, s.close(nil))
	}
	return s, nil
}

// detach gives the participant slot of a halted handle back and lets go of the ring.
// Goroutines may still be inside calls that do not wait. They keep the old pages, which
// are private by now; the slot is given back through new ones.
func (s *segment) detach(att ring.Attachment) error {
	s.lot.Close()
	return s.close(func(mem []byte) {
		view, err := layout.Parse(mem)
		if err != nil || view.Config != s.view.Config {
			return // somebody has destroyed the header: there is nothing to give back
		}
		ring.Detach(view, att)
	})
}

// close lets go of the ring. Where nobody can open it any more, because its file was
// removed by hand, the last to do so removes what of it is not in the file.
func (s *segment) close(last func([]byte)) error {
	var err error
	if s.view.Config.Doorbell == layout.SysV && errors.Is(s.seg.Check(), shm.ErrOrphaned) {
		// One after the other, until the lock goes with the file: of two who look at the
		// same time, each would see the other. Who has just been making the set, or was
		// stopped while at it, is not waited for: it closes too.
		_ = retry(context.Background(), "close", s.turn())
		var uid int
		var alone bool
		alone, err = s.seg.Alone()
		switch {
		case errors.Is(err, shm.ErrOrphaned):
			err = nil // flock makes no locks for an orphan, so nobody can tell: the set stays
		case alone && err == nil:
			if uid, _, _, err = s.seg.Owner(); err == nil {
				err = doorbell.Remove(s.view.Config, &s.view.Hot.Semaphores, uid)
			}
		}
	}
	return errors.Join(err, s.seg.CloseWith(last))
}

// turn tries, some times, to take the lock of the semaphore set.
func (s *segment) turn() func() (bool, error) {
	tries := 10
	return func() (bool, error) {
		tries--
		ok, err := s.seg.TryLock(layout.SemaphoreLock)
		return ok || err != nil || tries == 0, err
	}
}

// attach takes a role by calling take, which returns what it found.
func (s *segment) attach(ctx context.Context, o *Options, take func(ring.Config) (ring.Attachment, error)) error {
	cfg, err := s.config(o)
	if err != nil {
		return err
	}
	var anyDead, anyAlive bool
	var att ring.Attachment
	// Somebody who asks whether a participant lives holds its lock for a moment, so one
	// refusal means little.
	doubts := 3
	err = retry(ctx, "open", func() (bool, error) {
		var err error
		anyDead, anyAlive = s.others()
		att, err = take(cfg)
		busy, isBusy := err.(*ring.BusyError)
		doubts--
		return !isBusy || !o.WaitForRole && busy.Draining == 0 && doubts < 0, err
	})
	if err != nil {
		return err
	}
	s.info.Participant, s.info.Epoch, s.info.TookOver = att.Index, att.Epoch, att.TookOver
	s.info.Recovered = anyDead && !anyAlive
	if s.log != nil {
		s.log.Info("shmring: attached", "ring", s.info.Name, "path", s.info.Path, "created", s.info.Created,
			"recovered", s.info.Recovered, "took_over", s.info.TookOver, "participant", att.Index)
	}
	return nil
}

// others looks at the participants for Info; nothing is decided by it.
func (s *segment) others() (dead, alive bool) {
	for i := range s.view.Participants {
		state := layout.ParticipantState(s.view.Participants[i].State.Load())
		if !state.Attached() {
			continue
		}
		held, err := s.seg.Held(i)
		dead = dead || err == nil && !held && state != layout.Ended
		alive = alive || held
	}
	return dead, alive
}

// Remove removes a ring that nobody uses: its name, and with it its memory. Of the
// options only Dir matters. It refuses with ErrBusy while any process has the ring
// open. fs.ErrNotExist if there is none. A *doorbell.SetError means that the ring is gone
// and its semaphore set is not, for want of permission.
func Remove(name string, o *Options) error {
	err := shm.RemoveWith(name, &shm.Options{Dir: o.orDefault().Dir}, layout.MinSize, func(head []byte, uid int) error {
		cfg, hot, err := layout.ParseHead(head)
		if err != nil {
			return nil // whatever it is, it may go
		}
		return doorbell.Remove(cfg, &hot.Semaphores, uid)
	})
	if errors.Is(err, shm.ErrBusy) {
		return inUse{err}
	}
	return err
}

// inUse makes an error of package shm match ErrBusy.
type inUse struct{ error }

func (e inUse) Is(target error) bool { return target == ErrBusy }
func (e inUse) Unwrap() error        { return e.error }
