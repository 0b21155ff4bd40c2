package ring

import (
	"context"
	"errors"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// Producer is the sending half of a ring.
//
// For a ring of kind SPSC it is for one goroutine at a time; for MPSC any number of
// goroutines may use one Producer, except that each [Claim] belongs to the goroutine that
// made it. Messages of one goroutine arrive in the order in which its calls returned; of
// several, in the order of their claims.
type Producer struct {
	_ [128]byte // a handle that is written at every message shares no line with its neighbour
	handle
	spsc
	broadcaster
	claims
	priority priority

	// cachedReadPos is a true ReadPos of some time ago. It is reloaded only when the ring
	// looks full, so that the consumer's line stays where it is.
	cachedReadPos atomic.Uint64
	phase         atomic.Uint32 // of the stream
	behind        *Producer     // of a front: see guard.go
	measure       *measure      // of a front: see measure.go
	_             [128]byte
}

// The phases of a producer's stream.
const (
	streaming uint32 = iota // in the middle
	fresh                   // no record of it is committed: the next carries layout.FlagFirst
	ended
)

// NewProducer attaches a producer to a ring. Where the former producer of an SPSC ring
// died, it goes on behind the last message that one had committed. The error is a
// *BusyError when there is no room for another producer, or a *CorruptError.
func NewProducer(v *layout.View, cfg Config) (*Producer, error) {
	p := &Producer{}
	p.handle.init(v, cfg)
	p.single = !p.mpsc
	p.sleepWord, p.sleepBell = &v.Hot.SpaceBell, cfg.SpaceBell
	p.notifyWord, p.notifyBell = &v.Hot.DataBell, cfg.DataBell
	p.sleepAlone = !p.mpsc
	p.priority.patience = priorityPatience
	if err := p.attach(layout.RoleProducer); err != nil {
		return nil, err
	}
	p.phase.Store(fresh)
	read := p.hot.ReadPos.Load() // S2
	p.cachedReadPos.Store(read)
	if p.mpsc {
		p.openMPSC(read)
	} else if err := p.openSPSC(read); err != nil {
		return nil, err
	}
	p.setEdge()
	if p.att.TookOver {
		p.notify() // of the death that stands in the segment now
	}
	return p, nil
}

// TrySend sends a copy of msg, which may be empty. It never blocks, never allocates and
// makes no system call unless the consumer has to be woken. Errors: ErrFull, *SizeError,
// ErrClosed, ErrEnded, ErrContended, ErrRevoked, *CorruptError.
func (p *Producer) TrySend(msg []byte) error { return p.Send(context.Context(nil), msg) }

// TrySendKind is TrySend with a message type of the user's own.
func (p *Producer) TrySendKind(msg []byte, kind uint16) error {
	return p.SendKind(context.Context(nil), msg, kind)
}

// trySend is TrySend by the long way. stamped: see measure.go.
func (p *Producer) trySend(msg []byte, kind uint16, stamped bool) error {
	meta := layout.PackMeta(uint32(len(msg)), kind, 0)
	err := p.sendRecord(msg, meta, stamped)
	switch err {
	case nil:
	case errLook:
		for tries := 0; err == errLook && tries < lookTries; tries++ {
			err = p.sendRecord(msg, meta, stamped)
		}
		return p.looked(err)
	case errBehind:
		return p.sendBehind(context.Context(nil), msg, kind)
	}
	return err
}

// Guarded returns a front of p: a Producer whose Send and Claim, their variants and the Claims they
// make do what those of p do, and return the error of Config.Memory where memory of the ring is
// missing. For all else there is p.
func (p *Producer) Guarded() *Producer {
	front := &Producer{behind: p}
	front.mpsc = p.mpsc // its callers share it as they would share p
	front.phase.Store(ended)
	front.pose()
	return front
}

// Measured makes the Producer measure one message in Config.MeasureEvery, and returns a front of it to be
// used in its place, as that of Guarded.
func (p *Producer) Measured() *Producer {
	front := p.Guarded()
	front.measure = &measure{every: uint64(max(p.cfg.MeasureEvery, 1))}
	return front
}

// sendBehind is sendShort of a front.
func (p *Producer) sendBehind(ctx context.Context, msg []byte, kind uint16) (err error) {
	defer p.behind.caught(&err, debug.SetPanicOnFault(true))
	if p.measure.isDue(1) {
		return p.behind.sendStamped(ctx, msg, kind)
	}
	return p.behind.sendShort(ctx, msg, kind)
}

// sendStamped is sendShort of a message that is measured, by the long way.
func (p *Producer) sendStamped(ctx context.Context, msg []byte, kind uint16) error {
	err := p.trySendStamped(ctx, msg, kind)
	if err == errDropped {
		p.Drop(1)
		return nil
	}
	return err
}

// trySendStamped is sendStamped that tells of a message that is to be dropped, and leaves that to do.
func (p *Producer) trySendStamped(ctx context.Context, msg []byte, kind uint16) error {
	if ctx == nil {
		return p.trySend(msg, kind, true)
	}
	err := p.sendRecord(msg, layout.PackMeta(uint32(len(msg)), kind, 0), true)
	if err == nil {
		return nil
	}
	return p.sendAgain(ctx, err, msg, kind, true)
}

// A producer that is always served asks its context after so many slots of messages, or of an SPSC
// ring bytes of records.
const (
	lookEvery = 64
	lookBytes = 4096
)

// errLook refuses a call that may wait, for it to ask its context and come again. Calls that
// do not wait come again at once, and once more where other producers of an MPSC ring have claimed as much meanwhile.
var errLook = errors.New("look")

// lookTries bounds that, as claimTries bounds the races for Tail.
const lookTries = 256

// looked is the error of a call that has come again.
func (p *Producer) looked(err error) error {
	switch {
	case err != errLook:
		return err
	case p.mpsc:
		return p.unlessForEver(ErrContended) // others have claimed as much in between
	}
	return ErrContended
}

// Send sends a copy of msg and waits for room while the ring is full, until ctx or
// Config.SendTimeout ends the wait, unless Config.WhenFull says otherwise. While there is
// room, a ctx that is done ends a loop over Send after at most 4 KiB more of records (MPSC: 64 slots
// of messages, of all producers). Errors: those of TrySend, ErrFull only with WhenFullFail; a
// *ContextError, and whatever Config.Check returns. After ErrClosed from a Close during the
// call, and only then, it is unknown whether the message was sent.
func (p *Producer) Send(ctx context.Context, msg []byte) error {
	if p.mpsc {
		return p.sendMPSC(ctx, msg, 0)
	}
	// The short way of an SPSC ring, with enter and leave written out. For few bytes it calls nothing,
	// so that nothing has to be kept on the stack.
	pos, n := p.pos, uint64(len(msg))
	end := layout.NextRecord(pos, n, p.align)
	if int64(p.edge-end) < 0 || n > p.most || p.busy.get() {
		return p.sendShort(ctx, msg, 0)
	}
	p.busy.set(true)
	if p.stopped.Load() != 0 {
		p.busy.set(false)
		return p.sendShort(ctx, msg, 0)
	}
	if n-8 > some {
		p.sendMany(pos, end, msg, 0)
		return nil
	}
	p.scrub(end)
	w := p.word(pos)
	if n-8 <= few {
		copyFew(behind(w), first(msg), n)
	} else {
		copySome(behind(w), first(msg), n)
	}
	killpoint.At(killpoint.PayloadWritten)
	p.publishAt(w, p.head|layout.Record(n)) // D1
	killpoint.At(killpoint.CtlStored)
	p.pos = end
	if p.notifyWord.Load() != p.quiet || int64(end-p.soon) >= 0 { // B1
		p.afterSend(end - pos)
		return nil
	}
	p.busy.set(false)
	return nil
}

// sendMany is the rest of Send, inside enter, if it takes a call to copy the bytes, or the message has
// a kind.
//
//go:noinline
func (p *Producer) sendMany(pos, end uint64, msg []byte, kind uint16) {
	n := uint64(len(msg))
	copyOut(p.bodyAt(pos, n), msg)
	killpoint.At(killpoint.PayloadWritten)
	p.scrub(end)
	p.publish(pos, p.head|layout.Record(kind)<<32|layout.Record(n)) // D1
	killpoint.At(killpoint.CtlStored)
	p.pos = end
	if p.notifyWord.Load() != p.quiet || int64(end-p.soon) >= 0 { // B1
		p.afterSend(end - pos)
		return
	}
	p.leave()
}

// afterSend is what is not always to be done behind the publish of a record of size bytes, and leave.
//
//go:noinline
func (p *Producer) afterSend(size uint64) {
	p.tell()
	p.prepare(size)
	p.leave()
}

// SendKind is Send with a message type of the user's own.
func (p *Producer) SendKind(ctx context.Context, msg []byte, kind uint16) error {
	return p.sendShort(ctx, msg, kind)
}

// sendShort is Send, and without a ctx TrySend, by the short way if that goes. The short ways are
// the exceptions to the rule that every record goes through reserve, fill and publish: this one
// and that of Claim and Commit repeat reserveSPSC and publishSPSC, those of mpsc.go
// reserveMPSC and publishMPSC. They have to be short, in stores first of all: they leave the
// processor in order, so those that follow, spilled registers too, queue up behind the one for a
// line that the consumer has had, and the next line is asked for the later the more they are.
func (p *Producer) sendShort(ctx context.Context, msg []byte, kind uint16) error {
	if p.mpsc {
		return p.sendMPSC(ctx, msg, kind)
	}
	pos, n := p.pos, uint64(len(msg))
	end := layout.NextRecord(pos, n, p.align)
	if int64(p.edge-end) >= 0 && n <= p.most && !p.busy.get() {
		if p.busy.set(true); p.stopped.Load() == 0 {
			p.sendMany(pos, end, msg, kind)
			return nil
		}
		p.busy.set(false)
	}
	if ctx != nil {
		return p.send(ctx, msg, kind)
	}
	return p.trySend(msg, kind, false)
}

// sendMPSC is sendShort on an MPSC ring.
func (p *Producer) sendMPSC(ctx context.Context, msg []byte, kind uint16) error {
	if len(msg) > p.oneMost || p.stopped.Load() != 0 || p.phase.Load() != streaming {
		return p.sendLong(ctx, msg, kind)
	}
	pos, ok := p.reserveShortMPSC()
	if !ok {
		return p.sendLong(ctx, msg, kind)
	}
	return p.fillShortMPSC(pos, msg, kind)
}

// sendLong is send with a ctx, and without one trySend.
func (p *Producer) sendLong(ctx context.Context, msg []byte, kind uint16) error {
	if ctx != nil {
		return p.send(ctx, msg, kind)
	}
	return p.trySend(msg, kind, false)
}

// send is Send by the long way.
func (p *Producer) send(ctx context.Context, msg []byte, kind uint16) error {
	err := p.sendRecord(msg, layout.PackMeta(uint32(len(msg)), kind, 0), false)
	if err == nil {
		return nil
	}
	return p.sendAfter(ctx, err, msg, kind)
}

// sendAfter is send after a refusal. It is apart from send, so that the first try has no
// part in what it takes to wait.
func (p *Producer) sendAfter(ctx context.Context, err error, msg []byte, kind uint16) error {
	if err == errBehind {
		return p.sendBehind(ctx, msg, kind)
	}
	if err = p.sendAgain(ctx, err, msg, kind, false); err == errDropped {
		p.Drop(1)
		return nil
	}
	return err
}

// sendAgain tries again until the message is sent, or is to be dropped, or the wait is over.
func (p *Producer) sendAgain(ctx context.Context, err error, msg []byte, kind uint16, stamped bool) error {
	a := attempt{op: "send"}
	for err != nil {
		if err = p.awaitRetry(ctx, err, len(msg), &a); err != nil {
			break
		}
		err = p.trySend(msg, kind, stamped)
	}
	p.endPriority(&a)
	return err
}

// sendRecord sends a record: reserve, fill, publish.
func (p *Producer) sendRecord(msg []byte, meta uint64, stamped bool) error {
	pos, k, err := p.reserve(len(msg), len(msg))
	if err != nil {
		return err
	}
	copyOut(p.place(pos, len(msg)), msg)
	killpoint.At(killpoint.PayloadWritten)
	if stamped {
		p.stamp(p.endOf(pos, k, len(msg)))
	}
	return p.commit(pos, k, meta)
}

// place is where the bytes of a record lie that was reserved.
func (p *Producer) place(pos uint64, n int) []byte {
	if p.mpsc {
		return p.bytes(pos, n)
	}
	return p.body(pos, uint64(n))
}

// firstRecord is in the number of slots that reserve returns (0 on an SPSC ring) where the record may be the
// first of the stream. What is done for that is done in functions of their own.
const firstRecord = 1 << 63

// reserve makes the room of a record of n bytes, in which the longest message has so
// many, this producer's. On an SPSC ring the caller is inside the gate then, until publish.
// k is how many slots they are, and perhaps firstRecord.
func (p *Producer) reserve(n, longest int) (pos, k uint64, err error) {
	if longest > p.maxMessage || p.phase.Load() != streaming || p.stopped.Load() != 0 {
		return p.reserveFirst(n, longest)
	}
	return p.reserveRoom(n)
}

func (p *Producer) reserveRoom(n int) (pos, k uint64, err error) {
	if p.mpsc {
		k = p.needFor(n)
		pos, err = p.reserveMPSC(k)
	} else {
		pos, err = p.reserveInside(uint64(n))
	}
	return pos, k, err
}

// reserveFirst is reserve where the stream has not begun, or there is an error. Of several
// goroutines more than one may get firstRecord; but a record that lies before all of theirs
// was reserved before theirs were committed, so it is one too.
func (p *Producer) reserveFirst(n, longest int) (pos, k uint64, err error) {
	switch {
	case p.behind != nil:
		return 0, 0, errBehind
	case p.stopped.Load() != 0:
		return 0, 0, p.refusal()
	case longest > p.maxMessage:
		return 0, 0, p.wrap(&SizeError{longest, p.maxMessage})
	case p.phase.Load() == ended:
		return 0, 0, ErrEnded
	}
	pos, k, err = p.reserveRoom(n)
	return pos, k | firstRecord, err
}

// reserveInside enters the gate of an SPSC ring's producer to reserve room for n bytes.
func (p *Producer) reserveInside(n uint64) (pos uint64, err error) {
	if !p.enter() {
		return 0, p.refusal()
	}
	if p.open {
		p.leave()
		panic("shmring: send or claim while a Claim of this producer is open")
	}
	if err := p.reserveSPSC(n); err != nil {
		p.leave()
		return 0, err
	}
	return p.pos, nil
}

// commit hands a record that was reserved and filled to the consumer.
func (p *Producer) commit(pos, k, meta uint64) error {
	if k >= firstRecord {
		return p.commitFirst(pos, k-firstRecord, meta)
	}
	if !p.mpsc {
		p.publishSPSC(p.head | layout.Record(meta)) // Meta without flags, or with FlagFirst
		p.leave()
		return nil
	}
	return p.commitMPSC(p.descAt(pos), pos, k, meta)
}

// commitFirst is commit of a record that is marked as the first of the stream.
func (p *Producer) commitFirst(pos, k, meta uint64) error {
	meta |= uint64(layout.FlagFirst) << 48
	if !p.mpsc {
		p.publishSPSC(p.head | layout.Record(meta))
		p.begun()
		p.leave()
		return nil
	}
	err := p.commit(pos, k, meta)
	if err == nil {
		p.begun()
	}
	return err
}

// begun notes that a first record is committed, or is next.
func (p *Producer) begun() {
	p.phase.CompareAndSwap(fresh, streaming)
	p.setEdge()
}

// attempt is one call of Send, SendBatch or Claim that was refused.
type attempt struct {
	op       string
	begun    time.Time       // when it was first refused (MPSC)
	until    time.Time       // when Config.SendTimeout is over
	priority layout.Priority // that it has, or 0
	humbled  time.Duration   // how long to wait before it asks for priority again
	held     time.Time       // since when it has held back for others
}

// errDropped: the caller is to give up the message and count it.
var errDropped = errors.New("dropped")

// awaitRetry turns a refusal into nil once it makes sense to try again: when there is room
// for a record of n bytes, or at once after lost races.
func (p *Producer) awaitRetry(ctx context.Context, refusal error, n int, a *attempt) error {
	w := wait{h: &p.handle, ctx: ctx, op: a.op}
	switch refusal {
	case ErrFull:
		p.count(layout.Full, 1)
		p.raise(layout.HighWater, p.slots.count)
		switch {
		case p.cfg.WhenFull == WhenFullFail:
			return ErrFull
		case p.cfg.WhenFull == WhenFullDrop:
			return errDropped
		case p.cfg.SendTimeout > 0 && a.until.IsZero():
			a.until = time.Now().Add(p.cfg.SendTimeout)
		}
		w.until = a.until
		return p.awaitSpace(&w, n, a)
	case ErrContended, errLook:
		w.until = a.until
		return w.interrupted()
	}
	return refusal
}

// awaitSpace waits until a record of n bytes, or the padding before it, would fit.
func (p *Producer) awaitSpace(w *wait, n int, a *attempt) error {
	if p.single {
		if !p.enter() {
			return p.refusal()
		}
		defer p.leave()
	}
	if !p.mpsc {
		return w.await(func() bool { return p.hasSpaceSPSC(uint64(n)) }, func() {}, p.checkSpaceSPSC)
	}
	if a.begun.IsZero() {
		a.begun = time.Now()
	}
	k := p.needFor(n)
	return w.await(func() bool { return p.hasSpaceMPSC(k) && !p.holdBackIn(k, a) }, func() {}, func() error {
		p.claimPriority(k, a)
		if w.held = 0; !a.held.IsZero() && p.hasSpaceMPSC(k) {
			w.held = max(time.Millisecond, p.priority.patience-time.Since(a.held))
		}
		return p.checkSpaceMPSC()
	})
}

// HasSpace tells whether a message of n bytes, or the padding before it, would fit. On an SPSC ring it
// is for the producer's goroutine.
func (p *Producer) HasSpace(n int) bool {
	if p.mpsc {
		return p.hasSpaceMPSC(p.needFor(n))
	}
	return p.hasSpaceSPSC(uint64(n))
}

// Arm announces somebody who sleeps in a way of its own until Config.ParkingLot of the consumer is
// called, and looks once more (B2). true: a message of n bytes, or the padding before it, fits, or
// the next call returns an error; then nobody is announced, except perhaps on an MPSC ring. It
// is for one goroutine at a time.
func (p *Producer) Arm(n int) bool {
	if p.single {
		if !p.enter() {
			return true
		}
		defer p.leave()
	} else if p.stopped.Load() != 0 {
		return true
	}
	p.count(layout.Sleeps, 1)
	key := p.announce(layout.BellParked)
	var bad error
	if p.mpsc {
		bad = p.checkSpaceMPSC()
	} else {
		bad = p.checkSpaceSPSC()
	}
	if bad == nil && !p.HasSpace(n) {
		return false
	}
	p.withdraw(key)
	return true
}

// Check looks whether the segment is still the one that others open by its name, as
// blocked calls do by themselves now and then. Programs that only use the Try calls, or
// whose ring is never full, call it if they want to know. Any goroutine may. Errors:
// ErrClosed, and whatever Config.Check returns.
func (p *Producer) Check() error {
	if p.Closed() {
		return p.closeReason()
	}
	return p.checkOutside()
}

// Fail closes the handle for a reason that it cannot know of by itself: calls that wait and
// all later ones return err. Any goroutine may call it.
func (p *Producer) Fail(err error) { _ = p.fail(err, p.stop) }

// Refuse makes calls that would send or claim return err until Allow, and ends those that
// wait for room. What is claimed can still be committed. One goroutine calls the two.
func (p *Producer) Refuse(err error) { p.refuse(err, p.stop) }

// Allow ends what Refuse began.
func (p *Producer) Allow() { p.allow() }

// Drop records that the caller gave up n messages because the ring was full.
func (p *Producer) Drop(n int) { p.count(layout.Dropped, uint64(n)) }

// Ended reports whether the stream was ended.
func (p *Producer) Ended() bool { return p.phase.Load() == ended }

// CloseSend ends this producer's stream: the consumer gets io.EOF behind its last message
// (MPSC: behind the last message of the last producer). It needs no room and does not wait.
// Later sends return ErrEnded; a second CloseSend does nothing. What other goroutines send
// at the same time may come before the end, behind it, or be refused. Errors: ErrClosed,
// ErrRevoked, *CorruptError.
func (p *Producer) CloseSend() error { return p.endStream(layout.FateEnded) }

// FailSend is CloseSend for a producer that knows that what it sent is not the whole: the
// consumer gets a *StreamError that matches ErrFailed.
func (p *Producer) FailSend() error { return p.endStream(layout.FateFailed) }

// ClaimState tells what has become of the claim that a producer made at pos and that is gone. On an
// SPSC ring the claim was where the record behind all that was committed begins; so if this
// producer found the end of those behind it, it is one of them.
func (p *Producer) ClaimState(pos uint64) ClaimState {
	switch {
	case p.mpsc:
		return p.claimState(pos)
	case int64(p.opened-pos) > 0:
		return ClaimSent
	}
	return ClaimUnsent
}

// EndSend is CloseSend with any fate, for who passes on the stream of another.
func (p *Producer) EndSend(f layout.Fate) error { return p.endStream(f) }

// Close ends this handle: calls that wait and all later ones return ErrClosed. It returns
// when no call is in progress that could still wait; the calls of other goroutines that do
// not wait may still be running (see gate). Only the first Close reports true. The stream
// is ended by Detach.
func (p *Producer) Close() bool {
	failed := p.Closed()
	first := p.close(p.stop, p.isLost)
	if first && !failed && p.broadcast {
		_ = p.mark() // so that counters are exact; what is wrong there is told by nobody any more
	}
	return first
}

// Fate is how the stream of a closed producer ended, if nothing else was said before:
// failed if it had lost a claim to ForceSkip, or found corruption.
func (p *Producer) Fate() layout.Fate {
	if reason := p.closeReason(); reason != nil && reason != ErrClosed {
		return layout.FateFailed
	}
	return layout.FateEnded
}

// endStream stores how the stream ended, once.
func (p *Producer) endStream(f layout.Fate) error {
	if p.single {
		if !p.enterAnyway() {
			return p.closeReason()
		}
		defer p.leave()
		if p.open {
			panic("shmring: end of the stream while a Claim of this producer is open")
		}
	} else if p.Closed() {
		return p.closeReason()
	}
	if p.phase.Swap(ended) == ended {
		return nil
	}
	p.setEdge()
	end := p.pos
	switch {
	case p.mpsc:
		end = p.streamEnd()
	case p.broadcast:
		if err := p.mark(); err != nil { // so that counters are exact
			return err
		}
	}
	p.storeFate(int(p.index), f, end)
	p.record(layout.EventEnded, int(p.index), f, end)
	// For people who look.
	p.participants[p.index].State.CompareAndSwap(layout.Used, layout.Ended) // not if revoked
	killpoint.At(killpoint.StateEnded)
	p.progressed()
	p.notify()
	return nil
}
