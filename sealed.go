package shmring

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/shmring/shmring/internal/handover"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

// Sealed is a ring that has no name. It is reached through descriptors, which go from process to
// process over a Unix socket ([Sealed.HandOver], [ReceiveSealed]), by inheritance, or through
// systemd's file descriptor store ([Sealed.File], [OpenSealed]). Nobody can shorten or lengthen
// its memory, and when nobody has it any more it is gone: killed processes leave nothing of it.
// A hole that a peer punches into it reads as zeros; that could be SIGBUS only where the system
// has no page left for it, and Options.Untrusted makes an error of that too. In errors, and wherever else a ring is
// named, it is called "memfd:NAME", as in /proc and by lsof; that name is for people, and
// another ring may have the same.
//
// A Sealed takes no part in its ring, but keeps it alive. [Sealed.OpenProducer],
// [Sealed.OpenConsumer] and [Sealed.OpenObserver] give handles that are like those of rings with names, also in a
// [Poller], and stay when the Sealed is closed. All methods may be called by any goroutine at
// any time.
type Sealed struct {
	s    *segment
	role Role
	lost atomic.Pointer[error] // what look met, once memory was missing
}

// errSetStays is why a sealed ring has no semaphores.
var errSetStays = errors.New("a set of semaphores would outlive a sealed ring")

// NewSealed makes a ring without a name, of the options' geometry. name is for people, and may
// be any that a ring can have. Options that are about a file, and those of a handle, do not
// matter here; Dir, Mode, Perm, Group and AnyOwner are refused. Its doorbell is a futex, or polling
// where futexes are refused: of semaphores something would be left behind. Its locks are OFD.
// ctx ends the allocation of a large ring. Errors: an [*OptionError]; a [*SpaceError];
// [ErrUnsupported] where the system has no memfd or no OFD locks, or the environment variable
// SHMRING_LOCKS says flock. Taking a role in it wants /proc too.
func NewSealed(ctx context.Context, name string, o *Options) (*Sealed, error) {
	if err := contextEnded(ctx, name, "open"); err != nil {
		return nil, err
	}
	o, err := o.resolveSealed()
	if err != nil {
		return nil, err
	}
	size, err := o.checkGeometry()
	if err != nil {
		return nil, err
	}
	cfg := o.newborn()
	refused, err := o.chooseDoorbell(&cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Doorbell == layout.SysV {
		cfg.Doorbell, refused = layout.Poll, append(refused, Refusal{DoorbellSysV, errSetStays})
	}
	name = shm.SealedPrefix + name
	file := judgedAt(name, o.file(), nil)
	seg, err := shm.CreateSealed(ctx, name[len(shm.SealedPrefix):], size, file, format(cfg))
	if err != nil {
		return nil, ofFile(name, err)
	}
	s, err := opened(seg, seg.Name(), o)
	if err != nil {
		return nil, err
	}
	s.info.Created, s.info.Refused, s.info.Participant = true, refused, nobody
	return &Sealed{s: s}, nil
}

// OpenSealed opens the sealed ring behind a file that came from another process: by inheritance,
// from systemd's file descriptor store, or over a socket by means of the caller's own. The file
// stays the caller's, who may close it at once. Nothing of the ring is mapped before the file's
// type, seals, size and header were found right; what whoever gave it may do to the ring is
// what a peer of a ring with a name may do, except to change its size. The options are as those
// of [NewSealed], and conditions. Errors: [ErrRefused] (no memfd, or without the seals);
// [ErrCorrupt], [ErrFormat], [ErrVersion] (a [*FormatError]); [ErrTruncated]; a
// [*GeometryError]; an [*OptionError]; [ErrUnsupported], where /proc is missing.
func OpenSealed(ctx context.Context, f *os.File, o *Options) (*Sealed, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("shmring: %s: %w", f.Name(), err)
	}
	var s *Sealed
	var refused error
	if err := raw.Control(func(fd uintptr) { s, refused = sealedOf(ctx, int(fd), o) }); err != nil {
		return nil, fmt.Errorf("shmring: %s: %w", f.Name(), err)
	}
	return s, refused
}

