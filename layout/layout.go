package layout

import (
	"structs"
	"sync/atomic"
)

// Identity of the format; see the package comment for what forces a new number.
const (
	Magic     uint64 = 0x31474e49524d4853 // "SHMRING1" when stored little-endian
	EndianOK  uint32 = 0x01020304
	Major     uint16 = 4
	Minor     uint16 = 0
	PageAlign        = 4096
)

// Features of a segment that whoever attaches has to understand.
const (
	// FlockLocks: life locks are flocks on files beside this one instead of OFD locks on its
	// bytes.
	FlockLocks uint64 = 1 << 0
	// InLine: records lie in line in an area of bytes, each behind a word of its own, instead of
	// in slots. All SPSC and broadcast rings have it, and no MPSC ring. Format sets it, Parse takes it
	// away.
	InLine uint64 = 1 << 1
	// Overwrites: the producer waits for nobody, and its records overwrite the oldest. All broadcast
	// rings have it, and no others; InLine they have too. Format and Parse do as with InLine.
	Overwrites uint64 = 1 << 2

	KnownIncompat = FlockLocks | InLine | Overwrites
	// kindIncompat are the features that follow from the kind.
	kindIncompat = InLine | Overwrites
)

// Kind tells how many producers and consumers a ring admits.
type Kind uint32

const (
	SPSC      Kind = 1 // one producer, one consumer
	MPSC      Kind = 2 // many producers, one consumer
	Broadcast Kind = 3 // one producer, no consumer: who reads takes no part
)

// Doorbell tells how the two sides of a segment wake each other. The numbers are
// part of the format.
type Doorbell uint32

const (
	Futex Doorbell = 1 // futex on the bell word
	SysV  Doorbell = 2 // SysV semaphore set
	Poll  Doorbell = 3 // bounded naps: for where nothing else is permitted
)

// ParticipantState is the life of a participant slot.
type ParticipantState uint32

const (
	Free     ParticipantState = 0 // may be taken
	Used     ParticipantState = 1 // taken; whether its owner lives is the lock's business
	Draining ParticipantState = 2 // owner gone, and left a claim: not to be reused before ReadPos ≥ DrainPos
	Ended    ParticipantState = 3 // like Used, by a producer that has ended its stream
	// Revoked is like Used, by a producer whose claim at DrainPos was revoked. ReadPos must
	// not pass that while the producer is alive.
	Revoked ParticipantState = 4
)

// Attached reports whether somebody has taken the slot and not given it back, alive
// or not.
func (s ParticipantState) Attached() bool { return s == Used || s == Ended || s == Revoked }

// Role of a participant.
type Role uint32

const (
	RoleConsumer Role = 1
	RoleProducer Role = 2
)

// ConsumerIndex is the participant slot of the consumer; producers have the rest.
const ConsumerIndex = 0

// Counter is an index into Participant.Counters. Counters only grow, over all the
// owners a participant slot ever had.
type Counter int

const (
	// Messages were delivered to the consumer; in a producer's block: of those it sent. The
	// consumer writes both.
	Messages Counter = iota
	Bytes            // likewise, payload bytes. Written by the consumer
	Full             // sends that met a full ring. Written by the owner, like all below
	// Dropped are messages given up because the ring was full; of a consumer: records skipped
	// because a former one may have seen them.
	Dropped
	Sleeps          // times it announced that it sleeps
	Wakes           // times it rang a sleeping peer
	SpuriousWakeups // sleeps that ended with nothing to do
	TimeoutWakeups  // sleeps ended by the cap though there was something to do
	Skipped         // claims of dead producers it passed over
	Deaths          // dead peers it found
	Spins           // waits in which it busy-waited
	Asleep          // nanoseconds it slept
	LateWakeups     // sleeps ended by the cap though it had been rung: the waker was held up, or killed
	// HighWater is the greatest number of slots that a producer has found taken when it asked how
	// much room there is. It is raised, not added to.
	HighWater
	QueueTime    // nanoseconds that the messages of Hot.Queueing have waited, together. Of the consumer
	countersUsed // the rest is zero
)

// Counters is how many a participant has room for.
const Counters Counter = 19

var _ [Counters - countersUsed]struct{} // or there is no room

// InlineSize is the number of payload bytes that fit into a descriptor.
const InlineSize = 48

// Message flags, bits 48 to 55 of Meta.
const (
	// FlagFirst marks the first record of a producer's stream, so that the consumer looks for
	// the fates of earlier streams before it delivers it.
	FlagFirst uint8 = 1 << 0
	FlagBatch uint8 = 1 << 1 // payload is a sequence of entries, see EntryHeader

	KnownFlags = FlagFirst | FlagBatch
)

