package layout

import (
	"fmt"
	"math"
	"math/bits"
)

// Limits of a ring.
const (
	MinSlots        = 8
	MaxSlots        = 1 << 30
	SlotAlign       = 64      // slot sizes are multiples of this
	MaxSlotSize     = 1 << 24 // 16 MiB
	MinParticipants = 2       // the consumer and one producer
	MaxSize         = 1 << 40 // life locks lie above this offset of the file
	MinSize         = 768     // bytes without which nothing can be parsed
	FixedSize       = 128     // bytes at the beginning that do not change, once formatted
)

// Config describes a segment to be formatted, or one that was parsed.
type Config struct {
	Kind     Kind
	Slots    int // C: a power of two, MinSlots … MaxSlots
	SlotSize int // S: payload bytes per slot, a multiple of SlotAlign; 0: messages of at most 48 bytes
	// Slots and SlotSize of an SPSC or broadcast ring say how large its area is; see Area.
	MaxMessage   int      // longest message in bytes, 0 … Capacity
	Participants int      // the consumer and all producers, 2 … 255
	Doorbell     Doorbell // how sleepers are woken
	Incompat     uint64   // features: FlockLocks
	UUID         [16]byte // identity of this segment, from a random source
	Created      int64    // unix nanoseconds, for people
	Start        uint64   // first position; not recorded, 0 outside tests
}

// Capacity is the longest message a ring of this geometry can carry: min(C, 4095)
// slots, or 48 bytes where that is more.
func (c Config) Capacity() int {
	return max(InlineSize, c.SlotSize*min(c.Slots, MaxSlotsPerMessage))
}

// recordSlack is what a record takes besides its message, and the word behind it, at most.
const recordSlack = 2*RecordHeader + LineAlign

// broadcastShare is how many of the longest messages the area of a broadcast ring has room for: one
// that is being written, what is left of a lap if it does not fit in there, and the one before,
// which has to stay whole meanwhile, make three, and areas are powers of two.
const broadcastShare = 4

// Area is how many bytes the records of an SPSC or broadcast ring lie in; 0 of an MPSC ring. It is a
// power of two: C times S, at least 64 for each slot, or more where one message may take nearly all
// of that, or, of a broadcast ring, more than a quarter.
func (c Config) Area() int64 {
	var least uint64
	switch c.Kind {
	case SPSC:
		least = uint64(c.MaxMessage) + recordSlack
	case Broadcast:
		least = broadcastShare * (uint64(c.MaxMessage) + recordSlack)
	default:
		return 0
	}
	need := max(uint64(c.Slots)*uint64(max(c.SlotSize, SlotAlign)), least)
	return 1 << bits.Len64(need-1)
}

// Step is how many bytes a broadcast ring's producer may have said to overwrite (Hot.Written) before
// it does, unless one record takes more.
func (c Config) Step() int64 { return min(stepMost, c.Area()/stepShare) }

const (
	stepMost  = 4096
	stepShare = 8
)

// features are the Incompat bits of the header.
func (c Config) features() uint64 {
	switch c.Kind {
	case SPSC:
		return c.Incompat | InLine
	case Broadcast:
		return c.Incompat | InLine | Overwrites
	}
	return c.Incompat
}

// Shift is log2 of Slots.
func (c Config) Shift() uint { return uint(bits.TrailingZeros64(uint64(c.Slots))) }

// Size is the length of the segment in bytes. It checks every limit first; the
// error is a *FieldError that wraps ErrConfig.
func (c Config) Size() (int64, error) {
	if err := c.check(); err != nil {
		return 0, err
	}
	_, _, size := c.offsets()
	return size, nil
}

