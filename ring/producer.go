package ring

import (
	"context"
	"errors"
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
	priority priority // MPSC

	// cachedReadPos is a true ReadPos of some time ago. It is reloaded only when the ring
	// looks full, so that the consumer's line stays where it is.
	cachedReadPos atomic.Uint64
	ended         atomic.Bool
	_             [128]byte
}

// NewProducer attaches a producer to a ring. Where the former producer of an SPSC ring
// died, it goes on behind the last message that one had committed. The error is a
// *BusyError when there is no room for another producer, or a *CorruptError.
func NewProducer(v *layout.View, cfg Config) (*Producer, error) {
	p := &Producer{spsc: spsc{fastMax: -1}}
	p.handle.init(v, cfg)
	p.single = !p.mpsc
	p.sleepWord, p.sleepBell = &v.Hot.SpaceBell, cfg.SpaceBell
	p.notifyWord, p.notifyBell = &v.Hot.DataBell, cfg.DataBell
	p.sleepAlone = !p.mpsc
	if err := p.attach(layout.RoleProducer); err != nil {
		return nil, err
	}
	read := p.hot.ReadPos.Load() // S2
	p.cachedReadPos.Store(read)
	if !p.mpsc {
		var err error
		if p.pos, err = p.finished(read); err != nil {
			return nil, err
		}
	}
	if p.deathUnsent = !p.mpsc && p.att.TookOver; p.deathUnsent {
		_ = p.sendDeathRecord() // if there is no room, before the first message
	}
	p.setFastMax()
	return p, nil
}

// TrySend sends a copy of msg, which may be empty. It never blocks, never allocates and
// makes no system call unless the consumer has to be woken. Errors: ErrFull, *SizeError,
// ErrClosed, ErrEnded, ErrContended, ErrRevoked, *CorruptError.
func (p *Producer) TrySend(msg []byte) error { return p.trySend(msg, 0) }

// TrySendKind is TrySend with a message type of the user's own.
func (p *Producer) TrySendKind(msg []byte, kind uint16) error { return p.trySend(msg, kind) }

func (p *Producer) trySend(msg []byte, kind uint16) error {
	meta := layout.PackMeta(uint32(len(msg)), kind, 0)
	if len(msg) <= p.fastMax && p.sendFast(msg, meta) {
		return nil
	}
	return p.sendRecord(msg, meta)
}

// Send sends a copy of msg and waits for room while the ring is full, until ctx or
// Config.SendTimeout ends the wait, unless Config.WhenFull says otherwise. Errors: those
// of TrySend, ErrFull only with WhenFullFail; a *ContextError, and whatever Config.Check
// returns. After ErrClosed from a Close during the call, and only then, it is unknown
// whether the message was sent.
func (p *Producer) Send(ctx context.Context, msg []byte) error { return p.send(ctx, msg, 0) }

// SendKind is Send with a message type of the user's own.
func (p *Producer) SendKind(ctx context.Context, msg []byte, kind uint16) error {
	return p.send(ctx, msg, kind)
}

func (p *Producer) send(ctx context.Context, msg []byte, kind uint16) error {
	meta := layout.PackMeta(uint32(len(msg)), kind, 0)
	if len(msg) <= p.fastMax && p.sendFast(msg, meta) {
		return nil
	}
	err := p.sendRecord(msg, meta)
	if err == nil {
		return nil
	}
	return p.sendAfter(ctx, err, msg, kind)
}

// sendAfter is send after a refusal. It is apart from send, so that the first try has no
// part in what it takes to wait.
func (p *Producer) sendAfter(ctx context.Context, err error, msg []byte, kind uint16) error {
	a := attempt{op: "send"}
	for err != nil {
		if err = p.awaitRetry(ctx, err, len(msg), &a); err != nil {
			break
		}
		err = p.trySend(msg, kind)
	}
	p.endPriority(&a)
	if err == errDropped {
		p.Drop(1)
		return nil
	}
	return err
}