// sealedOf opens the ring behind a descriptor without a role.
func sealedOf(ctx context.Context, fd int, o *Options) (*Sealed, error) {
	o, err := o.resolveSealed()
	if err != nil {
		return nil, err
	}
	s, err := openSealed(ctx, fd, o)
	if err != nil {
		return nil, err
	}
	s.info.Participant = nobody
	return &Sealed{s: s}, nil
}

// openSealed opens the ring behind a descriptor.
func openSealed(ctx context.Context, fd int, o *Options) (*segment, error) {
	name := shm.SealedName(fd)
	if err := contextEnded(ctx, name, "open"); err != nil {
		return nil, err
	}
	seg, err := shm.OpenSealed(ctx, fd, layout.MinSize, judgedAt(name, o.file(), o.agreeSealed))
	if err != nil {
		return nil, ofFile(name, err)
	}
	return opened(seg, name, o)
}

// agreeSealed refuses a header that no sealed ring has: what it speaks of would be left behind.
func (o *Options) agreeSealed(path string, has layout.Config) error {
	switch {
	case has.Doorbell == layout.SysV:
		return &FormatError{path, "doorbell", has.Doorbell.String(), "futex or poll in a sealed ring", ErrCorrupt}
	case has.Incompat&layout.FlockLocks != 0:
		return &FormatError{path, "locks", shm.Flock.String(), "ofd in a sealed ring", ErrCorrupt}
	}
	return o.agree(path, has)
}

// resolveSealed is resolve for a sealed ring.
func (o *Options) resolveSealed() (*Options, error) {
	o, err := o.resolve()
	if err != nil {
		return nil, err
	}
	doorbell := "Options.Doorbell"
	if o.doorbellFromEnv {
		doorbell = "environment variable " + EnvDoorbell
	}
	return o, firstBroken(
		rule{"Options.Dir", o.Dir == "", o.Dir, "none: a sealed ring is in no directory"},
		rule{"Options.Mode", o.Mode == ModeDefault, int(o.Mode), "ModeDefault: a sealed ring has no name to look for"},
		rule{"Options.Perm", o.Perm == 0, o.Perm, "none: who has a descriptor of a sealed ring may use it"},
		rule{"Options.Group", o.Group == 0, o.Group, "none: who has a descriptor of a sealed ring may use it"},
		rule{"Options.AnyOwner", !o.AnyOwner, o.AnyOwner, "false: HandOver.AllowUIDs says whom to trust with a sealed ring"},
		rule{doorbell, o.Doorbell != DoorbellSysV, o.Doorbell, "futex or poll: " + errSetStays.Error()},
	)
}

// open opens the ring for one who takes a role in it.
func (r *Sealed) open(ctx context.Context, o *Options) (*segment, error) {
	o, err := o.resolveSealed()
	if err != nil {
		return nil, err
	}
	fd, err := r.s.seg.Share()
	if err != nil {
		return nil, r.s.named(err)
	}
	defer handover.Close([]int{fd})
	return openSealed(ctx, fd, o)
}

// OpenProducer is the function of that name for this ring. The options are as those of
// [NewSealed]. Errors: as there, [ErrClosed], and those of [OpenSealed].
func (r *Sealed) OpenProducer(ctx context.Context, o *Options) (*Producer, error) {
	return openProducer(ctx, o, r.open)
}

// OpenConsumer is the function of that name for this ring. The options are as those of
// [NewSealed]. Errors: as there, [ErrClosed], and those of [OpenSealed].
func (r *Sealed) OpenConsumer(ctx context.Context, o *Options) (*Consumer, error) {
	return openConsumer(ctx, o, r.open)
}

