// Package ring moves messages through the bytes of a segment: [Producer] and [Consumer]
// over a [layout.View]. It knows no files and no operating system. What it needs of them
// comes in as small interfaces: [Locks] (which participants are alive), [Bell] and
// [ParkingLot] (two ways to sleep and wake). So the same code runs over heap memory, where
// the race detector can see it, and over a mapping, where it cannot.
//
// # Who owns which bytes
//
// Records lie in one of two ways. Those of an MPSC ring lie in slots, each with a descriptor, so
// that many may be claimed and finished in any order (slots.go). Those of an SPSC ring lie in line in
// an area of bytes, each behind one word, several to a cache line (area.go). A position counts
// slots, or bytes, since the segment's first; its place is the position mod C, the number of
// slots, or of bytes in the area. Positions are all that the rest of the package knows of it.
//
//	[ReadPos, WritePos)      committed, discarded or claimed records. A claimed one belongs
//	                         to its owner until it commits; a committed one to the consumer.
//	[WritePos, ReadPos+C)    free. For SPSC it belongs to the producer; for MPSC a CAS of
//	                         Tail takes some of it.
//
// SPSC has no shared WritePos: it is the first position whose word is 0, which a producer that
// takes over finds by walking from ReadPos. For MPSC it is the position in Tail.
//
//	positions are all that the rest of the package knows
//	                  ┌──────────────────┴─────────────────┐
//	    producer.go, claim.go, batch.go        receive.go, drain.go, reader.go
//	      ┌───────────┴───────────┐              ┌─────────┴──────────┐
//	   spsc.go                 mpsc.go      read_spsc.go        read_mpsc.go
//	      └────── area.go ────────┼──────────────┘                    │
//	                          slots.go ───────────────────────────────┘
//
// The twins have the same functions; who calls them asks segment.mpsc.
//
// # Edges
//
// Every store that hands bytes over, and the load it pairs with, carry the same label.
//
//	D1 → D2  Ctl, or the word before a record, finishes it → consumer loads that
//	         the record's Meta and payload are readable
//	S1 → S2  consumer stores ReadPos → producer loads ReadPos
//	         the consumer has done with those slots, or bytes
//	H1 → H2  Ctl names the previous claim, then Tail moves → Tail seen moved, Ctl loaded again
//	         no claim is ever anonymous
//	B1 → B2  record published, then bell loaded ‖ bell announced, then ring looked at again
//	         one of the two sees the other
//	F1 → F2  owner marked as revoked, then its claim discarded → claim seen discarded, then the mark
//	         a revoked claim is passed but not released
//	P1 ‖ F1  owner's mark in Meta, then its state loaded (P2) ‖ state marked, a barrier in every
//	         processor, none missed, then Meta loaded: one of owner and ForceSkip sees the other
//	L1 → L2  last store of a dying process, kernel drops its lock → recoverer takes the lock
//	         a dead owner writes no more
//
// All shared words go through sync/atomic, whose operations are sequentially consistent.
// D, S, H and L need only release and acquire; B needs the full barrier that Go's Store
// (XCHG on amd64) and CompareAndSwap are, or the other side's (see publishAt); P leans on that of
// F1 always. Payload, Meta and Inline are plain memory:
// between claim and D1 only the owner touches them, after D2 only the consumer, after S2
// again only an owner.
//
// The Go memory model speaks of the goroutines of one program. Between processes this
// package leans on what the compiler emits for sync/atomic on amd64 and arm64 and on both
// sides mapping the same pages.
//
// # The claim of many producers
//
// Tail names the newest claim: where it ends, how long it is, whose it is. It moves only
// by CAS, and nobody may move it before the claim it names is recorded in that claim's
// descriptor (committed, discarded, or claimed, written by whoever wants to move Tail on:
// that is helping). So of all claims at most one, the newest, is not recorded, and Tail is
// its record. A producer killed at any instruction leaves a claim that names it. The
// consumer discards that claim once the kernel has dropped the owner's lock, and never
// before.
//
// # Waiting
//
// A wait spins while that pays (spin.go), then announces itself in the bell word, looks
// once more and sleeps, in pieces (notify.go has the protocol, wait.go the loop). Sleepers
// are on the doorbell, with a thread each, or parked. What ended a sleep does not matter:
// the ring is looked at, then dead peers are looked for, then come the reasons to give up,
// which were asked before. A [Poller] does the same for many consumers, which it parks.
//
// Producers of an MPSC ring that wait for room may claim priority (priority.go). Nothing
// depends on that.
//
// # What a peer can do to us
//
// A process that maps the segment can write any word at any time. Geometry and own
// positions are private copies; every other word is loaded once, checked, and used from
// the copy; loops are bounded. A word that no honest peer can have written closes the
// handle: this and every later call returns a [*CorruptError]. Payload can change under a
// reader's eyes: [Consumer.TryReceive] copies, [Message.Bytes] does not. A page that is missing, because
// the file was truncated, becomes an error where the call is guarded (guard.go).
//
// # The files, top to bottom
//
// Calls run down this list, never up; a test holds them to it.
//
//	poller.go       many consumers, one goroutine: who is in, who is handed out
//	polling.go      how a Poller looks, arms and sleeps
//	message.go      a message in the user's hands
//	consumer.go     the receiving handle: open, close, check
//	drain.go        Drain: many messages, one release
//	view.go         View: messages in place, and most of them without a call
//	view_next.go    the short way of that
//	view_next_race.go  the same where the race detector watches
//	view_unsafe.go  the window in which it goes
//	receive.go      Receive, Next, All: the loop of a blocking call
//	backoff.go      a consumer that has caught up leaves the ring alone for a moment
//	short.go        what is known of the records that come next
//	reader.go       the next record
//	read_spsc.go    how one finds it in line
//	read_mpsc.go    how one finds it in slots: message, entry of a batch, padding
//	watch.go        fates of producers: ends, deaths, stalls
//	release.go      the cursors of the consumer: ReadPos, redelivery mark, revoked claims
//	resize.go       what is in a ring goes into one of another geometry
//	told.go         what the segment says that the consumer has told
//	build.go        Batch: many messages that are written in place
//	batch.go        SendBatch: many messages that are published together
//	claim.go        Claim: room to be filled in place
//	producer.go     the sending handle: reserve, fill, publish, and the wait for room
//	spsc.go         reserve and publish of one producer
//	broadcast.go    what is different where the one producer waits for nobody
//	mpsc.go         reserve and publish of many producers
//	priority.go     who waited long for room goes first
//	repair.go       ForceSkip and Repair
//	look.go         how much is in a ring
//	begin.go        where an observer begins
//	latest.go       the newest message, for an observer
//	observe.go      who follows the messages of a ring and has no part in it
//	observe_unsafe.go  the words of a record
//	anchor.go       what was whole, and where an observer goes on that was overtaken
//	waypoint.go     how many messages there are before a position
//	inspect.go      what is in a ring and who is there, for those who take no part
//	peers.go        who is there, for those who ask
//	participant.go  attach, reap, detach
//	fate.go         how streams end: storing and finding it
//	events.go       what has happened, for people
//	stats.go        counters
//	wait.go         the loop of a wait: look, spin, sleep
//	notify.go       the bell protocol: announce, sleep, wake
//	measure.go      how long messages are in the queue, of some
//	guard.go        missing pages become errors
//	handle.go       what both halves have
//	spin.go         how long to spin: what was learned of earlier waits
//	gate.go         closing a handle under its users' feet
//	flag.go         the gate's busy flag
//	flag_race.go    the same where the race detector watches
//	store_amd64.go  a store without a barrier
//	store_other.go  and where there is none
//	segment.go      what anybody may do to the shared memory: help, discard, retire
//	message_unsafe.go  where the bytes of a message lie
//	slots.go        geometry of MPSC: positions, descriptors, bytes, laps, the walk over records
//	slots_unsafe.go where a position lies, without comparisons
//	glance.go       a look at an SPSC ring from outside
//	glance_race.go  the same where the race detector watches
//	area.go         geometry of SPSC: positions, words, bytes, the walk over records
//	area_unsafe.go  where a position lies, without comparisons; copies of few bytes
//	position.go     the name of a message
//	record.go       what the payload of a record is
//	copy.go         copy, in pieces
//	errors.go       what can go wrong
//	config.go       what a handle needs of its surroundings
//	invariants_on.go   the build that checks its own state
//	invariants_off.go  and the one that does not
package ring