// EntryHeader is the size of the word before each message of a batch: length:32 |
// kind:16 | zero:16. Entries start at multiples of EntryAlign.
const (
	EntryHeader = 8
	EntryAlign  = 8

	// MaxBatch is how many bytes a batch has at most. So the index of a message fits into 24 bits.
	MaxBatch = EntryHeader << 24
)

// Identity is the part of the header that no version may move.
type Identity struct {
	_          structs.HostLayout
	Magic      uint64
	Endian     uint32
	Major      uint16
	Minor      uint16
	HeaderSize uint32
	Kind       Kind
	UUID       [16]byte
	Size       uint64
	Created    int64
	Checksum   uint32
	_          uint32
}

// Geometry is the immutable rest of the header.
type Geometry struct {
	_            structs.HostLayout
	Slots        uint64
	SlotSize     uint32
	Participants uint32
	MaxMessage   uint64
	Incompat     uint64
	Compat       uint64
	Doorbell     Doorbell
	_            uint32
	Descriptors  uint64
	Payload      uint64
}

// Hot holds the words that move while messages flow.
type Hot struct {
	_    structs.HostLayout
	Tail Word[Tail]
	// Written is what the producer of an SPSC ring may have written up to: bytes of older laps
	// before that are gone. It is stored before they are, and runs ahead.
	Written atomic.Uint64
	_       [112]byte
	// ReadPos is what the consumer has released up to. In a broadcast ring the producer stores it: it is
	// a waypoint from which the records can be followed to the end.
	ReadPos atomic.Uint64
	// Waypoints are for observers. The consumer leaves one before each store of ReadPos, which is not behind
	// it. Their words are loaded and stored atomically.
	Waypoints  Waypoints
	_          [80]byte
	DataBell   atomic.Uint32
	_          [124]byte
	SpaceBell  atomic.Uint32
	_          uint32
	Priority   Word[Priority]
	_          [112]byte
	Semaphores Semaphores
	// News counts what has changed about participants and their streams, so that nobody has
	// to look for nothing. It is added to behind the change.
	News atomic.Uint64
	// Events counts what was written into View.Events.
	Events atomic.Uint64
	// Stamp is when a message was sent whose time in the queue is to be measured, or 0.
	Stamp Word[Stamp]
	// Queueing counts the messages of which that was measured, by how long they waited: see
	// QueueingBounds. The consumer writes it.
	Queueing [len(QueueingBounds) + 1]atomic.Uint64
}

// Waypoints say how many messages there were before a position. There are two, written in turn, so that
// one is whole while the other is being written.
type Waypoints struct {
	_ structs.HostLayout
	// Turn counts them, and is stored when a new one is whole: the newest is in place Turn mod 2.
	Turn   uint64
	Places [2]Waypoint
}

// Waypoint is a position at which a record begins, or the next one will, and how many messages there are in
// all records before it, since the segment's first.
type Waypoint struct {
	_        structs.HostLayout
	Position uint64
	Messages uint64
}

// QueueingBounds are the limits of the places of Hot.Queueing, in nanoseconds: in each are those
// that waited for as long as its limit at most, and longer than that of the one before; in the
// last all others.
var QueueingBounds = [9]uint64{1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 25, 1 << 28}

// The lower bits of a bell word tell how those sleep who do; the rest counts rings.
const (
	BellSleeper  uint32 = 1 << 0 // on the doorbell
	BellParked   uint32 = 1 << 1 // waiting for the file to be read: rung by reading a byte of it
	BellCount    uint32 = 1 << 2
	BellSleeping        = BellSleeper | BellParked
	// BellEach in DataBell of an SPSC ring asks for records with cache lines of their own: the
	// consumer waits for each. It is no part of the count.
	BellEach uint32 = 1 << 31
	// BellFences in DataBell says that whoever sleeps on it fences for those who publish: a producer
	// whose process has joined may publish without a full barrier.
	BellFences uint32 = 1 << 30
	bellKept          = BellEach | BellFences
)

// Rung is a bell word after a notification: nobody sleeps, and it was counted.
func Rung(w uint32) uint32 {
	return (w+BellCount)&^(BellSleeping|bellKept) | w&bellKept
}

// Semaphores says which SysV semaphore set the doorbells of a segment are, where
// Config.Doorbell is SysV.
type Semaphores struct {
	_ structs.HostLayout
	// Set is generation:32 | id:31 | present:1, so that both change in one store.
	Set Word[SemaphoreSet]
	// Key is what the set of that generation was, or is about to be, made with. It is
	// written before the set is made: who dies in between leaves one that can be found.
	Key atomic.Uint32
	_   uint32
	// Namespace is the inode of the IPC namespace in which the id means anything.
	Namespace atomic.Uint64
}

