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
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

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
	firstPause   = time.Millisecond
	longestPause = 20 * time.Millisecond
)

// retry calls f until it is done or the context ends.
func retry(ctx context.Context, name, op string, f func() (done bool, err error)) error {
	ended := func(why ...error) error {
		return &ContextError{name, op, ctx.Err(), joined(append(why, context.Cause(ctx))...)}
	}
	var last error // what was waited for
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		done, err := f()
		if done {
			if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
				return ended(err, last)
			}
			return err
		}
		last = err
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		if ctx.Err() != nil { // select takes either, if both are ready
			return ended(err)
		}
	}
}

// contextEnded returns an error if the context has ended already.
func contextEnded(ctx context.Context, name, op string) error {
	if ctx.Err() == nil {
		return nil
	}
	return &ContextError{name, op, ctx.Err(), context.Cause(ctx)}
}

func open(ctx context.Context, name string, o *Options, mode Mode) (*segment, error) {
	if err := contextEnded(ctx, name, "open"); err != nil {
		return nil, err
	}
	file := &shm.Options{Dir: o.Dir, Perm: o.Perm, AnyOwner: o.AnyOwner, Prefault: o.Prefault, Mlock: o.Mlock}
	var seg *shm.Segment
	var created bool
	var refused []Refusal
	err := retry(ctx, name, "open", func() (bool, error) {
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
		return nil, ofFile(name, err)
	}
	view, err := parse(seg)
	if err == nil {
		err = o.agree(seg.Path(), view.Config)
	}
	if err != nil {
		return nil, joined(err, seg.Close())
	}
	s := &segment{seg: seg, lot: doorbell.NewParkingLot(seg), view: view, log: o.Logger}
	s.describe(name, o)
	if s.info.Created = created; created {
		s.info.Refused = refused
	}
	return s, nil
}

// describe fills in what opening found.
func (s *segment) describe(name string, o *Options) {
	cfg, applied := s.view.Config, s.seg.Applied()
	s.info = Info{
		Name: name, Path: s.seg.Path(), Size: int64(len(s.seg.Bytes())),
		Kind: Kind(cfg.Kind), Slots: cfg.Slots, SlotSize: cfg.SlotSize, MaxMessage: cfg.MaxMessage,
		MaxProducers: cfg.Participants - 1, UUID: cfg.UUID, Doorbell: Doorbell(cfg.Doorbell),
		SpinFor: o.WaitPolicy.spinFor(o.SpinFor), Locks: applied.Locks.String(), Applied: appliedOf(applied),
	}
}

// parse checks a segment's header and makes the handle's life locks of the kind that it
// says. Its error names the file.
func parse(seg *shm.Segment) (*layout.View, error) {
	view, err := layout.Parse(seg.Bytes())
	if err != nil {
		return nil, ofFile(seg.Path(), err)
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

func create(ctx context.Context, name string, o *Options, file *shm.Options) (*shm.Segment, []Refusal, error) {
	size, err := o.checkGeometry()
	if err != nil {
		return nil, nil, err
	}
	cfg := o.layout()
	cfg.Created = time.Now().UnixNano()
	rand.Read(cfg.UUID[:]) // never fails
	refused, err := o.chooseDoorbell(&cfg)
	if err != nil {
		return nil, nil, err
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

// chooseDoorbell sets the doorbell of a ring that is to be created, and returns those that
// would have been better.
func (o *Options) chooseDoorbell(cfg *layout.Config) (refused []Refusal, err error) {
	if o.Doorbell != DoorbellAuto {
		cfg.Doorbell = layout.Doorbell(o.Doorbell)
		if err := doorbell.Refused(cfg.Doorbell); err != nil {
			return nil, fmt.Errorf("shmring: Options.Doorbell: %w", err)
		}
		return nil, nil
	}
	kind, better := probe()
	cfg.Doorbell = kind
	for _, r := range better {
		refused = append(refused, Refusal{Doorbell(r.Kind), r.Err})
	}
	return refused, nil
}
