package shmring

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/doorbell"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
	"github.com/shmring/shmring/shm"
)

// segment is a ring that was opened and not yet attached to.
type segment struct {
	seg  *shm.Segment
	lot  *doorbell.ParkingLot
	view *layout.View
	info Info
	log  *slog.Logger

	// guard is Guard of the handle that has attached: it calls f, and ends the handle by an error where
	// memory of the ring is missing.
	guard     func(f func()) error
	presence  *ring.Presence
	attendant *attendant  // or nil
	closing   atomic.Bool // the handle is being closed
}

// Looking again for what another process has yet to do, where nobody tells: its leaving of a
// role, its creation of the ring. The pauses grow to an eighth of the time waited, so that
// who waits for long takes little of a processor.
const (
	firstPause   = time.Millisecond
	longestPause = 100 * time.Millisecond // 0.2 % of a processor
	pauseShare   = 8
)

// retries are what one operation does until it succeeds.
type retries struct {
	name, op string
	longest  time.Duration // of the pauses
	steady   bool          // they are all that long, since there is news
	up       chan struct{} // a token: look at once; nil: there is no news
}

// retry is do for operations of which nobody tells.
func retry(ctx context.Context, name, op string, f func() (done bool, err error)) error {
	r := retries{name: name, op: op, longest: longestPause}
	return r.do(ctx, f)
}

// do calls f until it is done or the context ends.
func (r *retries) do(ctx context.Context, f func() (done bool, err error)) error {
	ended := func(why ...error) error {
		return &ContextError{r.name, r.op, ctx.Err(), joined(append(why, context.Cause(ctx))...)}
	}
	var last error // what was waited for
	for begin := time.Now(); ; {
		done, err := f()
		if done {
			if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
				return ended(err, last)
			}
			return err
		}
		last = err
		pause := r.longest
		if !r.steady {
			pause = min(max(firstPause, time.Since(begin)/pauseShare), r.longest)
		}
		r.pause(ctx, pause)
		if ctx.Err() != nil {
			return ended(err)
		}
	}
}

// pause waits for so long, for news or for the context.
func (r *retries) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-r.up:
	case <-timer.C:
	case <-ctx.Done():
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
	file := judged(name, o.file(), o.agree)
	var seg *shm.Segment
	var created bool
	var refused []Refusal
	a := newAppearance(name, file)
	defer a.stop()
	err := a.do(ctx, func() (bool, error) {
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
			a.watch()
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
	s, err := opened(seg, name, o)
	if err != nil {
		return nil, err
	}
	if s.info.Created = created; created {
		s.info.Refused = refused
	}
	return s, nil
}

// file are the options of the ring's file.
func (o *Options) file() shm.Options {
	return shm.Options{
		Dir: o.Dir, Perm: o.Perm, Group: o.Group, AnyOwner: o.AnyOwner,
		Prefault: o.Prefault, Mlock: o.Mlock, HugePages: o.HugePages,
	}
}

// opened is a ring whose segment was opened and judged. After an error seg is closed.
func opened(seg *shm.Segment, name string, o *Options) (*segment, error) {
	view, err := parse(seg)
	if err != nil {
		return nil, joined(err, seg.Discard())
	}
	s := &segment{seg: seg, lot: doorbell.NewParkingLot(seg), view: view, log: o.Logger}
	s.describe(name, o)
	return s, nil
}

// Looking for a ring that is to be created. Only tests change them.
var (
	// watchedPause is for where the system tells of it. It is for directories that are
	// themselves removed and made anew, which nobody tells of.
	watchedPause = time.Second
	// unwatchedPause is for where it does not: no inotify, none left, or no such directory.
	unwatchedPause = 500 * time.Millisecond // 0.1 % of a processor
	// restlessPause is how long one looks at most seldom: whoever may make files in the
	// directory may make and remove one of that name all the time.
	restlessPause = 5 * time.Millisecond
)

// onAppear is shm.OnAppear. Only tests replace it.
var onAppear = shm.OnAppear

// appearance waits for a ring's file to come into being.
type appearance struct {
	retries
	file   *shm.Options
	told   func()    // ends the watch, or nil
	since  time.Time // when the watch began
	looked time.Time // last
}

func newAppearance(name string, file *shm.Options) *appearance {
	r := retries{name: name, op: "open", longest: unwatchedPause, up: make(chan struct{}, 1)}
	return &appearance{retries: r, file: file}
}

// watch has looked in vain. It sees to it that we are told, if the system can tell.
func (a *appearance) watch() {
	now := time.Now()
	if now.Sub(a.looked) < restlessPause && a.told != nil {
		time.Sleep(restlessPause)
	}
	a.looked = time.Now()
	if a.told != nil && now.Sub(a.since) < watchedPause {
		return
	}
	told, err := onAppear(a.name, a.file, a.news)
	before := a.told
	a.stop() // after the new one began: of the same directory the system has one watch, which stays
	a.told, a.since, a.longest, a.steady = told, now, watchedPause, true
	if err != nil {
		a.longest, a.steady = unwatchedPause, false
	} else if before == nil {
		a.news() // it may have come in between
	}
}

func (a *appearance) news() {
	select {
	case a.up <- struct{}{}:
	default:
	}
}

func (a *appearance) stop() {
	if a.told != nil {
		a.told()
	}
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

// judged makes options for files whose header is checked before they are mapped. agree, if not
// nil, may refuse what is sound.
func judged(name string, file shm.Options, agree func(path string, has layout.Config) error) *shm.Options {
	path, err := shm.Path(name, &file)
	if err != nil {
		path = name // which is refused by itself
	}
	return judgedAt(path, file, agree)
}

// judgedAt is judged for a file that has that path, or is called so.
func judgedAt(path string, file shm.Options, agree func(path string, has layout.Config) error) *shm.Options {
	file.Fixed = layout.FixedSize
	file.Judge = func(fixed []byte, length int64) error {
		cfg, err := layout.ParseFixed(fixed, length)
		if err == nil && agree != nil {
			err = agree(path, cfg)
		}
		return ofFile(path, err)
	}
	return &file
}

// parse makes a view of a segment whose header was checked, and the handle's life locks of the
// kind that it says. Its error names the file.
func parse(seg *shm.Segment) (*layout.View, error) {
	view, err := layout.ViewOf(seg.Fixed(), seg.Bytes())
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
	cfg := o.newborn()
	refused, err := o.chooseDoorbell(&cfg)
	if err != nil {
		return nil, nil, err
	}
	seg, err := shm.Create(ctx, name, size, file, format(cfg))
	return seg, refused, err
}

// format makes a ring of a new segment.
func format(cfg layout.Config) func(mem []byte, locks shm.Locks) error {
	return func(mem []byte, locks shm.Locks) error {
		if locks == shm.Flock {
			cfg.Incompat |= layout.FlockLocks
		}
		v, err := layout.Format(mem, cfg)
		if err == nil {
			ring.RecordCreation(v)
		}
		return err
	}
}

// newborn is the layout of a ring that is created now.
func (o *Options) newborn() layout.Config {
	cfg := o.layout()
	cfg.Created = time.Now().UnixNano()
	rand.Read(cfg.UUID[:]) // never fails
	return cfg
}

// chooseDoorbell sets the doorbell of a ring that is to be created, and returns those that
// would have been better.
func (o *Options) chooseDoorbell(cfg *layout.Config) (refused []Refusal, err error) {
	if cfg.Kind == layout.Broadcast {
		return nil, nil
	}
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
