package ring

import (
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/layout"
)

// What those see of a ring who take no part in it. All of it only loads, so that it works on a
// mapping for reading only, and all loops are bounded. Nothing stands still meanwhile: what is
// returned was true of each word when that was loaded.

// Queue is what is in a ring.
type Queue struct {
	ReadPos uint64
	End     uint64 // behind the last record that is finished, or, on an MPSC ring, claimed
	Seen    uint64 // records before that may have been seen by a consumer

	Slots    int     // that are taken, as Used of a handle counts them
	Fraction float64 // of the ring that they are
	Lap      uint64  // how many positions a lap has: slots, or bytes of records

	Messages  uint64 // that wait, those of batches each; of a broadcast ring that are there
	Bytes     uint64 // of those
	Redeliver uint64 // of those messages, how many may have been seen before
	Sent      uint64 // since the ring was made, at least; exactly, if SentKnown
	SentKnown bool
	Oldest    uint64 // position of the first of them, if there is one
	// Claims are unfinished, the oldest first, at most maxClaims of them.
	Claims []OpenClaim
	Open   int // how many there are
	// Exact says that nothing was released while the records were counted. If something was, some
	// may be missing, or counted though they were gone.
	Exact bool
	// Limited says that there were more records than one wanted to count.
	Limited bool
}

// OpenClaim is room of an MPSC ring that somebody has claimed and not finished.
type OpenClaim struct {
	Position uint64
	Slots    int
	Owner    int    // participant slot
	Epoch    uint32 // of that slot, now
	PID      int    // of the owner, as it saw itself
}

const (
	maxClaims = 64
)

// lookAtQueue counts once.
func (s *segment) lookAtQueue(limit int) (q Queue, err error) {
	q.ReadPos = s.hot.ReadPos.Load()
	q.Seen = s.participants[layout.ConsumerIndex].DrainPos.Load()
	tail := s.hot.Tail.Load()
	q.End = q.ReadPos
	next := s.lookAtSPSC
	if s.mpsc {
		next = s.lookAtMPSC
		q.End = tail.Pos(q.ReadPos)
		if used := q.End - q.ReadPos; used > s.count {
			err = &CorruptError{"distance from ReadPos to Tail", q.ReadPos, used}
		}
	}
	for pos := q.ReadPos; err == nil; limit-- {
		if q.Limited = limit == 0; q.Limited {
			break
		}
		var k uint64
		if k, err = next(&q, pos, tail); k == 0 {
			break
		}
		pos += k
	}
	q.Exact = s.hot.ReadPos.Load() == q.ReadPos
	used := min(q.End-q.ReadPos, s.span)
	q.Slots, q.Fraction, q.Lap = s.inSlots(used), float64(used)/float64(s.span), s.span
	return q, err
}

// lookAtSPSC looks at the record at pos of an SPSC ring, and returns how many bytes it takes, or
// 0 if there is none.
func (s *segment) lookAtSPSC(q *Queue, pos uint64, _ layout.Tail) (uint64, error) {
	if pos%layout.RecordAlign != 0 {
		return 0, &CorruptError{"ReadPos", pos, pos}
	}
	w := s.glance(pos)
	if w == 0 || pos-q.ReadPos >= s.size {
		return 0, nil
	}
	end, ok := s.check(pos, w)
	skip := w&layout.RecordSkip != 0
	if !ok || end-q.ReadPos > s.size || w.Length() > uint64(s.maxMessage) && !skip {
		return 0, &CorruptError{"word of a record", pos, uint64(w)}
	}
	if q.End = end; !skip {
		s.countMessages(q, pos, 1, w.Length())
	}
	return end - pos, nil
}

// lookAtMPSC does the same on an MPSC ring, where claims have owners. Each but the newest, which
// tail names, is recorded: tail was loaded before (H1).
func (s *segment) lookAtMPSC(q *Queue, pos uint64, tail layout.Tail) (uint64, error) {
	left := q.End - pos
	if left == 0 {
		return 0, nil
	}
	v := s.ctl(pos).Load()
	if !v.IsRecorded(s.lap(pos)) {
		if left != tail.Slots() {
			return 0, &CorruptError{"control word of a claim", pos, uint64(v)}
		}
		v = layout.PackCtl(s.lap(pos), left, tail.Owner(), layout.Claimed)
	}
	k := v.Slots()
	if k == 0 || k > left || pos&s.mask+k > s.count {
		return 0, &CorruptError{"record length in slots", pos, k}
	}
	if v.State() != layout.Claimed {
		return k, s.countRecord(q, pos, v)
	}
	owner := int(v.Owner())
	if !s.isProducer(owner) {
		return 0, &CorruptError{"claim owner", pos, uint64(owner)}
	}
	if q.Open++; len(q.Claims) < maxClaims {
		m := &s.participants[owner]
		q.Claims = append(q.Claims, OpenClaim{pos, int(k), owner, m.Epoch.Load(), int(m.PID.Load())})
	}
	return k, nil
}