// sendRecord sends a record: reserve, fill, publish.
func (p *Producer) sendRecord(msg []byte, meta uint64) error {
	pos, k, err := p.reserve(len(msg), len(msg))
	if err != nil {
		return err
	}
	copyBytes(p.bytes(pos, len(msg)), msg) // fill, written out: it is a call less
	killpoint.At(killpoint.PayloadWritten)
	p.setMeta(pos, meta)
	return p.publish(pos, k)
}

// reserve makes the slots of a record of n bytes, in which the longest message has so
// many, this producer's. On an SPSC ring the caller is inside the gate then, until publish.
func (p *Producer) reserve(n, longest int) (pos, k uint64, err error) {
	if longest > p.maxMessage || p.ended.Load() || p.closed.Load() != 0 {
		return 0, 0, p.refusal(longest)
	}
	k = p.needFor(n)
	if p.mpsc {
		pos, err = p.reserveMPSC(k)
		return pos, k, err
	}
	if !p.enter() {
		return 0, 0, p.closeReason()
	}
	if p.open {
		p.leave()
		panic("shmring: send or claim while a Claim of this producer is open")
	}
	if err := p.reserveSPSC(k); err != nil {
		p.leave()
		return 0, 0, err
	}
	return p.pos, k, nil
}

// publish hands a record that was reserved and filled to the consumer.
func (p *Producer) publish(pos, k uint64) error {
	if !p.mpsc {
		p.publishSPSC(k, layout.Committed)
		p.leave()
		return nil
	}
	err := p.publishMPSC(pos, k, layout.Committed)
	if p.closed.Load() != 0 {
		return p.closeReason() // perhaps into memory that is not shared any more
	}
	return err
}

// refusal tells why a message of n bytes cannot be sent at all.
func (p *Producer) refusal(n int) error {
	switch {
	case p.closed.Load() != 0:
		return p.closeReason()
	case n > p.maxMessage:
		return p.wrap(&SizeError{n, p.maxMessage})
	}
	return ErrEnded
}

// attempt is one call of Send, SendBatch, Claim or CloseSend that was refused.
type attempt struct {
	op       string
	begun    time.Time       // when it was first refused (MPSC)
	until    time.Time       // when Config.SendTimeout is over
	priority layout.Priority // that it has, or 0
	humbled  time.Duration   // how long to wait before it asks for priority again
	held     time.Time       // since when it has held back for others
	last     bool            // the end of a stream waits whatever Config.WhenFull says
	closing  bool            // and is sent by the closer of the handle
}

// errDropped: the caller is to give up the message and count it.
var errDropped = errors.New("dropped")

// awaitRetry turns a refusal into nil once it makes sense to try again: when there is room
// for a record of n bytes, or at once after lost races.
func (p *Producer) awaitRetry(ctx context.Context, refusal error, n int, a *attempt) error {
	w := wait{h: &p.handle, ctx: ctx, op: a.op, closing: a.closing}
	switch refusal {
	case ErrFull:
		p.count(layout.Full, 1)
		switch {
		case a.last:
		case p.cfg.WhenFull == WhenFullFail:
			return ErrFull
		case p.cfg.WhenFull == WhenFullDrop:
			return errDropped
		case p.cfg.SendTimeout > 0 && a.until.IsZero():
			a.until = time.Now().Add(p.cfg.SendTimeout)
		}
		w.until = a.until
		return p.awaitSpace(&w, p.needFor(n), a)
	case ErrContended:
		w.until = a.until
		return w.interrupted()
	}
	return refusal
}

// awaitSpace waits until a record of k slots, or the padding before it, would fit.
func (p *Producer) awaitSpace(w *wait, k uint64, a *attempt) error {
	if p.single && !a.closing {
		if !p.enter() {
			return p.closeReason()
		}
		defer p.leave()
	}
	if !p.mpsc {
		return w.await(func() bool { return p.hasSpaceSPSC(k) }, func() {}, p.checkSpaceSPSC)
	}
	if a.begun.IsZero() {
		a.begun = time.Now()
	}
	return w.await(func() bool { return p.hasSpaceMPSC(k) && !p.holdBackIn(k, a) }, func() {}, func() error {
		p.claimPriority(k, a)
		if w.held = 0; !a.held.IsZero() && p.hasSpaceMPSC(k) {
			w.held = max(time.Millisecond, priorityPatience-time.Since(a.held))
		}
		return p.checkSpaceMPSC()
	})
}

