package shmring

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/doorbell"
	"github.com/shmring/shmring/futex"
	"github.com/shmring/shmring/internal/clock"
	"github.com/shmring/shmring/internal/membarrier"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
	"github.com/shmring/shmring/shm"
)

// opening is how one who attaches comes by the ring.
type opening func(ctx context.Context, o *Options) (*segment, error)

// byName opens a ring by its name, in the usual mode unless the options say otherwise.
func byName(name string, usual Mode) opening {
	return func(ctx context.Context, o *Options) (*segment, error) {
		return open(ctx, name, o, cmp.Or(o.Mode, usual))
	}
}

// join opens a ring and takes a role in it by calling take.
func join(ctx context.Context, o *Options, open opening,
	role Role, take func(*layout.View, ring.Config) (ring.Attachment, error)) (*segment, error) {
	o, err := o.resolve()
	if err != nil {
		return nil, err
	}
	if role == RoleConsumer && o.Kind == KindBroadcast {
		return nil, &OptionError{"Options.Kind", "KindBroadcast", "a kind that has a consumer; a broadcast ring is observed"}
	}
	s, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := firstBroken(o.peerRules(s.view.Config.Kind == layout.Broadcast)...); err != nil {
		return nil, joined(err, s.leave(), s.seg.Discard())
	}
	lost := s.seg.Guard(func() {
		err = s.attach(ctx, o, role, func(cfg ring.Config) (ring.Attachment, error) { return take(s.view, cfg) })
	})
	if lost != nil {
		err = lost
	}
	if err != nil {
		return nil, joined(s.named(err), s.leave(), s.seg.Discard())
	}
	return s, nil
}

// guarded is guard for a call that has an error of its own.
func (s *segment) guarded(f func() error) (err error) {
	if lost := s.guard(func() { err = f() }); lost != nil {
		return lost
	}
	return err
}

// memory is what package ring asks about missing pages.
type memory struct{ *segment }

func (m memory) Lost(addr uintptr) error { return m.named(m.seg.Lost(addr)) }

func (m memory) Forsake() { m.seg.Forsake() }

// named makes an error of package ring name this ring.
func (s *segment) named(err error) error { return named(s.info.Name, err) }

// config returns what package ring needs of the outside.
func (s *segment) config(o *Options, role Role) (ring.Config, error) {
	hot := s.view.Hot
	target := func(word *atomic.Uint32) doorbell.Target {
		return doorbell.Target{Word: word, View: s.view, Segment: s.seg, Inode: s.seg.Inode()}
	}
	data, err := doorbell.New(s.view.Config.Doorbell, target(&hot.DataBell))
	if err != nil {
		return ring.Config{}, fmt.Errorf("shmring: %s: %w", s.info.Path, err)
	}
	space, err := doorbell.New(s.view.Config.Doorbell, target(&hot.SpaceBell))
	if err != nil {
		return ring.Config{}, fmt.Errorf("shmring: %s: %w", s.info.Path, err)
	}
	lot := ring.ParkingLot(s.lot)
	if o.lot != nil {
		lot = o.lot
	}
	first, longest := sleepLimits(o.MaxSleep)
	var noPeer func() error
	if o.NoPeer == NoPeerFail {
		longest = min(longest, peersEvery)
		noPeer = func() error { return s.noPeer(role) }
	}
	return ring.Config{
		Locks: s.seg, DataBell: data, SpaceBell: space, ParkingLot: lot, Barrier: membarrier.System{},
		Park:    o.WaitPolicy == WaitPark,
		SpinFor: s.info.SpinFor, FirstSleep: first, MaxSleep: longest, Fallbacks: s.fallbacks(),
		WhenFull: ring.WhenFull(o.WhenFull), SendTimeout: o.SendTimeout, Identity: processIdentity(),
		Label: o.label(), MeasureEvery: o.MeasureEvery, Now: func() uint64 { return uint64(clock.Shared()) },
		Check: s.check, NoPeer: noPeer, Memory: memory{s}, Wrap: s.named, ExpectedProducers: o.ExpectedProducers,
		AtMostOnce: o.Delivery == DeliveryAtMostOnce, OnSkip: s.onSkip(o), OnStall: s.onStall(o),
		OnStreamEnd: s.onStreamEnd(o),
	}, nil
}

// fallbacks are the better ways of waiting that this handle does without, for people.
func (s *segment) fallbacks() (list []string) {
	for _, r := range s.info.Refused {
		list = append(list, fmt.Sprintf("not the doorbell %s: %v", r.Doorbell, r.Err))
	}
	if s.info.Doorbell == DoorbellFutex {
		if err := futex.VectorRefused(); err != nil {
			list = append(list, fmt.Sprintf("cancelling may take %v: %v", futex.Slice, err))
		}
	}
	return list
}

// told makes what package ring calls to tell of something: it tells the logger, and the user.
func told[R, T any](s *segment, of func(R) T, log, user func(T)) func(R) {
	if s.log == nil && user == nil {
		return nil
	}
	return func(r R) {
		t := of(r)
		if s.log != nil {
			log(t)
		}
		if user != nil {
			user(t)
		}
	}
}

func (s *segment) onSkip(o *Options) func(ring.SkippedClaim) {
	return told(s, skippedOf, func(c SkippedClaim) {
		s.log.Warn("shmring: passed over the claim of a dead producer",
			"ring", s.info.Name, "position", c.Position, "slots", c.Slots, "pid", c.PID)
	}, o.OnSkip)
}

func (s *segment) onStall(o *Options) func(ring.StalledClaim) {
	return told(s, stalledOf, func(c StalledClaim) {
		s.log.Warn("shmring: waiting for the claim of a live producer",
			"ring", s.info.Name, "position", c.Position, "slots", c.Slots, "pid", c.PID, "age", c.Age)
	}, o.OnStall)
}