// OpenObserver is the function of that name for this ring. Its observers map it for reading only; but whoever has
// the ring, to observe it, may as well write to it: a descriptor that is for reading only could be opened anew. Of the
// options Dir, AnyOwner and Wait are refused. Nobody can remove or replace a sealed ring, so Next never returns
// [ErrOrphaned]; holes that somebody has punched into it are a [*TruncatedError] within a tenth of a second, unless
// they were looked at before. Errors: [ErrClosed], those of OpenObserver, and an [*OptionError].
func (r *Sealed) OpenObserver(ctx context.Context, o *ObserverOptions) (*Observer, error) {
	private, err := o.resolve()
	if err != nil {
		return nil, err
	}
	if err := firstBroken(
		rule{"ObserverOptions.Dir", private.Dir == "", private.Dir, "none: a sealed ring is in no directory"},
		rule{"ObserverOptions.Wait", !private.Wait, private.Wait, "false: a sealed ring is there"},
		rule{"ObserverOptions.AnyOwner", !private.AnyOwner, private.AnyOwner,
			"false: HandOver.AllowUIDs says whom to trust with a sealed ring"},
	); err != nil {
		return nil, err
	}
	name := r.s.info.Name
	if err := contextEnded(ctx, name, "observe"); err != nil {
		return nil, err
	}
	file, err := r.s.seg.Look()
	if err != nil {
		return nil, ofFile(name, r.s.named(err))
	}
	return observe(ctx, name, file, &private)
}

// File returns the ring as a file to be given to another process, which calls [OpenSealed]
// on it: as one of exec.Cmd.ExtraFiles, or to systemd's file descriptor store. It is the
// caller's to close, and stays when r is closed; as long as it is open anywhere the ring is
// there. No lock is ever on it, so whoever gets it cannot take away the role of anybody. Over
// a Unix socket [Sealed.HandOver] looks who gets it. Errors: [ErrClosed], and what the system
// said.
func (r *Sealed) File() (*os.File, error) {
	fd, err := r.s.seg.Share()
	if err != nil {
		return nil, fmt.Errorf("shmring: %w", err)
	}
	return os.NewFile(uintptr(fd), r.s.info.Name), nil
}

// Role returns the role that came with the ring when it was handed over, or "" for any.
func (r *Sealed) Role() Role { return r.role }

// Info returns what opening did and found. Participant is -1.
func (r *Sealed) Info() Info { return r.s.info }

// Peers is the function of that name for this ring. The error is [ErrClosed], [ErrTruncated]
// (the system had no memory for a hole in it) or what the system said.
func (r *Sealed) Peers() (peers []Peer, err error) {
	err = r.look(func() (err error) {
		peers, err = peersOf(r.s.seg, r.s.view)
		return err
	})
	return peers, err
}

// Events is the function of that name for this ring. The error is [ErrClosed] or [ErrTruncated].
func (r *Sealed) Events() (events []Event, err error) {
	err = r.look(func() error {
		events = eventsOf(r.s.view)
		return nil
	})
	return events, err
}

// ForceSkip is the function of that name for this ring. Errors: as there, [ErrClosed] and
// [ErrTruncated].
func (r *Sealed) ForceSkip(ctx context.Context, position Position) (claim StalledClaim, err error) {
	err = r.look(func() (err error) {
		claim, err = forceSkip(ctx, r.s.info.Name, position, r.s.seg, r.s.view)
		return err
	})
	return claim, err
}

// look calls f, which looks at the ring. Where memory of the ring is missing that f touches, f
// ends there, as in visit; from then on the bytes are zeros here, and every look says why.
func (r *Sealed) look(f func() error) (err error) {
	if lost := r.s.seg.Guard(func() { err = f() }); lost != nil {
		lost = r.s.named(lost)
		r.lost.CompareAndSwap(nil, &lost)
	}
	lost := r.lost.Load()
	switch {
	case r.s.closing.Load():
		return ErrClosed
	case lost != nil:
		return *lost
	}
	return err
}

// Close lets go of the ring. Handles that were opened through r stay. Closing again returns nil.
func (r *Sealed) Close() error {
	r.s.closing.Store(true) // before the bytes are zeros
	return r.s.seg.Close()
}
