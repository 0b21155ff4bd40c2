package shmring

import (
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// Kind tells how many producers a ring admits, and whether a consumer.
type Kind int

const (
	KindSPSC Kind = 1 // one producer, one consumer
	KindMPSC Kind = 2 // many producers, one consumer
	// KindBroadcast is one producer that waits for nobody: what it sends overwrites the oldest. There
	// is no consumer; any number of observers see what is there, take no part, and are told how much
	// they missed. The longest message takes at most a quarter of such a ring's memory, so the
	// newest one is whole there also while the next is being written.
	KindBroadcast Kind = 3
)

// String returns "spsc", "mpsc" or "broadcast".
func (k Kind) String() string { return layout.Kind(k).String() }

// Mode tells how a handle comes by its ring.
type Mode int

const (
	// ModeDefault is ModeOpenOrCreate for a producer and ModeOpenWait for a consumer, so that
	// either side may start first and the producer decides on the geometry.
	ModeDefault Mode = iota
	// ModeOpenOrCreate opens the ring, or creates it if there is none.
	ModeOpenOrCreate
	// ModeCreateOnly creates the ring; fs.ErrExist if there is one.
	ModeCreateOnly
	// ModeOpenOnly opens the ring; fs.ErrNotExist if there is none.
	ModeOpenOnly
	// ModeOpenWait opens the ring and waits, until the context ends, for it to be there. The
	// system tells when it is (inotify on the directory), which costs nothing meanwhile. Where
	// it cannot, because no inotify instance is left or the directory is not there yet either,
	// the ring is looked for after an eighth of the time waited, at most 500 ms later.
	ModeOpenWait
)

// Doorbell is the means by which the users of a ring sleep and wake each other. A ring is
// created with one. Opening a ring that has another than the options insist on is refused.
type Doorbell int

const (
	// DoorbellAuto takes what the ring has. A ring that is created gets what the environment
	// variable SHMRING_DOORBELL says (futex, sysv or poll; it also insists, like the constants
	// below), else the first of the three that works on this system.
	DoorbellAuto Doorbell = iota
	// DoorbellFutex is a futex: the fastest.
	DoorbellFutex
	// DoorbellSysV is a SysV semaphore, for systems that refuse futexes.
	DoorbellSysV
	// DoorbellPoll looks again after pauses of up to some milliseconds, for systems that
	// refuse both.
	DoorbellPoll
)

// String returns "auto", "futex", "sysv" or "poll".
func (d Doorbell) String() string {
	if d == DoorbellAuto {
		return "auto"
	}
	return layout.Doorbell(d).String()
}

// Environment variables that stand for options which are not set.
const (
	EnvDir      = "SHMRING_DIR"      // for Options.Dir
	EnvDoorbell = "SHMRING_DOORBELL" // for Options.Doorbell: futex, sysv or poll
	EnvLocks    = "SHMRING_LOCKS"    // how a ring's users tell who is alive: ofd or flock
)

// WaitPolicy tells how much processor time a handle spends on waking early. Each handle of a
// ring has its own.
type WaitPolicy int

const (
	// WaitBalanced busy-waits for up to SpinFor, as long as that has mostly paid lately, then
	// sleeps. It sleeps at once where the peer has begun to wait on the same processor, and
	// where the quota of the process's control groups pays for one processor only.
	WaitBalanced WaitPolicy = iota
	// WaitSleep sleeps at once.
	WaitSleep
	// WaitSpin never sleeps: the lowest latency, for one processor core.
	WaitSpin
	// WaitPark sleeps at once, and holds no thread while it does, also not in the first 100 ms
	// of a wait: for programs with many handles. Waking takes some microseconds more. Where the
	// system has no inotify to park by, it is WaitSleep; [Stats].Fallbacks says so.
	WaitPark
)

// WhenFull tells what Send and SendBatch do when the ring is full.
type WhenFull int

const (
	// WhenFullBlock waits for room, until the context ends or for Options.SendTimeout.
	WhenFullBlock WhenFull = iota
	// WhenFullFail returns ErrFull.
	WhenFullFail
	// WhenFullDrop drops the message, counts it in Stats.Dropped and returns nil.
	WhenFullDrop
)

// Delivery is what a consumer promises about messages that a former consumer may have
// handled: one that died, or that was closed before it had released them.
type Delivery int

const (
	// DeliveryAtLeastOnce delivers them again, with Message.Redelivered set.
	DeliveryAtLeastOnce Delivery = iota
	// DeliveryAtMostOnce passes over them. A message that was on its way to the user's code
	// when the process died is lost, and with it, on an MPSC ring, the rest of its batch, which is
	// also lost when the consumer is closed in the middle of it; Stats.Dropped counts such records. After a
	// consumer that promised DeliveryAtLeastOnce, up to 64 messages (SPSC: 4 KiB of them) more are
	// passed over than that one had seen.
	DeliveryAtMostOnce
)

// Defaults of Options. The ring they make takes 2 MiB, an MPSC ring 2.6.
const (
	DefaultSlots        = 8192
	DefaultSlotSize     = 256
	DefaultMaxMessage   = 64 << 10
	DefaultMaxProducers = 254 // of an MPSC ring; no more than that are possible
	DefaultSpinFor      = 20 * time.Microsecond
	DefaultMaxSleep     = 400 * time.Millisecond
)

// NoPayload as Options.SlotSize makes a ring of messages of at most 48 bytes.
const NoPayload = -1

// Options of OpenProducer and OpenConsumer. The zero value is a good default and so is nil.
// What cannot be is refused with an [*OptionError]. The same Options may be used for many
// calls.
//
// By which kind of locks a ring's users tell who is alive is no option: a ring that is
// created gets what the environment variable SHMRING_LOCKS says (ofd or flock; it also
// insists when a ring is opened), else OFD locks if the system has them, else flock.
type Options struct {
	// Dir is where the ring's file is: any directory of a memory file system. Empty: the
	// environment variable SHMRING_DIR, else /dev/shm.
	Dir string
	// Mode tells whether to create or to open.
	Mode Mode

	// Kind, Slots, SlotSize, MaxMessage and MaxProducers are the geometry of a ring that is
	// created. A ring that exists must agree with those that are not zero: with Kind, Slots
	// and SlotSize exactly, with MaxMessage and MaxProducers at least; the error is a
	// *GeometryError. Resize gives a ring another geometry. Size tells how much memory it takes.
	//
	// Kind: zero is KindSPSC. With KindBroadcast Send never finds a full ring, and nobody can be at the
	// other end or is woken: WhenFull, SendTimeout, NoPeer and MeasureEvery are refused with it,
	// and Doorbell may be DoorbellPoll only. Of a ring that turns out to be one the first two have no effect, and
	// the others are refused.
	Kind Kind
	// Slots is, on an MPSC ring, how many messages of up to max(48, SlotSize) bytes fit: a power of
	// two from 8 to 2^30. On an SPSC or broadcast ring Slots × SlotSize bytes (64 at least for a slot) are
	// what messages lie in, one behind the other: rounded up to a power of two, and as much as the
	// longest message takes, broadcast four times that. A message of n bytes takes 8+n there, rounded up to a
	// multiple of 8, or of 64 while the consumer waits for each one. Zero: DefaultSlots.
	//
	// How many: as much as is sent while the consumer is away, by a handler, its scheduler, a collection
	// of garbage. Two that are always there stream 32 bytes as fast through an SPSC ring of 64 slots of
	// 256 bytes as through any larger one, and through an MPSC ring of 1024 slots; of 16 slots they take 2 and 4 times as
	// long. A consumer that is away for 100 µs at a time needs 1024 and 8192 at full speed.
	Slots int
	// SlotSize is a number of bytes, a multiple of 64 up to 16 MiB, or NoPayload. Longer
	// messages take several slots in a row. Zero: DefaultSlotSize.
	SlotSize int
	// MaxMessage is a number of bytes: at most 4095 slots and at most the whole ring. Zero:
	// DefaultMaxMessage, or what fits if that is less.
	MaxMessage int
	// MaxProducers is how many producers an MPSC ring admits at one time, 1 to 254. Zero:
	// DefaultMaxProducers.
	MaxProducers int

	// Perm are the permission bits of a ring that is created; zero: 0600. The umask does not
	// apply. Write permission for everybody is refused. Read permission is more than it seems:
	// who may read the file can take its attach lock, and so keep others from opening and from
	// removing the ring for as long as it likes, and can wake those who sleep in a long wait, a
	// thousand times in a second at most. Give it to nobody who need not have it.
	Perm fs.FileMode
	// Group is the group of a ring that is created, by its number: one of ours, unless we are root.
	// With Perm 0660 its members may use the ring. Zero: what the system gives a file in that
	// directory, which is our own group unless the directory has the set-group-ID bit.
	Group int
	// Untrusted makes the calls that move messages survive a peer that truncates the ring's file, or
	// punches holes into it when there is no memory to fill them: they return a *TruncatedError, and
	// the handle is of no use any more. That costs each call some nanoseconds (docs/COST.md).
	// Without it such a call, and with it the process, is ended by SIGBUS. Calls that wait, and
	// those that move no message, survive it always. A message in place ([Message.Bytes],
	// [Claim.Bytes]) is in the user's hands: outside of a handler of Drain nobody turns a fault
	// there into an error but the user, by debug.SetPanicOnFault. Receive and Send copy.
	Untrusted bool
	// AnyOwner accepts a ring that belongs to somebody other than us or root, or that
	// everybody may write.
	AnyOwner bool

	// Doorbell tells how the ring's users sleep.
	Doorbell Doorbell
	// WaitPolicy tells how this handle waits.
	WaitPolicy WaitPolicy
	// SpinFor is how long WaitBalanced busy-waits at most before it sleeps. Zero:
	// DefaultSpinFor. To sleep at once, or never, is a WaitPolicy.
	SpinFor time.Duration
	// MaxSleep bounds each single sleep, after which a handle looks around: it bounds how
	// late a message is noticed whose sender was killed just before it could notify, and how
	// late the death of a producer. Zero: 10 ms, growing to an eighth of the time
	// waited so far, at most DefaultMaxSleep; sleeps of 10 ms take 0.7 % of a processor, those
	// of 400 ms 0.07 %. Otherwise 1 ms or more; above 10 ms it grows likewise.
	MaxSleep time.Duration

	// WhenFull tells what a producer's Send does when the ring is full.
	WhenFull WhenFull
	// SendTimeout bounds how long Send and its kin wait for room, without the cost of a
	// context for each: os.ErrDeadlineExceeded. Zero: as long as the context lasts.
	SendTimeout time.Duration

	// NoPeer tells what a handle does while nobody is at the other end. With NoPeerFail sends
	// return ErrNoPeer within half a second of the consumer's leaving or death, and until one
	// attaches, also calls that wait for room; a consumer's call that waits returns it when the
	// ring is empty and no producer is attached that may still send. Check returns it too. The
	// handle stays as it is: a later call looks anew.
	NoPeer NoPeer

	// WaitForRole makes opening wait, until the context ends, while the role is taken,
	// instead of returning ErrBusy: for a successor that starts before its predecessor has
	// left. It looks again after an eighth of the time waited, at most 100 ms later, which
	// takes 0.2 % of a processor in a long wait.
	WaitForRole bool
	// KeepStream makes a producer's Close leave the stream open, so that a successor can go
	// on with it.
	KeepStream bool

	// ExpectedProducers is for a consumer that knows how many producers will come, one too: io.EOF
	// then comes when that many streams are over, however they ended, nothing is left in the ring,
	// and (MPSC) nobody is attached who may send more; also when some start after others are over.
	// So a consumer that expects one ends with it, also if it died, after the *StreamError that
	// says so. Zero: io.EOF is the end of one that was ended by its producer (SPSC), or of all that
	// are attached, one of which was (MPSC); behind the dead it waits for others. What counts are
	// the streams since the last io.EOF, whoever consumed.
	ExpectedProducers int

	// Delivery is for a consumer: what becomes of messages that its predecessor may have
	// handled.
	Delivery Delivery

	// Prefault touches all memory when opening rather than message by message. What became of
	// it is in Info.
	Prefault bool
	// HugePages asks for huge pages for as much of the ring as whole ones make up: fewer misses
	// of the processor's address cache in rings of many megabytes. What became of it is in Info.
	HugePages bool
	// Mlock keeps the memory from being swapped. What became of it is in Info.
	Mlock bool

	// Label is what the handle is called where people look (Inspect, the commands, metrics). 32 bytes
	// of it are kept. Empty: the name of the program.
	Label string
	// MeasureEvery measures how long messages are in the queue: from just before they are
	// committed until they are handed out. A producer stamps one message in so many, of a
	// batch the last, and none while a stamp is on its way (a Batch counts as one); a consumer measures those that it
	// meets, whatever number it was given. Inspect shows it. Where both sides do, it costs each call what
	// Untrusted costs, which comes with it (docs/COST.md). Zero: nothing is measured, and it costs nothing.
	MeasureEvery int

	// OnSkip is called by the consumer's goroutine for each claim of a dead producer that it
	// passes over.
	OnSkip func(SkippedClaim)
	// OnStreamEnd is called by the consumer's goroutine, in a receiving call, for each stream
	// that is over: behind its last message, and before the first of the next stream of the
	// same participant slot. Those of several producers come in the order of their ends, but
	// while others keep the ring from running empty the end of one may be told up to 64
	// messages, or one Drain, late. It is
	// told again only to the successor of a consumer that died before it had released what
	// the stream sent, and, of a stream that died or failed, before its next call.
	OnStreamEnd func(StreamEnd)
	// OnStall is called by the consumer's goroutine, once for each claim of a live producer
	// that has held it up for a second. See ForceSkip.
	OnStall func(StalledClaim)
	// OnPeer is called when another participant has attached, ended its stream, detached or
	// died, within half a second and also while nobody calls the handle; those that are attached
	// already come as joined. One participant slot after the other, each in order. It is called
	// by a goroutine of its own, one call at a time, and may do anything, also close the handle;
	// it may still be running when Close has returned.
	OnPeer func(PeerEvent)
	// Logger, if not nil, is told when a ring is created, opened or recovered, when a stream
	// is over, when a dead producer's claim is passed over, and when a live producer's claim
	// has held up the consumer for a second. Nothing is ever logged per message.
	Logger *slog.Logger

	doorbellFromEnv bool
	// lot, if not nil, wakes those who are parked at the other end, in place of the ring's own. Who
	// sets it (package shmnet) looks after the peer by other means, so there is no attendant.
	lot ring.ParkingLot
}

// AdminOptions tell [Recover], [Remove], [Resize], [ForceSkip], [Events] and [Peers] where a
// ring is. The zero value and nil are good defaults.
type AdminOptions struct {
	// Dir is where the ring's file is. Empty: the environment variable SHMRING_DIR, else
	// /dev/shm.
	Dir string
	// AnyOwner accepts a ring that belongs to somebody other than us or root, or that
	// everybody may write. Remove needs no such permission.
	AnyOwner bool
}

func (o *AdminOptions) orDefault() AdminOptions {
	if o == nil {
		return AdminOptions{}
	}
	return *o
}

// Size returns how many bytes of memory a ring with these options takes. The error is an
// [*OptionError].
func (o *Options) Size() (int64, error) {
	o = o.orDefault()
	if err := o.check(); err != nil {
		return 0, err
	}
	return o.checkGeometry()
}

func (o *Options) orDefault() *Options {
	if o == nil {
		return &Options{}
	}
	private := *o
	return &private
}

// resolve returns checked options of somebody who attaches: the environment has been asked.
func (o *Options) resolve() (*Options, error) {
	o = o.orDefault()
	if err := o.check(); err != nil {
		return nil, err
	}
	text := os.Getenv(EnvDoorbell)
	if o.Doorbell != DoorbellAuto || text == "" {
		return o, nil
	}
	for d := DoorbellFutex; d <= DoorbellPoll; d++ {
		if text == d.String() {
			o.Doorbell, o.doorbellFromEnv = d, true
			return o, nil
		}
	}
	return nil, &OptionError{"environment variable " + EnvDoorbell, fmt.Sprintf("%q", text), "futex, sysv or poll"}
}

// layout returns what would be created.
func (o *Options) layout() layout.Config {
	or := func(n, otherwise int) int {
		if n == 0 {
			return otherwise
		}
		return n
	}
	cfg := layout.Config{
		Kind:         layout.Kind(o.Kind),
		Slots:        or(o.Slots, DefaultSlots),
		SlotSize:     or(o.SlotSize, DefaultSlotSize),
		Participants: layout.MinParticipants,
	}
	if cfg.Kind == 0 {
		cfg.Kind = layout.SPSC
	}
	if cfg.SlotSize == NoPayload {
		cfg.SlotSize = 0
	}
	if cfg.Kind == layout.MPSC {
		cfg.Participants = 1 + or(o.MaxProducers, DefaultMaxProducers)
	}
	cfg.MaxMessage = or(o.MaxMessage, min(DefaultMaxMessage, cfg.Capacity()))
	if cfg.Kind == layout.Broadcast {
		cfg.Doorbell = layout.Poll // nobody is woken
		return cfg
	}
	cfg.Doorbell = layout.Futex // unless the creator finds another; the size is the same
	return cfg
}

// agree compares wishes with a ring that exists.
func (o *Options) agree(path string, has layout.Config) error {
	want := o.layout()
	mismatch := func(field string, got, want any) error {
		return &GeometryError{Path: path, Field: field, Got: got, Want: want}
	}
	switch {
	case o.Kind != 0 && want.Kind != has.Kind:
		return mismatch("kind", Kind(has.Kind), o.Kind)
	case o.Slots != 0 && o.Slots != has.Slots:
		return mismatch("slots", has.Slots, o.Slots)
	case o.SlotSize != 0 && want.SlotSize != has.SlotSize:
		return mismatch("slot size", has.SlotSize, want.SlotSize)
	case o.MaxMessage > has.MaxMessage:
		return mismatch("max message", has.MaxMessage, o.MaxMessage)
	case has.Kind == layout.MPSC && o.MaxProducers > has.Participants-1:
		return mismatch("max producers", has.Participants-1, o.MaxProducers)
	case o.doorbellFromEnv && has.Kind == layout.Broadcast: // there it makes no difference
	case o.Doorbell != DoorbellAuto && o.Doorbell != Doorbell(has.Doorbell):
		return &GeometryError{path, "doorbell", Doorbell(has.Doorbell), o.Doorbell, o.doorbellFromEnv}
	}
	return nil
}

// label is what the handle is called.
func (o *Options) label() string {
	if o.Label == "" && len(os.Args) > 0 {
		return filepath.Base(os.Args[0])
	}
	return o.Label
}

// spinFor returns the spin budget of a handle with this policy.
func (w WaitPolicy) spinFor(limit time.Duration) time.Duration {
	switch {
	case w == WaitSpin:
		return ring.SpinForever
	case w == WaitSleep || w == WaitPark || paidCPUs() < 2:
		return 0
	case limit > 0:
		return limit
	}
	return DefaultSpinFor
}

// sleepLimits returns the bounds of a single sleep at the beginning of a wait and in the
// course of it, for an Options.MaxSleep.
func sleepLimits(maxSleep time.Duration) (first, longest time.Duration) {
	if maxSleep == 0 {
		return ring.DefaultFirstSleep, DefaultMaxSleep
	}
	return min(maxSleep, ring.DefaultFirstSleep), maxSleep
}