func (s *segment) onStreamEnd(o *Options) func(ring.StreamEnd) {
	return told(s, streamEndOf, func(e StreamEnd) {
		s.log.Info("shmring: the stream of a producer is over", "ring", s.info.Name, "fate", e.Fate.String(),
			"pid", e.PID, "participant", e.Producer, "epoch", e.Epoch, "streams", e.Streams)
	}, o.OnStreamEnd)
}

const (
	doubtFor = 31 * time.Millisecond  // a taken role is not believed
	lockFor  = 110 * time.Millisecond // the lock of the semaphores is tried
)

// attach takes a role by calling take, which returns what it found.
func (s *segment) attach(ctx context.Context, o *Options, role Role,
	take func(ring.Config) (ring.Attachment, error)) error {
	cfg, err := s.config(o, role)
	if err != nil {
		return err
	}
	var anyDead, anyAlive bool
	var att ring.Attachment
	// One refusal means little: whoever asks whether a participant is alive holds its lock for
	// a moment, and so does a child of a dead one between fork and exec (6.6 ms at worst in 400
	// kills beside a busy neighbour).
	doubtful := time.Now().Add(doubtFor)
	err = retry(ctx, s.info.Name, "open", func() (bool, error) {
		var err error
		anyDead, anyAlive = s.others()
		att, err = take(cfg)
		_, isBusy := err.(*ring.BusyError)
		return !isBusy || !o.WaitForRole && time.Now().After(doubtful), named(s.info.Name, err)
	})
	if err != nil {
		return err
	}
	s.info.Participant, s.info.Epoch, s.info.TookOver = att.Index, att.Epoch, att.TookOver
	s.presence = ring.NewPresence(s.view, s.seg.Held, att.Index)
	s.info.Recovered = anyDead && !anyAlive
	if s.log != nil {
		s.log.Info("shmring: attached", "ring", s.info.Name, "path", s.info.Path, "created", s.info.Created,
			"recovered", s.info.Recovered, "took_over", s.info.TookOver, "participant", att.Index)
	}
	return nil
}

// others looks at the participants for Info. Nothing is decided by it.
func (s *segment) others() (dead, alive bool) {
	for i := range s.view.Participants {
		state := s.view.Participants[i].State.Load()
		if !state.Attached() {
			continue
		}
		held, err := s.seg.Held(i)
		dead = dead || err == nil && !held && state != layout.Ended
		alive = alive || held
	}
	return dead, alive
}

// detach gives the participant slot of a closed handle back and lets go of the ring.
// Goroutines may still be inside calls that do not wait. They keep the old pages, which
// are private by now; the slot is given back through new ones.
// f is the fate of a producer's stream, unless it was ended before.
func (s *segment) detach(att ring.Attachment, f Fate) error {
	err := s.close(func(mem []byte, notify func()) {
		view, err := layout.ViewOf(s.seg.Fixed(), mem)
		if err != nil {
			return // never: it was judged when we opened it
		}
		ring.Detach(view, att, layout.Fate(f), toWake(s.seg, view, notify))
	})
	s.lot.Close()
	return err
}

// toWake is what package ring needs to wake a consumer, for one who takes no part in the ring.
func toWake(seg *shm.Segment, view *layout.View, notify func()) ring.Config {
	bell := doorbell.NewWaker(view.Config.Doorbell, doorbell.Target{
		Word: &view.Hot.DataBell, View: view, Inode: seg.Inode(),
	})
	return ring.Config{DataBell: bell, ParkingLot: waker{notify: notify}, Barrier: membarrier.System{}}
}

// waker is a parking lot in which nobody parks any more.
type waker struct {
	ring.ParkingLot
	notify func()
}

func (w waker) Wake() { w.notify() }

// close lets go of the ring.
func (s *segment) close(last func(mem []byte, notify func())) error {
	return joined(s.leave(), s.named(s.seg.CloseWith(last)))
}

// leave comes before letting go. Where nobody can open the ring any more, because its file was
// removed by hand or spoiled, the last to leave removes what of it is not in the file.
func (s *segment) leave() (err error) {
	if s.view.Config.Doorbell != layout.SysV {
		return nil
	}
	if lost := s.seg.Guard(func() { err = s.leaveSemaphores() }); lost != nil {
		return s.named(lost)
	}
	return err
}

func (s *segment) leaveSemaphores() (err error) {
	lost := s.check()
	damaged := errors.Is(lost, ErrCorrupt) // so much that whoever removes the ring may not know its set
	if damaged || errors.Is(lost, ErrOrphaned) {
		// One after the other: of two who look at the same time, each would see the other.
		// Who has just been making the set, or was stopped while at it, is not waited for:
		// it closes too.
		_ = retry(context.Background(), s.info.Name, "close", s.lockSemaphores())
		var uid int
		var last bool
		last, err = s.seg.Leave()
		switch {
		case last && err == nil:
			words := &s.view.Hot.Semaphores
			if damaged {
				words = new(layout.Semaphores) // the bytes are not touched any more
			}
			if uid, _, _, err = s.seg.Owner(); err == nil {
				err = doorbell.Remove(s.view.Config, words, doorbell.File{Inode: s.seg.Inode(), Owner: uid})
			}
		}
	}
	return err
}

// check looks at the file from outside.
func (s *segment) check() error { return s.named(s.seg.Check()) }

// lockSemaphores tries, for a moment, to take the lock of the semaphore set.
func (s *segment) lockSemaphores() func() (bool, error) {
	until := time.Now().Add(lockFor)
	return func() (bool, error) {
		ok, err := s.seg.TryLock(layout.SemaphoreLock)
		return ok || err != nil || time.Now().After(until), err
	}
}