// Participant is one process's entry.
type Participant struct {
	_            structs.HostLayout
	State        StateWord
	Epoch        atomic.Uint32
	Role         atomic.Uint32
	PID          atomic.Uint32
	Started      atomic.Uint64
	BootID       atomic.Uint64
	PIDNamespace atomic.Uint64
	DrainPos     atomic.Uint64
	Counters     [Counters]atomic.Uint64
	// Progress is when it has moved messages, in nanoseconds since 1970: then, or since. For
	// people.
	Progress atomic.Int64
	Label    Label // what its process calls itself, for people
	_        uint64
	// Since is when it attached, in nanoseconds since 1970. For people.
	Since atomic.Int64
	// Told is the newest stream of this producer whose fate the consumer has told, by its
	// Epoch. The consumer writes it.
	Told atomic.Uint32
	// CPU is 1 + the processor on which the participant has begun to wait last, or 0. A peer on
	// the same one does not spin.
	CPU atomic.Uint32
	// Over counts what was told since the last io.EOF. It is the consumer's own.
	Over Word[Over]
	// Fates say how the streams of a producer ended. The consumer's say how consumers went,
	// for those who look: the one of epoch e stands in place e mod Fates.
	Fates [Fates]StreamFate
}

// Fates is how many fates a participant has room for. Behind them the newest stands for
// several streams.
const Fates = 10

// StreamFate is how a stream of a producer ended, or several in a row. Whoever holds the
// life lock of the producer writes it, Fate last. It may be used again once Told says so.
type StreamFate struct {
	_    structs.HostLayout
	Fate Word[FateWord]
	Pos  atomic.Uint64 // everything the stream sent is before it
	PID  atomic.Uint32 // of the producer, as it saw itself; for people
	_    uint32
}

// Fate is how a stream ended. What is worse is greater.
type Fate uint8

const (
	FateEnded  Fate = 0 // cleanly
	FateLeft   Fate = 1 // its producer left, and the stream goes on with the next
	FateFailed Fate = 2 // its producer says that what it sent is not the whole
	FateDied   Fate = 3 // its producer died
)

// Events is how many events a segment keeps: the last.
const Events = 128

// Event is something in the life of a ring, for people who want to know the next morning what
// has happened. Anybody writes it, nothing is decided by it.
type Event struct {
	_ structs.HostLayout
	// Seq is the event's number, from 1 on, while the rest is complete; it is stored last.
	Seq  atomic.Uint64
	Time atomic.Int64 // nanoseconds since 1970
	What Word[EventWord]
	Pos  atomic.Uint64 // a position that has to do with it, or 0
	PID  atomic.Uint32 // of the participant that it is about, as that one saw itself
	By   atomic.Uint32 // of who wrote it, as it sees itself
}

// EventKind is what happened.
type EventKind uint8

const (
	EventCreated   EventKind = 1  // the ring
	EventAttached  EventKind = 2  // a participant
	EventTookOver  EventKind = 3  // likewise, in the place of one that had died
	EventEnded     EventKind = 4  // a stream, by its producer: Fate
	EventLeft      EventKind = 5  // a participant detached: Fate of a producer's stream
	EventDied      EventKind = 6  // a participant was found dead
	EventSkipped   EventKind = 7  // the claim of a dead producer was passed over
	EventRevoked   EventKind = 8  // the claim of a live producer was given up
	EventRecovered EventKind = 9  // the ring was put in order by hand
	EventOrphaned  EventKind = 10 // a participant found that the ring has lost its name
	EventResized   EventKind = 11 // the ring was made anew with another geometry
)

// Waymarks is how many waypoints of a broadcast ring are kept besides the newest: its area has so many equal
// parts, and of each there is the first waypoint in it, of its newest lap that has one.
const Waymarks = 32

// Kept is a waypoint of a broadcast ring that is kept. Its words are loaded and stored atomically, one by one, Check
// first and last.
type Kept struct {
	_ structs.HostLayout
	Waypoint
	Check uint64 // 1 + Position; else it is none, or being written
}

// KeptOf is where a waypoint at that position is kept, if it is the first in its part.
func (v *View) KeptOf(pos uint64) *Kept {
	return &v.Kept[pos/(uint64(v.Config.Area())/Waymarks)%Waymarks]
}

// Descriptor is one slot's control line. Meta and Inline are plain memory: they
// belong to the claim's owner until the store of Ctl that commits, and to the
// consumer from the load of Ctl that sees it.
type Descriptor struct {
	_      structs.HostLayout
	Ctl    Word[Ctl]
	Meta   uint64
	Inline [InlineSize]byte
}
