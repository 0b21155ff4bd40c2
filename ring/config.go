package ring

import (
	"sync/atomic"
	"time"
)

// Locks tells which participants are alive. Each participant holds the lock of its index
// from attach to detach, and the kernel drops it when the process dies, whatever it died
// of. An index is below layout.MaxParticipants; ForceSkip takes that one too. Two handles
// never share a lock, not even in one process. shm.Segment implements it.
type Locks interface {
	// TryLock takes the lock of a participant that is not this one; false when
	// somebody else holds it. It never blocks.
	TryLock(participant int) (bool, error)
	// Unlock gives back a lock that TryLock took.
	Unlock(participant int) error
}

// Bell is what this package needs of a doorbell. Package doorbell has the contract.
type Bell interface {
	Sleep(old uint32, limit time.Duration, stops []*atomic.Uint32) (timedOut bool, err error)
	Wake(was uint32)
	Stop(stop *atomic.Uint32)
}

// ParkingLot is what this package needs to park goroutines. See doorbell.ParkingLot.
type ParkingLot interface {
	Open() error
	Sleep(word *atomic.Uint32, old uint32, limit time.Duration, stops []*atomic.Uint32) (timedOut bool)
	Wake()
	Stop(stop *atomic.Uint32)
	Subscribe(f func()) (stop func(), err error)
}

// Barrier is what this package needs to publish without a full barrier. See internal/membarrier.
type Barrier interface {
	// Join asks for this process to be one of those that Fence reaches, and reports whether it is by
	// now. It does not wait. After an error it will never be.
	Join() (joined bool, err error)
	// Joined reports whether Fence reaches this process already, and asks for nothing.
	Joined() bool
	// Fence returns when every processor that runs a process that has joined has passed a full barrier since
	// the call. Any goroutine may call it. It may miss one now and then, so where it is called a wake-up
	// may get lost, and no more than that.
	Fence() error
	// FenceAll is Fence that misses none, and takes its time: some 10 ms.
	FenceAll() error
}

// SpinForever as Config.SpinFor never sleeps in the kernel.
const SpinForever time.Duration = -1

// Config is what a handle needs besides the segment.
type Config struct {
	Locks     Locks
	DataBell  Bell // on View.Hot.DataBell
	SpaceBell Bell // on View.Hot.SpaceBell
	// ParkingLot, if not nil, parks goroutines that had better not block in a system call.
	// Every handle needs one to wake the parked goroutines of others.
	ParkingLot ParkingLot

	// Barrier, if not nil, spares producers a full barrier at each message.
	Barrier Barrier

	// SpinFor is how long a blocking call busy-waits at most before it sleeps. It does less
	// while that does not pay. 0: not at all; SpinForever: it never sleeps.
	SpinFor time.Duration
	// Park makes every sleep park the goroutine, if ParkingLot can, and not only long ones.
	Park bool
	// FirstSleep bounds every single sleep; 0 means DefaultFirstSleep. It is part of
	// correctness: it bounds the stall when a process was killed between clearing the bell
	// and waking, and it is how often a sleeper looks for dead peers. In the course of a wait
	// the bound grows to an eighth of the time waited so far, up to MaxSleep (0: FirstSleep).
	FirstSleep, MaxSleep time.Duration
	// WhenFull is what Send, SendBatch and Claim do when there is no room, and SendTimeout
	// how long they wait for it; 0: as long as the context lasts.
	WhenFull    WhenFull
	SendTimeout time.Duration
	// Fallbacks name better ways of waiting that this process does without, and why. They
	// are for people: Stats shows them.
	Fallbacks []string
	// Identity is written into the segment for people to read.
	Identity ProcessIdentity
	// Label is what the process calls itself, likewise; layout.LabelSize bytes of it are kept.
	Label string
	// MeasureEvery is one message in how many whose time in the queue is measured, by producers and by
	// a consumer that were made by Measured, and Now the clock in nanoseconds that all processes share.
	MeasureEvery int
	Now          func() uint64
	// Check, if not nil, is asked by blocking calls before they sleep for the first time, if nobody
	// has on this handle for some milliseconds, and then now and then; its error ends
	// them: is the segment still the one that others open by its name? An error that matches
	// layout.ErrCorrupt closes the handle, like a word that no peer can have written, and the
	// bytes are not touched any more. For many goroutines several may ask at once.
	Check func() error
	// NoPeer, if not nil, is asked now and then where Check has found nothing, and its error ends
	// the call: is nobody at the other end?
	NoPeer func() error
	// Memory, if not nil, tells what is wrong with the segment where a page of it is missing.
	// Without it a fault ends the process.
	Memory Memory
	// Wrap, if not nil, is applied to each error that is more than a sentinel when it is made,
	// so that a caller can say which ring it is about.
	Wrap func(error) error
	// ExpectedProducers is how many streams have to be over before the consumer returns io.EOF,
	// those that died or failed included. 0: its producer has to have ended one. On an MPSC ring
	// the consumer also waits for those that are attached.
	ExpectedProducers int
	// AtMostOnce makes the consumer skip what a former consumer may have seen, instead of
	// delivering it again.
	AtMostOnce bool
	// Facade is what Consumer.Facade returns: the handle that the user of a Poller knows the
	// consumer by.
	Facade any
	// OnSkip, if not nil, is called by the consumer's goroutine for each unfinished claim of
	// a dead producer that it discards.
	OnSkip func(SkippedClaim)
	// OnStreamEnd, if not nil, is called by the consumer's goroutine for each stream that is
	// over, behind its last message and before the next stream of that producer's place.
	OnStreamEnd func(StreamEnd)
	// OnStall, if not nil, is called by the consumer's goroutine, once for each claim that
	// a live producer has not finished a second after the consumer met it.
	OnStall func(StalledClaim)
}

// DefaultFirstSleep is the longest single sleep at the beginning of a wait.
const DefaultFirstSleep = 10 * time.Millisecond

// WhenFull tells what Send does when there is no room.
type WhenFull uint8

const (
	WhenFullBlock WhenFull = iota // wait
	WhenFullFail                  // return ErrFull
	WhenFullDrop                  // count it in Stats.Dropped and return nil
)

// ProcessIdentity identifies a process to people. Nothing is ever decided by it.
type ProcessIdentity struct {
	PID          uint32
	Started      uint64 // clock ticks since boot
	BootID       uint64
	PIDNamespace uint64
}

// SkippedClaim describes a claim that was discarded because its owner died.
type SkippedClaim struct {
	Position uint64
	Slots    int
	PID      int // of the dead producer, as it saw itself
}
