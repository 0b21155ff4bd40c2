package ring

import (
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// Locks tells who lives. Each participant holds the lock of its index from attach to
// detach; the kernel drops it when the process dies, whatever it died of. The index
// is below layout.MaxParticipants; ForceSkip takes that one too. Two handles never share a lock, also not in one
// process. shm.Segment is one.
type Locks interface {
	// TryLock takes the lock of a participant that is not this one; false when
	// somebody else holds it. It never blocks.
	TryLock(participant int) (bool, error)
	// Unlock gives back a lock that TryLock took.
	Unlock(participant int) error
}

// Bell is what this package needs of a doorbell; see package doorbell for the
// contract.
type Bell interface {
	Sleep(old uint32, limit time.Duration, stops []*atomic.Uint32) (timedOut bool, err error)
	Wake(was uint32)
	Stop(stop *atomic.Uint32)
}

// ParkingLot is what this package needs to park sleepers; see doorbell.ParkingLot.
type ParkingLot interface {
	Open() error
	Sleep(word *atomic.Uint32, old uint32, limit time.Duration, stops []*atomic.Uint32) (timedOut bool)
	Wake()
	Stop(stop *atomic.Uint32)
	Subscribe(f func()) (stop func(), err error)
}

// SpinForever as Config.SpinFor never sleeps in the kernel.
const SpinForever time.Duration = -1

// Config is what a handle needs besides the segment.
type Config struct {
	Locks     Locks
	DataBell  Bell // on View.Hot.DataBell
	SpaceBell Bell // on View.Hot.SpaceBell
	// ParkingLot, if not nil, is where goroutines are parked that had better not block in a
	// system call. Every handle needs one to wake those of others.
	ParkingLot ParkingLot

	// Spin is how long a blocking call busy-waits at most before it sleeps; it does less
	// while that does not pay. 0: not at all; SpinForever.
	SpinFor time.Duration
	// FirstSleep bounds every single sleep; 0 means DefaultFirstSleep. It is part of correctness: it
	// bounds the stall when a waker was killed between clearing the bell and waking,
	// and it is how often a sleeper looks after the dead. In the course of a wait it grows
	// to an eighth of the time waited so far, up to MaxSleep, 0: FirstSleep.
	FirstSleep, MaxSleep time.Duration
	// Full is what Send and its kin do when there is no room, SendTimeout how long they
	// wait for it; 0: as long as the context lasts.
	WhenFull    WhenFull
	SendTimeout time.Duration
	// Fallbacks are for people: better ways of waiting that this process does without, and
	// why. Stats shows them.
	Fallbacks []string
	// Who is written down for people to read.
	Identity ProcessIdentity
	// Check, if not nil, is asked now and then by blocking calls, and its error ends
	// them: is the segment still the one that others open by its name?
	Check func() error
	// Wrap, if not nil, is applied to each error that is more than a sentinel when it is made,
	// so that a caller can say which ring it is about.
	Wrap func(error) error
	// ExpectedProducers is how many producers' streams have to end before the consumer says
	// io.EOF; 0 is as good as 1. For MPSC it also waits for those that are attached.
	ExpectedProducers int
	// AtMostOnce makes the consumer pass over what a former consumer may have seen,
	// instead of delivering it again.
	AtMostOnce bool
	// OnSkip, if not nil, is called by the consumer's goroutine for each claim of a
	// dead producer that it passes over.
	OnSkip func(SkippedClaim)
	// OnStall, if not nil, is called by the consumer's goroutine, once for each claim that
	// a live producer has not finished a second after the consumer met it.
	OnStall func(StalledClaim)
}

// DefaultFirstSleep is the longest single sleep at the beginning of a wait.
const DefaultFirstSleep = 10 * time.Millisecond

// Full tells what Send does when there is no room.
type WhenFull uint8

const (
	WhenFullBlock WhenFull = iota // wait
	WhenFullFail                  // return ErrFull
	WhenFullDrop                  // count it in Stats.Dropped and return nil
)

// Who identifies a process to people. Nothing is ever decided by it.
type ProcessIdentity struct {
	PID          uint32
	Started      uint64 // clock ticks since boot
	BootID       uint64
	PIDNamespace uint64
}

// Skip describes a claim that was passed over because its owner died.
type SkippedClaim struct {
	Position uint64
	Slots    int
	PID      int // of the dead producer, as it saw itself
}

// core is what both halves have: private copies of everything that decides where an
// access goes, and the way to sleep and wake.
type core struct {
	gate
	view     *layout.View
	hot      *layout.Hot
	desc     []layout.Descriptor
	payload  []byte
	members  []layout.Participant
	mask     uint64 // slots − 1
	slots    uint64
	slotSize uint64
	shift    uint // log2 of slots
	oneSlot  int  // longest message of one slot
	maxMsg   int
	maxRec   int // longest record: a message or a batch
	me       uint8
	shared   bool // MPSC
	sleeper
	eager  eagerness
	cfg    Config
	epoch  uint32
	base   Stats         // counters of this participant slot before we had it
	former PeerDeadError // who had it
}

func (c *core) init(v *layout.View, cfg Config) {
	g := v.Config
	cfg.FirstSleep, cfg.MaxSleep = caps(cfg.FirstSleep, cfg.MaxSleep)
	c.eager.score.Store(eagerMost)
	c.view = v
	c.hot, c.desc, c.payload, c.members = v.Hot, v.Descriptors, v.Payload, v.Participants
	c.slots = uint64(g.Slots)
	c.mask = c.slots - 1
	c.slotSize = uint64(g.SlotSize)
	c.shift = g.Shift()
	c.oneSlot = max(layout.InlineSize, g.SlotSize)
	c.maxMsg = g.MaxMessage
	c.maxRec = g.Capacity()
	c.shared = g.Kind == layout.MPSC
	c.cfg = cfg
}

func (c *core) count(which layout.Counter, n uint64) {
	c.members[c.me].Counters[which].Add(n)
	killpoint.At(killpoint.Counted)
}

// slotsFor is how many slots a record of n bytes takes; n ≤ maxRec.
func (c *core) slotsFor(n int) uint64 {
	if n <= c.oneSlot {
		return 1
	}
	return (uint64(n) + c.slotSize - 1) / c.slotSize
}

// room is what one record of k slots at pos needs: k, or what is left of the lap,
// which then has to be padded first.
func (c *core) room(pos, k uint64) (need uint64, pad bool) {
	if left := c.slots - pos&c.mask; k > left {
		return left, true
	}
	return k, false
}

// bytes is where the n bytes of the record at pos lie. n fits into its slots.
func (c *core) bytes(pos uint64, n int) []byte {
	i := pos & c.mask
	if n <= layout.InlineSize {
		return c.desc[i].Inline[:n:n]
	}
	at := i * c.slotSize
	return c.payload[at : at+uint64(n) : at+uint64(n)]
}

// MaxMessage is the longest message this ring takes, in bytes.
func (c *core) MaxMessage() int { return c.maxMsg }

// Slots is how many slots the ring has.
func (c *core) Slots() int { return int(c.slots) }

// Used is how many slots are taken at present: committed, skipped or claimed and not
// yet released. Any goroutine may ask; the answer may be old when it arrives. For
// SPSC it walks the records, which costs some nanoseconds for each.
func (c *core) Used() int {
	read := c.hot.ReadPos.Load()
	if c.shared {
		return int(min(layout.Tail(c.hot.Tail.Load()).Pos(read)-read, c.slots))
	}
	end, _ := c.walk(read)
	return int(end - read)
}

// walk follows finished records from a position to the first that is not one. The
// error tells of a record that no correct producer writes.
func (c *core) walk(from uint64) (end uint64, err error) {
	for end = from; end-from < c.slots; {
		v := layout.Ctl(c.desc[end&c.mask].Ctl.Load())
		if !v.Done(layout.LapOf(end, c.shift)) {
			break
		}
		k := v.Slots()
		if k == 0 || end&c.mask+k > c.slots || end-from+k > c.slots {
			return end, &CorruptError{"record length in slots", end, k}
		}
		end += k
	}
	return end, nil
}
