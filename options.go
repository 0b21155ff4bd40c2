package shmring

import (
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// Kind tells how many producers a ring admits.
type Kind = layout.Kind

const (
	KindSPSC = layout.SPSC // one producer
	KindMPSC = layout.MPSC // many producers
)

// Mode tells how a handle comes by its ring.
type Mode int

const (
	// ModeDefault: a producer opens the ring or creates it, whichever it takes; a
	// consumer opens it, and waits for it to be created, so that either side may start
	// first and the producer decides on the geometry.
	ModeDefault Mode = iota
	// ModeOpenOrCreate opens the ring, or creates it if there is none.
	ModeOpenOrCreate
	// ModeCreateOnly creates the ring; fs.ErrExist if there is one.
	ModeCreateOnly
	// ModeOpenOnly opens the ring; fs.ErrNotExist if there is none.
	ModeOpenOnly
	// ModeOpenWait opens the ring and waits, until the context ends, for it to be there.
	ModeOpenWait
)

// Doorbell tells by which doorbell the users of a ring sleep and wake each other. A ring
// is created with one; opening one that has another than the options insist on is
// refused.
type Doorbell int

const (
	// DoorbellAuto takes what the ring has. A ring that is created gets what the environment
	// variable SHMRING_DOORBELL says (futex, sysv, poll or spin; it also insists, like the
	// constants below), else the first of futex, SysV semaphore and poll that works on
	// this system.
	DoorbellAuto Doorbell = iota
	// DoorbellFutex is a futex: the fastest.
	DoorbellFutex
	// DoorbellSpin never sleeps, whatever Policy says: the lowest latency, for one processor
	// core on each side. A handle with it also opens rings with another doorbell.
	DoorbellSpin
	// DoorbellSysV is a SysV semaphore, for systems that refuse futexes.
	DoorbellSysV
	// DoorbellPoll is naps of up to some milliseconds, for systems that refuse both.
	DoorbellPoll
)

// EnvDoorbell is the environment variable that says what DoorbellAuto is.
const EnvDoorbell = "SHMRING_DOORBELL"

var waits = map[string]Doorbell{"futex": DoorbellFutex, "sysv": DoorbellSysV, "poll": DoorbellPoll, "spin": DoorbellSpin}

// doorbell is what a ring has to have; 0: it is free.
func (w Doorbell) doorbell() layout.Doorbell {
	switch w {
	case DoorbellFutex:
		return layout.Futex
	case DoorbellSpin:
		return layout.Spin
	case DoorbellSysV:
		return layout.SysV
	case DoorbellPoll:
		return layout.Poll
	}
	return 0
}

// WaitPolicy tells how much processor time a handle spends on waking early. It is each
// handle's own affair.
type WaitPolicy int

const (
	// WaitBalanced busy-waits for up to SpinFor, as long as that has mostly paid lately, then
	// sleeps. Where only one processor is usable it sleeps at once: the processors that
	// the process may run on, GOMAXPROCS and the quota of its control groups count.
	WaitBalanced WaitPolicy = iota
	// WaitSleep sleeps at once.
	WaitSleep
	// WaitSpin never sleeps.
	WaitSpin
)

// WhenFull tells what Send and SendBatch do when the ring is full.
type WhenFull int

const (
	// WhenFullBlock waits for room, until the context ends or for Options.SendTimeout.
	WhenFullBlock WhenFull = iota
	// WhenFullFail returns ErrFull.
	WhenFullFail
	// WhenFullDrop drops the message, counts it in Stats.Dropped and returns nil. The end of
	// a stream is never dropped.
	WhenFullDrop
)

// Delivery is what a consumer promises about messages that a former consumer may have
// handled: one that died, or that was closed with messages still in hand.
type Delivery int

const (
	// DeliveryAtLeastOnce delivers them again, with Message.Redelivered set.
	DeliveryAtLeastOnce Delivery = iota
	// DeliveryAtMostOnce passes over them. A message that was on its way to the user's code when
	// the process died is lost, and with it the rest of its batch, which is also lost when
	// the consumer is closed in the middle of it; Stats.Dropped counts such records. After
	// a consumer that promised DeliveryAtLeastOnce, up to 64 messages more are passed over than
	// that one had seen.
	DeliveryAtMostOnce
)

// Defaults of Options. The ring they make takes 2.6 MiB.
const (
	DefaultSlots        = 8192
	DefaultSlotSize     = 256
	DefaultMaxMessage   = 64 << 10
	DefaultMaxProducers = layout.MaxParticipants - 1 // of an MPSC ring
	DefaultSpin         = 20 * time.Microsecond
	DefaultMaxSleep     = 400 * time.Millisecond
	DefaultLinger       = time.Second
)

// NoPayload as Options.SlotSize makes a ring of messages of at most 48 bytes.
const NoPayload = -1

// Options of OpenProducer and OpenConsumer. The zero value is a good default and so
// is nil. The same Options may be used for many calls.
//
// By which kind of locks a ring's users tell who lives is no option: a ring that is
// created gets what the environment variable SHMRING_LOCKS says (ofd or flock; it also
// insists when a ring is opened), else OFD locks if the system has them, else flock.
type Options struct {
	// Dir is where the ring's file lives: any directory of a memory file system. Empty:
	// the environment variable SHMRING_DIR, else /dev/shm.
	Dir string
	// Mode tells whether to create or to open.
	Mode Mode

	// Geometry. It decides what is created; of a ring that exists, what is not zero must
	// agree with it: Kind, Slots and SlotSize exactly, MaxMessage and MaxProducers at
	// least. Size tells what it takes.
	Kind         Kind // zero: SPSC
	Slots        int  // how many messages of up to max(48, SlotSize) bytes fit; a power of two from 8. Zero: DefaultSlots
	SlotSize     int  // bytes, a multiple of 64; longer messages take several slots in a row. Zero: DefaultSlotSize; NoPayload
	MaxMessage   int  // bytes, at most 4095 slots and at most the whole ring. Zero: DefaultMaxMessage, or what fits if that is less
	MaxProducers int  // of an MPSC ring at one time, 1 to 254. Zero: DefaultMaxProducers

	// Perm are the permission bits of a ring that is created; zero: 0600. The umask does
	// not apply. Write permission for everybody is refused.
	Perm fs.FileMode
	// AnyOwner accepts a ring that belongs to somebody other than us or root, or that
	// everybody may write.
	AnyOwner bool

	// Wait tells how the ring's users sleep, Policy how eager this handle is.
	Doorbell   Doorbell
	WaitPolicy WaitPolicy
	// SpinFor is how long Balanced busy-waits at most before it sleeps; zero:
	// DefaultSpin.
	SpinFor time.Duration
	// MaxSleep bounds each single sleep, after which a handle looks around: it bounds how
	// late a message is noticed whose sender was killed just before it could ring, and how
	// late the death of an SPSC ring's producer. Zero: 10 ms, growing to an eighth of the
	// time waited so far, at most 400 ms; sleeps of 10 ms take 0.7 % of a processor, those of
	// 400 ms 0.07 %. Otherwise at least 1 ms; above 10 ms it grows likewise.
	MaxSleep time.Duration

	// Full tells what a producer's Send does when the ring is full.
	WhenFull WhenFull
	// SendTimeout bounds how long Send and its kin wait for room, without the cost of a
	// context for each: os.ErrDeadlineExceeded. Zero: as long as the context lasts.
	SendTimeout time.Duration

	// WaitForRole makes opening wait, until the context ends, while the role is taken,
	// instead of returning ErrBusy: for a successor that starts before its predecessor
	// has left.
	WaitForRole bool
	// Linger is how long a producer's Close waits for room when it has to end the
	// stream on a full ring. Zero: DefaultLinger. Negative: Close does not end the
	// stream, so that a successor can go on with it.
	Linger time.Duration

	// ExpectedProducers is for a consumer that knows how many producers will come: io.EOF is then
	// the end of that many streams, also when some start after others have ended. Zero:
	// the end of one (SPSC), or of all that are attached (MPSC). A stream whose end went
	// to an earlier consumer does not count.
	ExpectedProducers int

	// Delivery is for a consumer: what becomes of messages that its predecessor may have
	// handled.
	Delivery Delivery

	// Prefault touches all memory when opening rather than message by message. Lock
	// keeps it from being swapped. What became of them is in Info.
	Prefault bool
	Mlock    bool

	// OnSkip is called by the consumer's goroutine for each claim of a dead producer that
	// it passes over.
	OnSkip func(SkippedClaim)
	// OnStall is called by the consumer's goroutine, once for each claim of a live
	// producer that has held it up for a second. See ForceSkip.
	OnStall func(StalledClaim)
	// Logger, if not nil, is told when a ring is created, opened, recovered, when a dead
	// producer's claim is passed over, and when a live producer's claim has held up the
	// consumer for a second. Nothing is ever logged per message.
	Logger *slog.Logger

	waitEnv bool // Wait comes from the environment
}

// Size is how many bytes of memory a ring with these options takes. The error is a
// *layout.FieldError that names the option that cannot be.
func (o *Options) Size() (int64, error) {
	return o.orDefault().layout().Size()
}

func (o *Options) orDefault() *Options {
	if o == nil {
		return &Options{}
	}
	private := *o
	return &private
}

// resolve is orDefault for somebody who attaches: Wait takes the environment into account.
func (o *Options) resolve() (*Options, error) {
	o = o.orDefault()
	text := os.Getenv(EnvDoorbell)
	if o.Doorbell != DoorbellAuto || text == "" {
		return o, nil
	}
	o.Doorbell, o.waitEnv = waits[text], true
	if o.Doorbell == DoorbellAuto {
		return nil, fmt.Errorf("shmring: environment variable %s=%q: want futex, sysv, poll or spin", EnvDoorbell, text)
	}
	return o, nil
}

// layout is what would be created.
func (o *Options) layout() layout.Config {
	or := func(n, otherwise int) int {
		if n == 0 {
			return otherwise
		}
		return n
	}
	cfg := layout.Config{
		Kind:         o.Kind,
		Slots:        or(o.Slots, DefaultSlots),
		SlotSize:     or(o.SlotSize, DefaultSlotSize),
		Participants: layout.MinParticipants,
	}
	if cfg.Kind == 0 {
		cfg.Kind = KindSPSC
	}
	if cfg.SlotSize == NoPayload {
		cfg.SlotSize = 0
	}
	if cfg.Kind == KindMPSC {
		cfg.Participants = 1 + or(o.MaxProducers, DefaultMaxProducers)
	}
	cfg.MaxMessage = or(o.MaxMessage, min(DefaultMaxMessage, cfg.Capacity()))
	cfg.Doorbell = layout.Futex // unless the creator finds another; the size is the same
	return cfg
}

// GeometryError tells that a ring that exists is not the one that the options ask
// for.
type GeometryError struct {
	Path  string
	Field string
	Got   any // what the ring has
	Want  any // what the options ask for
	env   bool
}

func (e *GeometryError) Error() string {
	if e.env {
		return fmt.Sprintf("shmring: %s: ring has %s %v, the environment variable %s asks for %v: unset it to take the ring as it is, or remove the ring",
			e.Path, e.Field, e.Got, EnvDoorbell, e.Want)
	}
	return fmt.Sprintf("shmring: %s: ring has %s %v, options ask for %v: leave the option at zero to take the ring as it is, or remove the ring",
		e.Path, e.Field, e.Got, e.Want)
}

// agree compares wishes with a ring that exists.
func (o *Options) agree(path string, has layout.Config) error {
	want := o.layout()
	mismatch := func(field string, got, want any) error {
		return &GeometryError{Path: path, Field: field, Got: got, Want: want}
	}
	switch {
	case o.Kind != 0 && o.Kind != has.Kind:
		return mismatch("kind", has.Kind, o.Kind)
	case o.Slots != 0 && o.Slots != has.Slots:
		return mismatch("slots", has.Slots, o.Slots)
	case o.SlotSize != 0 && want.SlotSize != has.SlotSize:
		return mismatch("slot size", has.SlotSize, want.SlotSize)
	case o.MaxMessage > has.MaxMessage:
		return mismatch("max message", has.MaxMessage, o.MaxMessage)
	case has.Kind == KindMPSC && o.MaxProducers > has.Participants-1:
		return mismatch("max producers", has.Participants-1, o.MaxProducers)
	}
	if bell := o.Doorbell.doorbell(); bell != 0 && bell != layout.Spin && bell != has.Doorbell {
		return &GeometryError{Path: path, Field: "doorbell", Got: has.Doorbell, Want: bell, env: o.waitEnv}
	}
	return nil
}

// spin is the spin budget of a handle on a ring with a doorbell.
func (o *Options) spin(bell layout.Doorbell) time.Duration {
	switch {
	case o.Doorbell == DoorbellSpin || o.WaitPolicy == WaitSpin || bell == layout.Spin:
		return ring.SpinForever
	case o.WaitPolicy == WaitSleep || o.SpinFor < 0 || usable() < 2:
		return 0
	case o.SpinFor > 0:
		return o.SpinFor
	}
	return DefaultSpin
}

// firstSleep and longestSleep bound a single sleep at the beginning of a wait and in the
// course of it.
func (o *Options) firstSleep() time.Duration {
	if o.MaxSleep == 0 {
		return ring.DefaultFirstSleep
	}
	return min(max(o.MaxSleep, time.Millisecond), ring.DefaultFirstSleep)
}

func (o *Options) longestSleep() time.Duration {
	if o.MaxSleep == 0 {
		return DefaultMaxSleep
	}
	return max(o.MaxSleep, o.firstSleep())
}
