package layout

// Widths of the packed words; see the package comment for their lifetimes.
const (
	posBits   = 44
	slotsBits = 12
	ownerBits = 8
	stateBits = 2
	lapBits   = 42

	posMask   = 1<<posBits - 1
	slotsMask = 1<<slotsBits - 1
	ownerMask = 1<<ownerBits - 1
	stateMask = 1<<stateBits - 1
	lapMask   = 1<<lapBits - 1

	ctlOwnerShift = stateBits
	ctlSlotsShift = ctlOwnerShift + ownerBits
	ctlLapShift   = ctlSlotsShift + slotsBits

	// RenewBits: in laps that are multiples of 2^RenewBits a claim of several slots
	// also renews the descriptors of its inner slots.
	RenewBits = 32

	// MaxSlotsPerMessage is the longest claim that fits its field.
	MaxSlotsPerMessage = slotsMask
	// MaxParticipants counts the consumer and every producer: an owner is 8 bits and
	// index 255 stays unused.
	MaxParticipants = ownerMask
	// SemaphoreLock is the lock of a segment, behind those of all participants, under which
	// its semaphore set is made and recorded. MaxParticipants itself is ForceSkip's.
	SemaphoreLock = MaxParticipants + 1
)

// State is the last field of a control word.
type State uint64

const (
	None      State = 0 // nothing of this lap
	Claimed   State = 1 // claimed, recorded by a helper
	Committed State = 2 // readable
	Discarded State = 3 // to be passed over: padding, an aborted claim, a dead owner's claim
)

// Tail is the word that names the newest claim of an MPSC ring.
type Tail uint64

// PackTail makes a Tail from the position after the claim (of which the low 44 bits
// are kept), its length in slots and its owner.
func PackTail(end uint64, slots uint64, owner uint8) Tail {
	return Tail(end&posMask<<(slotsBits+ownerBits) | slots&slotsMask<<ownerBits | uint64(owner))
}

// Until is that word with another end; its own is 0.
func (t Tail) Until(end uint64) Tail { return t | Tail(end<<(slotsBits+ownerBits)) }

// Pos returns the full position after the claim, given any true position since
// that is at most 2^44 slots older, such as a ReadPos loaded before this Tail.
func (t Tail) Pos(since uint64) uint64 {
	return since + (uint64(t)>>(slotsBits+ownerBits)-since)&posMask
}

// Slots is the length of the newest claim; 0 before the first one.
func (t Tail) Slots() uint64 { return uint64(t) >> ownerBits & slotsMask }

// Owner is the participant that made the newest claim.
func (t Tail) Owner() uint8 { return uint8(t) }

// Ctl is a descriptor's control word. For one slot it only ever moves forward in
// (lap, state), so a helper that was stopped for hours still loses its CAS.
type Ctl uint64

// PackCtl makes a control word; lap is cut to its 42 bits.
func PackCtl(lap, slots uint64, owner uint8, s State) Ctl {
	return Ctl(lap<<ctlLapShift | slots&slotsMask<<ctlSlotsShift | uint64(owner)<<ctlOwnerShift | uint64(s))
}

// Lap is the turn of the ring this word belongs to, 42 bits.
func (c Ctl) Lap() uint64 { return uint64(c) >> ctlLapShift }

// In is the word in another lap.
func (c Ctl) In(lap uint64) Ctl { return c.InAnyLap() | Ctl(lap<<ctlLapShift) }

// InAnyLap is the word without its lap.
func (c Ctl) InAnyLap() Ctl { return c & (1<<ctlLapShift - 1) }

// IsRecorded reports whether the word tells of a record of that lap: claimed, or more.
// None does not, whatever its lap: zeroed memory carries lap 0, which comes around.
func (c Ctl) IsRecorded(lap uint64) bool { return c.Lap() == lap && c.State() != None }

// IsFinished reports whether the word finishes a record of that lap: committed or
// discarded.
func (c Ctl) IsFinished(lap uint64) bool { return c.Lap() == lap && c.State() >= Committed }

// Slots is the length of the record.
func (c Ctl) Slots() uint64 { return uint64(c) >> ctlSlotsShift & slotsMask }

// Owner is the participant that claimed the record.
func (c Ctl) Owner() uint8 { return uint8(c >> ctlOwnerShift) }

// State of the record.
func (c Ctl) State() State { return State(c & stateMask) }

// LapOf is the lap of a position in a ring of 1<<shift slots, as control words
// carry it.
func LapOf(pos uint64, shift uint) uint64 { return (pos>>(shift&63) + 1) & lapMask }

// PackMeta makes the second word of a descriptor, or with flags 0 the word before
// an entry of a batch.
func PackMeta(length uint32, kind uint16, flags uint8) uint64 {
	return uint64(length) | uint64(kind)<<32 | uint64(flags)<<metaFlags
}

// UnpackMeta is the inverse of PackMeta. It leaves out what Finishing has added.
func UnpackMeta(m uint64) (length uint32, kind uint16, flags uint8) {
	return uint32(m), uint16(m >> 32), uint8(m >> metaFlags)
}