// Check looks whether the segment is still the one that others open by its name, as
// blocked calls do by themselves now and then. Programs that only use the Try calls, or
// whose ring is never full, call it if they want to know. Any goroutine may. Errors:
// ErrClosed, and whatever Config.Check returns.
func (p *Producer) Check() error {
	if p.closed.Load() != 0 {
		return p.closeReason()
	}
	return p.checkOutside()
}

// Drop records that the caller gave up n messages because the ring was full.
func (p *Producer) Drop(n int) { p.count(layout.Dropped, uint64(n)) }

// Ended reports whether the stream was ended.
func (p *Producer) Ended() bool { return p.ended.Load() }

// CloseSend ends this producer's stream: the consumer gets io.EOF behind its last message
// (MPSC: behind the last message of the last producer). It waits for room like Send. Later
// sends return ErrEnded; a second CloseSend does nothing. What other goroutines send at
// the same time may come before the end, behind it, or be refused.
func (p *Producer) CloseSend(ctx context.Context) error { return p.endStream(ctx, false) }

// Close ends this handle: calls that wait and all later ones return ErrClosed. It returns
// when no call is in progress that could still wait; the calls of other goroutines that do
// not wait may still be running (see gate). Only the first Close reports true.
func (p *Producer) Close() bool { return p.close(p.stop) }

// CloseAndEnd is Close, and then CloseSend if that has not been done. It may be called by
// any goroutine, also while others are using the handle. A producer that has lost a claim
// to ForceSkip, or found corruption, sends no end.
func (p *Producer) CloseAndEnd(ctx context.Context) error {
	reason := p.closeReason()
	if !p.Close() || p.Ended() || reason == ErrRevoked {
		return nil
	}
	if reason != nil {
		return reason // corrupt
	}
	if p.open {
		return errors.New("shmring: a Claim is open") // its owner may be writing where the end would go
	}
	// The gate is closed to everybody else. The closer has the last word.
	p.setEnding(true)
	defer p.setEnding(false)
	return p.endStream(ctx, true)
}

// endStream sends the end record, once. closing: the handle is closed to everybody but the
// caller.
func (p *Producer) endStream(ctx context.Context, closing bool) error {
	if !p.ended.CompareAndSwap(false, true) {
		return nil
	}
	p.setFastMax()
	a := attempt{op: "send", last: true, closing: closing}
	end := newEndRecord(p.epoch)
	err := p.trySendEnd(end, closing)
	for err != nil {
		if err = p.awaitRetry(ctx, err, len(end), &a); err != nil {
			break
		}
		err = p.trySendEnd(end, closing)
	}
	p.endPriority(&a)
	if err != nil {
		p.ended.Store(false)
		p.setFastMax()
		return err
	}
	// For those who come later: a consumer that was not there when the end was read, and
	// one that finds us dead.
	p.participants[p.index].State.CompareAndSwap(layout.Used, layout.Ended) // not if revoked
	killpoint.At(killpoint.StateEnded)
	return nil
}

func (p *Producer) trySendEnd(end endRecord, closing bool) error {
	if !closing {
		if p.closed.Load() != 0 {
			return p.closeReason()
		}
		if p.single {
			if !p.enter() {
				return p.closeReason()
			}
			defer p.leave()
			if p.open {
				panic("shmring: end of the stream while a Claim of this producer is open")
			}
		}
	}
	meta := layout.PackMeta(uint32(len(end)), 0, layout.FlagEnd)
	k := p.needFor(len(end))
	if !p.mpsc {
		if err := p.reserveSPSC(k); err != nil {
			return err
		}
		p.fill(p.pos, end[:], meta)
		p.publishSPSC(k, layout.Committed)
		return nil
	}
	pos, err := p.reserveMPSC(k)
	if err != nil {
		return err
	}
	p.fill(pos, end[:], meta)
	if closing {
		return p.publishMPSC(pos, k, layout.Committed) // we are the closer: the memory is still shared
	}
	return p.publish(pos, k)
}