func (c Config) check() error {
	bad := func(field string, got any, want string) error {
		return &FieldError{Field: field, Got: fmt.Sprint(got), Want: want, Err: ErrConfig}
	}
	switch {
	case c.Kind < SPSC || c.Kind > Broadcast:
		return bad("kind", c.Kind, "1 (SPSC), 2 (MPSC) or 3 (broadcast)")
	case c.Slots < MinSlots || c.Slots > MaxSlots || c.Slots&(c.Slots-1) != 0:
		return bad("slots", c.Slots, fmt.Sprintf("a power of two, %d to %d", MinSlots, MaxSlots))
	case c.SlotSize < 0 || c.SlotSize > MaxSlotSize || c.SlotSize%SlotAlign != 0:
		return bad("slot size", c.SlotSize, fmt.Sprintf("a multiple of %d, 0 to %d", SlotAlign, MaxSlotSize))
	case c.Participants < MinParticipants || c.Participants > MaxParticipants:
		return bad("participants", c.Participants, fmt.Sprintf("%d to %d", MinParticipants, MaxParticipants))
	case c.IsInLine() && c.Participants != MinParticipants:
		return bad("participants", c.Participants, fmt.Sprintf("2 for a ring of kind %v", c.Kind))
	case c.Doorbell < Futex || c.Doorbell > Poll:
		return bad("doorbell", c.Doorbell, "1 (futex), 2 (SysV semaphore) or 3 (poll)")
	}
	if known := uint64(KnownIncompat &^ kindIncompat); c.Incompat&^known != 0 {
		return bad("feature bits", fmt.Sprintf("%#x", c.Incompat), fmt.Sprintf("none beyond %#x", known))
	}
	if c.MaxMessage < 0 || c.MaxMessage > c.Capacity() {
		return bad("max message", c.MaxMessage, fmt.Sprintf("0 to %d, what %d slots of %d bytes can carry",
			c.Capacity(), min(c.Slots, MaxSlotsPerMessage), c.SlotSize))
	}
	if _, _, size := c.offsets(); size > min(MaxSize, math.MaxInt) {
		return bad("size", size, fmt.Sprintf("at most %d bytes", uint64(min(MaxSize, math.MaxInt))))
	}
	return nil
}

func (c Config) eventsOffset() int64 {
	return participantsOffset + int64(c.Participants)*participantSize
}

// keptOffset is where the waypoints lie that a broadcast ring keeps.
func (c Config) keptOffset() int64 { return c.eventsOffset() + Events*eventSize }

// IsInLine tells whether records lie in line, in an area, rather than in slots.
func (c Config) IsInLine() bool { return c.Kind != MPSC }

// offsets needs no overflow checks: 2^30 slots of 2^24+64 bytes stay below 2^55. Where records lie in
// line there are no descriptors, and the area is where the payload of another ring is.
func (c Config) offsets() (descriptors, payload, size int64) {
	descriptors = c.keptOffset()
	if c.Kind == Broadcast {
		descriptors += Waymarks * keptSize
	}
	if descriptors = pageUp(descriptors); c.IsInLine() {
		return descriptors, descriptors, pageUp(descriptors + c.Area())
	}
	payload = pageUp(descriptors + int64(c.Slots)*descriptorSize)
	return descriptors, payload, pageUp(payload + int64(c.Slots)*int64(c.SlotSize))
}

func pageUp(n int64) int64 { return (n + PageAlign - 1) &^ (PageAlign - 1) }

func (k Kind) String() string {
	switch k {
	case SPSC:
		return "spsc"
	case MPSC:
		return "mpsc"
	case Broadcast:
		return "broadcast"
	}
	return fmt.Sprintf("kind(%d)", uint32(k))
}

func (d Doorbell) String() string {
	switch d {
	case Futex:
		return "futex"
	case SysV:
		return "sysv"
	case Poll:
		return "poll"
	}
	return fmt.Sprintf("doorbell(%d)", uint32(d))
}

func (r Role) String() string {
	switch r {
	case RoleConsumer:
		return "consumer"
	case RoleProducer:
		return "producer"
	}
	return fmt.Sprintf("role(%d)", uint32(r))
}