const (
	metaFlags     = 48
	metaFinishing = 56
)

// Finishing is added to the Meta of a claim of that lap by an owner that is about to commit it by a
// plain store: it may be before that store or behind it from now on, and nobody can give the claim
// up any more. Of another lap it says nothing. Seven bits of the lap are enough: where they are those of an
// older one, 128 laps ago, a claim is taken for one that cannot be given up.
func Finishing(lap uint64) uint64 { return (lap | 0x80) << metaFinishing }

// IsFinishing reports whether that was added to a Meta.
func IsFinishing(m, lap uint64) bool { return m>>metaFinishing == Finishing(lap)>>metaFinishing }

// Record is the word before a record of an SPSC ring. It stands at a multiple of 8, the bytes of
// the record behind it, and behind those, where Next says, the next word. 0: there is no record.
//
//	 0–31  length in bytes
//	32–47  kind: the user's message type
//	48–55  flags
//	56–61  what the next word is aligned to, less one: 7, or LineAlign-1
//	62     zero
//	63     1
type Record uint64

const (
	RecordHeader = 8  // bytes of the word
	RecordAlign  = 8  // where records begin
	LineAlign    = 64 // where they begin behind one that has lines of its own

	recordFlags = 48
	recordAlign = 56
	recordThere = 1 << 63

	// RecordFirst is FlagFirst. RecordSkip makes a record that holds nothing for anybody.
	RecordFirst Record = 1 << recordFlags
	RecordSkip  Record = 2 << recordFlags

	knownRecordFlags = RecordFirst | RecordSkip
)

// PackRecord makes a Record; align is RecordAlign or LineAlign.
func PackRecord(length uint32, kind uint16, align uint64) Record {
	return recordThere | Record(align-1)<<recordAlign | Record(kind)<<32 | Record(length)
}

// Length is how many bytes there are.
func (r Record) Length() uint64 { return uint64(uint32(r)) }

// Kind is the user's message type.
func (r Record) Kind() uint16 { return uint16(r >> 32) }

// IsSound reports whether a correct producer can have written the word, as far as it can tell.
func (r Record) IsSound() bool {
	align := uint64(r) >> recordAlign
	return r>>recordFlags&0xff&^(knownRecordFlags>>recordFlags) == 0 &&
		(align == recordThere>>recordAlign|RecordAlign-1 || align == recordThere>>recordAlign|LineAlign-1)
}

// Like is what all records have in common that are no more than messages, with the same alignment:
// compare it with that of another, made by [Record.Plain].
func (r Record) Like() uint64 { return uint64(r) >> recordFlags }

// Plain is the word without its flags.
func (r Record) Plain() Record { return r &^ knownRecordFlags }

// Mask is what the next word is aligned to, less one: at least 7, and no bit but the lower six,
// whatever the word is.
func (r Record) Mask() uint64 { return uint64(r)>>recordAlign&(LineAlign-1) | (RecordAlign - 1) }

// Next is where the next word stands, if this one stands at pos: at least 8 bytes on, and a
// multiple of 8, whatever the word is.
func (r Record) Next(pos uint64) uint64 { return NextRecord(pos, r.Length(), r.Mask()) }

// NextRecord is where the next word stands behind a record of n bytes at pos; mask is what it is
// aligned to, less one.
func NextRecord(pos, n, mask uint64) uint64 { return (pos + RecordHeader + n + mask) &^ mask }

// FateWord is the first word of a StreamFate.
//
//	 0–31  the stream, by its epoch: the newest of those that this fate is about
//	32–61  how it ended and the streams before it did, two bits each, its own lowest
//	62–63  the worst of those before that
type FateWord uint64

// FatesTogether is of how many streams a FateWord tells each.
const FatesTogether = 15

const (
	fateShift  = 32
	fateBits   = 2
	fateMask   = 1<<fateBits - 1
	kindsMask  = 1<<(FatesTogether*fateBits) - 1
	olderShift = fateShift + FatesTogether*fateBits
)

// With is the word with one more stream. That of no stream is 0.
func (w FateWord) With(epoch uint32, f Fate) FateWord {
	kinds := uint64(w) >> fateShift & kindsMask
	worst := max(w.Older(), Fate(kinds>>((FatesTogether-1)*fateBits)))
	kinds = kinds<<fateBits&kindsMask | uint64(f)
	return FateWord(uint64(worst)<<olderShift | kinds<<fateShift | uint64(epoch))
}

// Upto is the newest stream.
func (w FateWord) Upto() uint32 { return uint32(w) }

// Of is the fate of a stream, and of the newest stream that it stands for: that stream
// itself, unless it is so old that the word only tells the worst of those that are.
func (w FateWord) Of(epoch uint32) (f Fate, upto uint32) {
	back := w.Upto() - epoch
	if back < FatesTogether {
		return Fate(uint64(w) >> (fateShift + back*fateBits) & fateMask), epoch
	}
	return w.Older(), w.Upto() - FatesTogether
}

