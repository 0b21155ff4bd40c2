package ring

import (
	"sync/atomic"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// Consumer is the receiving half of a ring. It is for one goroutine at a time, and
// that includes the release of its messages; Close, Stats, Used and the other
// getters may be called from anywhere.
//
// Delivery is at least once: a message is released after it was handled, that is by
// Release, or by coming back for the next one ([Consumer.Receive],
// [Consumer.TryReceive]), or by the handler's return ([Consumer.Drain],
// [Consumer.All]). If the process dies before, the next consumer gets it again.
// Releases are gathered, so that may be up to 64 messages (fewer on rings under 512
// slots) and the batches they belong to. With Config.AtMostOnce the next consumer
// passes over what this one may have seen.
type Consumer struct {
	_ [128]byte
	core

	// Touched by the one goroutine inside enter and leave.
	pos      uint64 // next record
	released uint64 // ReadPos as last stored
	owed     uint64 // handled: what ReadPos may become
	auto     uint64 // what coming back for the next message releases
	lazy     uint64 // how much may be owed before it is stored
	handed   uint64 // messages handed out by Next
	freed    uint64 // of those, the newest that was released, and with it all before it
	leased   bool   // the last of them is not released

	batch batch // the record that is being walked
	chase chase // see soon

	// row is how many records were taken since the ring was empty. The line of a descriptor
	// is written to, with what it holds: that takes it away from the producer, which would
	// otherwise keep a shared copy until it comes around again, and then pays five times as
	// much to make that writable as to fetch the line anew (Zen 4: a copy is not prefetched).
	// Not so the first of a row: it is likely to be answered, and an MPSC producer begins its
	// next claim with a look at the line of its last. Nor the second: the processor, which
	// looks for it while it waits for the first, would take the line for a store it never makes.
	row int

	seenTo    uint64   // records before this position may have been seen by a former consumer
	marked    uint64   // records before this position may have been seen: what the segment says of us
	ahead     uint64   // how far that is ahead of the truth, so that not every record costs a store
	hand      uint64   // end of the newest record that a handler got
	tally     []tally  // by producer, since the last flush
	uncounted int      // messages in tally
	finished  []uint32 // by producer: the epoch whose end was seen, 0: none
	ends      int      // how many ends were seen since the last io.EOF
	ending    bool     // an end was seen and not yet reported (MPSC)
	lookEnd   bool     // and nobody looked yet whether it was the last one
	overNow   bool     // and it was, when a Poller looked
	stall     atomic.Pointer[stall]
	fences    []fence        // revoked claims that were passed and may not be released
	lost      *PeerDeadError // a producer's death, to be reported behind its last message (SPSC)
	mourned   uint32         // epoch of the newest one whose death was told

	att Attachment
	_   [128]byte
}

type tally struct{ messages, bytes uint64 }

// countEvery is how many messages may be missing from the shared counters.
const countEvery = 4096

// NewConsumer attaches the consumer to a ring. It goes on at ReadPos: behind the
// last message that was released. The error is a *BusyError when the ring has a live
// consumer, or a *CorruptError.
func NewConsumer(v *layout.View, cfg Config) (*Consumer, error) {
	c := &Consumer{}
	c.init(v, cfg)
	c.single = true
	c.sleepWord, c.sleepBell = &v.Hot.DataBell, cfg.DataBell
	c.ringWord, c.ringBell = &v.Hot.SpaceBell, cfg.SpaceBell
	c.alone = true
	att, err := c.attach(layout.RoleConsumer)
	if err != nil {
		return nil, err
	}
	c.att = att
	c.tally = make([]tally, len(c.members))
	c.finished = make([]uint32, len(c.members))
	c.lazy = max(1, min(64, c.slots/8))
	c.pos = c.hot.ReadPos.Load()
	c.released, c.owed, c.auto = c.pos, c.pos, c.pos
	// What a consumer may have seen is still so after others have come and gone.
	c.seenTo = c.members[layout.ConsumerIndex].DrainPos.Load()
	if c.seenTo-c.pos > c.slots {
		c.seenTo = c.pos
		c.mark(c.pos)
	}
	c.marked, c.hand = c.seenTo, c.seenTo
	if !cfg.AtMostOnce {
		c.ahead = c.lazy
	}
	return c, nil
}

// Attachment tells what this handle found when it attached.
func (c *Consumer) Attachment() Attachment { return c.att }

// handOver notes that a handler gets a message that is not taken yet.
func (c *Consumer) handOver(m *Message) {
	end := m.end
	if m.about&inner != 0 {
		end = c.batch.end
	}
	if int64(end-c.hand) > 0 {
		c.hand = end
	}
}

// shown is the end of the newest record of which the user has got anything.
func (c *Consumer) shown() uint64 {
	to := c.pos
	if c.batch.index > 0 && c.batch.rest != nil {
		to = c.batch.end
	}
	if int64(c.hand-to) > 0 {
		to = c.hand
	}
	return to
}

// mark writes down that everything before a position may have been seen. Not inlined:
// see Producer.saw.
//
//go:noinline
func (c *Consumer) mark(pos uint64) {
	c.marked = pos
	c.members[layout.ConsumerIndex].DrainPos.Store(pos)
	killpoint.At(killpoint.MarkStored)
}

// Close ends this handle: calls that wait and all later ones return ErrClosed. What was
// received but not released goes to the next consumer; what [Consumer.Receive]
// returned last counts as handled. It returns when no call is in progress any more,
// except that a handler of Drain may still be at work, and may itself call Close. Only
// the first Close reports true.
func (c *Consumer) Close() bool {
	if !c.shut(c.stop) {
		return false
	}
	if !c.leased {
		c.owed = c.auto
	}
	c.settle()
	c.flush()
	if to := c.shown(); to != c.marked {
		c.mark(to)
	}
	return true
}

// Check looks after the dead, as every blocking call does by itself: it passes over
// the claim of a dead producer that stands at the head of the ring, and finds the
// death of an SPSC ring's producer. Programs that only use the Try calls call it now
// and then; it makes a system call or two. Errors: *PeerDeadError, io.EOF, ErrClosed,
// *CorruptError, and whatever Config.Check returns.
func (c *Consumer) Check() error {
	if !c.enter() {
		return c.why()
	}
	defer c.leave()
	if err := c.upkeep(); err != nil {
		return err
	}
	return c.checkOutside()
}

// handle notes that everything before end is handled, and stores ReadPos when enough
// has gathered: one store for many messages.
func (c *Consumer) handle(end uint64) {
	if int64(end-c.owed) > 0 {
		c.owed = end
	}
	if c.owed-c.released >= c.lazy {
		c.settle()
	}
}

// settle stores ReadPos if anything is owed.
func (c *Consumer) settle() {
	if c.owed == c.released {
		return
	}
	to := c.owed
	if len(c.fences) != 0 {
		if to = c.behindFences(to); to == c.released {
			return
		}
	}
	c.released = to
	c.hot.ReadPos.Store(to) // S1
	killpoint.At(killpoint.ReadPosStored)
	c.ring()
	if c.uncounted >= countEvery {
		c.flush()
	}
}

// flush adds what was received since the last time to the shared counters: to the
// sender's and, in sum, to our own. Counting here costs producers nothing.
func (c *Consumer) flush() {
	if c.uncounted == 0 {
		return
	}
	var sum tally
	for i, t := range c.tally {
		if t.messages != 0 {
			c.members[i].Counters[layout.Messages].Add(t.messages)
			killpoint.At(killpoint.Counted)
			c.members[i].Counters[layout.Bytes].Add(t.bytes)
			killpoint.At(killpoint.Counted)
			sum.messages += t.messages
			sum.bytes += t.bytes
			c.tally[i] = tally{}
		}
	}
	c.count(layout.Messages, sum.messages)
	c.count(layout.Bytes, sum.bytes)
	c.uncounted = 0
}