// countRecord counts the messages of a finished record.
func (s *segment) countRecord(q *Queue, pos uint64, v layout.Ctl) error {
	if v.State() == layout.Discarded {
		return nil
	}
	if from := int(v.Owner()); !s.isProducer(from) {
		return &CorruptError{"record owner", pos, uint64(from)}
	}
	meta := atomic.LoadUint64(&s.desc[pos&s.mask].Meta) // once
	if err := s.checkMeta(pos, v.Slots(), meta); err != nil {
		return err
	}
	n, _, flags := layout.UnpackMeta(meta)
	messages, bytes := uint64(1), uint64(n)
	if flags&layout.FlagBatch != 0 {
		var ok bool
		if messages, bytes, ok = s.countBatch(pos, int(n)); !ok {
			return &CorruptError{"batch: entry length", pos, messages}
		}
	}
	s.countMessages(q, pos, messages, bytes)
	return nil
}

// countMessages counts those of the record at pos.
func (s *segment) countMessages(q *Queue, pos, messages, bytes uint64) {
	if q.Messages == 0 && messages > 0 {
		q.Oldest = pos
	}
	if seen := q.Seen - q.ReadPos; seen <= s.span && pos-q.ReadPos < seen {
		q.Redeliver += messages
	}
	q.Messages += messages
	q.Bytes += bytes
}

// countBatch counts the messages of a batch of n bytes.
func (s *segment) countBatch(pos uint64, n int) (messages, bytes uint64, ok bool) {
	b := batch{rest: s.bytes(pos, n)}
	for len(b.rest) > 0 {
		size, _, ok := b.entry(s.maxMessage)
		if !ok {
			return messages, bytes, false
		}
		messages, bytes = messages+1, bytes+uint64(size)
		b.rest = b.rest[min(entrySize(size), len(b.rest)):]
	}
	return messages, bytes, true
}

// LookAtQueueing returns how many messages waited how long, of those that were measured: see
// layout.QueueingBounds.
func LookAtQueueing(v *layout.View) (counts [len(layout.QueueingBounds) + 1]uint64, sum time.Duration) {
	for i := range counts {
		counts[i] = v.Hot.Queueing[i].Load()
	}
	return counts, time.Duration(v.Participants[layout.ConsumerIndex].Counters[layout.QueueTime].Load())
}

// Attendance is what a participant slot says of whoever has it, or had it last. Whether that lives
// is the lock's business.
type Attendance struct {
	Peer    // but for Alive
	State   layout.ParticipantState
	Started uint64 // when the process began, in clock ticks since boot
	BootID  uint64
	Stats   Stats // over all that ever had the slot
	// DrainPos of a producer whose State is Revoked is the claim that it has lost; of one that is
	// Draining, what has to be released before the slot is free.
	DrainPos uint64
}

// LookAtParticipant returns what slot i says. Two that are equal in State and Epoch have the same
// owner.
func LookAtParticipant(v *layout.View, i int) Attendance {
	var s segment
	s.init(v)
	m := &s.participants[i]
	a := Attendance{
		Peer: Peer{
			Role: roleOf(i), Index: i, Epoch: m.Epoch.Load(), PID: int(m.PID.Load()), PIDNamespace: m.PIDNamespace.Load(),
			Since: m.Since.Load(), Open: s.isOpen(i), Position: s.hot.ReadPos.Load(),
			Label: m.Label.Load(), Progress: m.Progress.Load(),
		},
		State: m.State.Load(), Started: m.Started.Load(), BootID: m.BootID.Load(), Stats: s.counters(i),
		DrainPos: m.DrainPos.Load(),
	}
	return a
}

// UntoldFates returns how streams have ended that no consumer has told its user of, by participant
// slot, the oldest of each first.
func UntoldFates(v *layout.View) (list []StreamEnd) {
	var s segment
	s.init(v)
	for i := 1; i < len(s.participants); i++ {
		told := s.participants[i].Told.Load()
		for range layout.Fates * (layout.FatesTogether + 1) {
			word, at := s.oldestFate(i, told)
			if at == nil {
				break
			}
			f, upto := word.Of(told + 1)
			e := StreamEnd{Fate: f, Producer: i, Epoch: upto, Position: at.Pos.Load(), Streams: int(upto - told)}
			if upto == word.Upto() {
				e.PID = int(at.PID.Load())
			}
			list = append(list, e)
			told = upto
		}
	}
	return list
}