// Older is the worst fate of those streams of which the word does not tell each.
func (w FateWord) Older() Fate { return Fate(w >> olderShift) }

// EventWord is what an event is about.
//
//	 0–7   its kind
//	 8–15  the participant
//	16–23  a fate
//	32–63  an epoch
type EventWord uint64

// PackEvent makes an EventWord.
func PackEvent(k EventKind, participant uint8, f Fate, epoch uint32) EventWord {
	return EventWord(uint64(k) | uint64(participant)<<8 | uint64(f)<<16 | uint64(epoch)<<32)
}

// Kind is what happened.
func (w EventWord) Kind() EventKind { return EventKind(w) }

// Participant is whom it happened to.
func (w EventWord) Participant() uint8 { return uint8(w >> 8) }

// Fate is how a stream ended, where it has to do with one.
func (w EventWord) Fate() Fate { return Fate(uint8(w >> 16)) }

// Epoch is the participant's.
func (w EventWord) Epoch() uint32 { return uint32(w >> 32) }

// Over counts the streams that were told since the consumer said io.EOF, and names the
// newest of them, so that both change in one store. Numbers stay at their maximum.
//
//	 0–15  low bits of the epoch of the newest
//	16–23  its producer
//	24–43  how many were over
//	44–63  how many of those did not die
type Over uint64

const overMask = 1<<20 - 1

// PackOver makes an Over.
func PackOver(over, ended uint64, producer uint8, epoch uint32) Over {
	return Over(min(ended, overMask)<<44 | min(over, overMask)<<24 | uint64(producer)<<16 | uint64(uint16(epoch)))
}

// Streams is how many streams were over.
func (o Over) Streams() uint64 { return uint64(o) >> 24 & overMask }

// Ended is how many of them were ended by their producers, cleanly or as failed.
func (o Over) Ended() uint64 { return uint64(o) >> 44 }

// Newest is the producer and the epoch, of which the low 16 bits are kept, of the newest.
func (o Over) Newest() (producer uint8, epoch uint16) { return uint8(o >> 16), uint16(o) }

// SemaphoreSet is the word Semaphores.Set.
type SemaphoreSet uint64

// PackSemaphoreSet makes the word of a set that is there; id has 31 bits.
func PackSemaphoreSet(generation uint32, id int) SemaphoreSet {
	return SemaphoreSet(uint64(generation)<<32 | uint64(uint32(id)<<1) | 1)
}

// Generation counts the sets that a segment has had.
func (s SemaphoreSet) Generation() uint32 { return uint32(s >> 32) }

// ID is the kernel's name of the set.
func (s SemaphoreSet) ID() int { return int(uint32(s) >> 1) }

// Present reports whether there is a set.
func (s SemaphoreSet) Present() bool { return s&1 != 0 }

// Gone is the word when the set is not there any more.
func (s SemaphoreSet) Gone() SemaphoreSet { return s &^ (1<<32 - 1) }

// Stamp says when a message was sent. Not more than one is on its way at a time.
//
//	 0     1: it is there
//	 1–29  low bits of the position behind the record, on an SPSC ring of an eighth of it
//	30–63  the time, in units of StampUnit, of the clock CLOCK_MONOTONIC
type Stamp uint64

// StampUnit is the resolution of a Stamp in nanoseconds. Its time turns over after 73 minutes.
const StampUnit = 256

const (
	stampEndBits  = 29
	stampEndMask  = 1<<stampEndBits - 1
	stampTimeBits = 34
)

// PackStamp makes a Stamp of the position behind a record and of a time in nanoseconds.
func PackStamp(end, now uint64) Stamp {
	return Stamp(now/StampUnit<<(64-stampTimeBits) | end&stampEndMask<<1 | 1)
}

// Present reports whether there is a stamp.
func (s Stamp) Present() bool { return s&1 != 0 }

// Behind is how many slots, or words, a position is behind the end of the record: 0 for the one of the
// stamp, less for those before.
func (s Stamp) Behind(pos uint64) int {
	return int(int32(uint32(pos-uint64(s)>>1)<<(32-stampEndBits)) >> (32 - stampEndBits))
}

// Age is how long ago it was, at a time in nanoseconds. A clock that seems to have gone backwards,
// as that of another time namespace may, gives 0.
func (s Stamp) Age(now uint64) uint64 {
	age := (now/StampUnit - uint64(s)>>(64-stampTimeBits)) & (1<<stampTimeBits - 1)
	if age >= 1<<(stampTimeBits-1) {
		return 0
	}
	return age * StampUnit
}

// Priority names the producer that has waited for long for so many slots in a row; 0: nobody.
type Priority uint64

// PackPriority makes a Priority; of the nonce, which tells one turn from the next, the lower 44
// bits count.
func PackPriority(nonce, slots uint64, owner uint8) Priority {
	return Priority(nonce<<20 | slots<<8&0xfff00 | uint64(owner))
}

// Slots is what it waits for.
func (t Priority) Slots() uint64 { return uint64(t) >> 8 & 0xfff }

// Owner is its participant slot.
func (t Priority) Owner() uint8 { return uint8(t) }
