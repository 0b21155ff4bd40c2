// Package layout says what every byte of a shmring segment means. It has no
// behaviour beyond [Format], which writes those bytes, and [Parse], which
// believes nothing it reads until it has checked it.
//
// # The segment, version 4.0
//
// All numbers are in the byte order of the machine that made the segment (the
// endian mark says which); every multi-byte word is naturally aligned. Distances
// between words that different processes write are 128 bytes on every
// architecture: two x86 lines that are prefetched together, or one arm64 line.
//
//	offset  size  name           written by            read by
//	------  ----  -------------  --------------------  ----------------------------
//	                             identity: frozen for ever, in every version
//	     0     8  Magic          creator               everyone, at attach
//	     8     4  Endian         creator               everyone, at attach
//	    12     2  Major          creator               everyone, at attach
//	    14     2  Minor          creator               everyone, at attach
//	    16     4  HeaderSize     creator               everyone, at attach
//	    20     4  Kind           creator               everyone, at attach
//	    24    16  UUID           creator               everyone, at attach
//	    40     8  Size           creator               everyone, at attach
//	    48     8  Created        creator               people (unix nanoseconds)
//	    56     4  Checksum       creator               everyone, at attach
//	    60     4  zero
//	                             geometry: immutable
//	    64     8  Slots          creator               everyone, at attach
//	    72     4  SlotSize       creator               everyone, at attach
//	    76     4  Participants   creator               everyone, at attach
//	    80     8  MaxMessage     creator               everyone, at attach
//	    88     8  Incompat       creator               everyone, at attach
//	    96     8  Compat         creator               everyone, at attach
//	   104     4  Doorbell       creator               everyone, at attach
//	   108     4  zero
//	   112     8  Descriptors    creator               everyone, at attach (offset D)
//	   120     8  Payload        creator               everyone, at attach (offset P)
//	                             hot words, each alone on 128 bytes
//	   128     8  Tail           MPSC producers (CAS)  MPSC producers; a consumer that waits
//	   136     8  Written        the SPSC producer     observers
//	   256     8  ReadPos        the consumer          producers that look full
//	   264    40  Waypoints      the consumer          observers, consumers that attach
//	   384     4  DataBell       both                  producers, after a publish
//	   512     4  SpaceBell      both                  the consumer, after a release
//	   520     8  Priority           MPSC producers        MPSC producers that look full
//	   640     8  Set            who makes it          both, where Doorbell is SysV, or zero
//	   648     4  Key            who makes it          both, likewise
//	   652     4  zero
//	   656     8  Namespace      who makes it          both, likewise
//	   664     8  News           who stores a fate     the consumer, when nothing is next
//	   672     8  Events         anyone, by Add        anyone
//	   680     8  Stamp          producers, by CAS     the consumer, if it measures (its CAS to 0)
//	   688    80  Queueing       the consumer          people
//	                             participants: index 0 is the consumer
//	   768  512·N Participant    see below             see below
//	     E  5120  Event          anyone                people
//	E+5120   768 Kept            the producer          observers (broadcast)
//	     D   64·C Descriptor     see below             see below (MPSC)
//	     P    S·C payload        the claim's owner     the consumer, once committed (MPSC)
//	     P      A area           the producer          the consumer, once committed (SPSC); observers (broadcast)
//
// Checksum is CRC-32C of bytes 0–55 and 64–127. E is 768 + 512·N. D and P are multiples of 4096
// and so is the whole. P equals D + 64·C rounded up, or D on an SPSC ring; there is no payload
// when SlotSize is 0. A is [Config.Area].
//
// # A participant, 512 bytes
//
//	 0     4  State          its owner; a recoverer that holds its lock; whoever revokes a claim of its
//	 4     4  Epoch          its owner, at attach
//	 8     4  Role           its owner, at attach
//	12     4  PID            its owner, at attach  people, never decisions
//	16     8  Started        its owner, at attach  people (clock ticks since boot)
//	24     8  BootID         its owner, at attach  people
//	32     8  PIDNamespace   its owner, at attach  people
//	40     8  DrainPos       a recoverer           producers that attach
//	                         (of a fenced producer: its revoked claim; whoever revokes)
//	                         (of the consumer: everything before it may have been seen; the consumer)
//	48   152  Counters       see [Counter]         anyone
//	200    8  Progress       its owner             people (unix nanoseconds)
//	208   32  Label          its owner, at attach  people
//	240    8  zero
//	248    8  Since          its owner, at attach  anyone
//	256    4  Told           the consumer          who stores a fate; consumers that attach
//	260    4  CPU            its owner, waiting    its peers, when they wait
//	264    8  Over           the consumer          consumers that attach (in participant 0 only)
//	272  240  Fates          who holds its lock    the consumer: [Fates] times [StreamFate]
//
// A fate says how a stream of a producer ended, or several in a row: [FateWord], a
// position behind all that they sent, a PID for people, zero. It needs no room in the ring.
// Its place may be used again when Told says that the consumer has told it.
//
// Whether a participant lives is said by a byte-range lock that the kernel drops
// when it dies, never by these bytes.
//
// # A record of an SPSC ring
//
// Records lie in line in the area, each behind a word of its own, see [Record]. A word is what
// commits its record; the word behind the newest record is 0, and was cleared before that one was
// committed. So neither stale nor hostile payload is ever taken for a word, although words and
// payload lie in the same bytes. A record does not go around the end of the area: the rest of a
// lap is a record with [RecordSkip]. Positions count bytes.
//
// # A descriptor of an MPSC ring, 64 bytes: one cache line
//
//	 0     8  Ctl            the claim's owner; a helper (CLAIMED); the consumer (DISCARDED)
//	 8     8  Meta           the claim's owner     length:32 | kind:16 | flags:8 | Finishing:8; the consumer again
//	16    48  Inline         the claim's owner     the payload when length ≤ 48
//
// A message of n bytes takes one slot when n ≤ max(48, S), else ⌈n/S⌉ consecutive
// slots of which the first one's descriptor speaks for all. A message never wraps
// around the end of the ring: the rest of the lap is claimed as DISCARDED instead.
// Control words live where payload never goes, so stale or hostile payload cannot
// be taken for a header and nothing ever has to be zeroed.
//
// # Packed words and how long they last
//
//	Tail  pos:44 | slots:12 | owner:8           end of the newest claim, its length, its owner
//	Ctl   lap:42 | slots:12 | owner:8 | state:2
//	FateWord  worst:2 | fates:30 | epoch:32         how up to 15 streams ended, and the worst of those before
//	Over      ended:20 | over:20 | producer:8 | epoch:16  what was told since io.EOF, and of whom last
//	Stamp     time:34 | position:29 | present:1     when the record that ends there was sent (SPSC: position/8)
//	Priority  nonce:44 | slots:12 | owner:8           who has waited so long for room that others hold back
//
// Positions count slots from the segment's first, on an SPSC ring bytes, and never repeat: ReadPos and
// every private position have 64 bits (a century at 5 ns per slot or 5 GB/s). Tail carries
// the low 44 bits, which turn over after 2^44 slots (88 hours at 18 ns): a reader
// completes them from a ReadPos loaded before ([Tail.Pos]), exact while that
// ReadPos is less than 2^44 slots old. An older one is unmasked by the lap of the
// previous claim, which every claimant compares, unless it is older by a multiple of
// 2^42 laps, give or take the length of the ring.
//
// A lap is 1 + position/C, so that zeroed memory means "never written", kept to 42
// bits. Laps are compared for equality only. A descriptor is not rewritten in laps
// in which its slot lies inside a longer message; such a stale word could be
// mistaken for a current one only after exactly 2^42 laps without a message
// starting there. Rings have at least 8 slots, so that is at least 2^45 slots
// (7 days of nothing but full-speed traffic at 18 ns; 2.6 years with 1024 slots),
// and claims of several slots renew the inner descriptors once every 2^[RenewBits]
// laps, which ends that possibility too.
//
// # What forces a new version
//
// Major: any change to an offset, to the meaning of an existing bit, or to the
// protocol that makes an old peer misread or miswrite. Minor: a use for bytes that
// are zero today, where zero means "feature absent". An unknown Incompat bit is
// refused, an unknown Compat bit is ignored. The golden segment in testdata has to
// be regenerated, by hand and on purpose, with either.
package layout
