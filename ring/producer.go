package ring

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// Producer is the sending half of a ring.
//
// For a ring of kind SPSC it is for one goroutine at a time; for MPSC any number of
// goroutines may use one Producer, except that each [Claim] belongs to the goroutine
// that made it. Messages of one goroutine arrive in the order in which its calls
// returned; of several, in the order of their claims.
type Producer struct {
	_ [128]byte // a handle written at every message shares no line with its neighbour
	core

	// SPSC only, touched by the one goroutine inside enter and leave.
	pos   uint64 // next position
	quick int    // longest message that sendQuick may send without asking; −1: none, see setQuick
	open  bool   // a Claim is neither committed nor aborted
	mourn bool   // the death of our predecessor is not on record yet

	// A true ReadPos of some time ago. Reloaded only when the ring looks full, so that
	// the consumer's line stays where it is.
	readSeen atomic.Uint64
	turn     courtesy // MPSC only
	ended    atomic.Bool
	att      Attachment
	_        [128]byte
}

// NewProducer attaches a producer to a ring. Where the former producer of an SPSC
// ring died, it goes on behind the last message that one had committed. The error is
// a *BusyError when there is no room for another producer, or a *CorruptError.
func NewProducer(v *layout.View, cfg Config) (*Producer, error) {
	p := &Producer{quick: -1}
	p.init(v, cfg)
	p.single = !p.shared
	p.sleepWord, p.sleepBell = &v.Hot.SpaceBell, cfg.SpaceBell
	p.ringWord, p.ringBell = &v.Hot.DataBell, cfg.DataBell
	p.alone = !p.shared
	att, err := p.attach(layout.RoleProducer)
	if err != nil {
		return nil, err
	}
	p.att = att
	read := p.hot.ReadPos.Load() // S2
	p.readSeen.Store(read)
	if !p.shared {
		if p.pos, err = p.walk(read); err != nil {
			return nil, err
		}
	}
	if p.mourn = !p.shared && att.TookOver; p.mourn {
		_ = p.obituary() // if there is no room, before the first message
	}
	p.setQuick()
	return p, nil
}

// Attachment tells what this handle found when it attached.
func (p *Producer) Attachment() Attachment { return p.att }

// TrySend sends a copy of msg, which may be empty. It never blocks, never allocates
// and makes no system call unless the consumer has to be woken. Errors: ErrFull,
// *SizeError, ErrClosed, ErrEnded, ErrContended, ErrRevoked, *CorruptError.
func (p *Producer) TrySend(msg []byte) error { return p.trySend(msg, 0, 0) }

// TrySendKind is TrySend with a message type of the user's own.
func (p *Producer) TrySendKind(msg []byte, kind uint16) error { return p.trySend(msg, kind, 0) }

func (p *Producer) trySend(msg []byte, kind, flags uint16) error {
	meta := layout.PackMeta(uint32(len(msg)), kind, flags)
	if len(msg) <= p.quick && p.sendQuick(msg, meta) {
		return nil
	}
	return p.trySendMeta(msg, meta)
}

// trySendMeta is trySend for what is not quick.
func (p *Producer) trySendMeta(msg []byte, meta uint64) error {
	if !p.shared {
		return p.sendOwn(msg, meta)
	}
	if len(msg) > p.maxMsg || p.ended.Load() {
		_, _, flags := layout.UnpackMeta(meta)
		if err := p.refuse(len(msg), flags); err != nil {
			return err
		}
	}
	return p.sendShared(msg, meta)
}

// refuse tells why a message of n bytes cannot be sent at all.
func (p *Producer) refuse(n int, flags uint16) error {
	switch {
	case p.halt.Load() != 0:
		return p.why()
	case n > p.maxMsg && flags == 0:
		return p.wrap(&SizeError{n, p.maxMsg})
	case p.ended.Load() && flags&layout.FlagEnd == 0:
		return ErrEnded
	}
	return nil
}

// fill writes a record into slots that this producer has claimed. All of it is plain
// memory: nobody else touches it before D1.
func (p *Producer) fill(pos uint64, msg []byte, meta uint64) {
	move(p.bytes(pos, len(msg)), msg)
	killpoint.At(killpoint.PayloadWritten)
	p.label(pos, meta)
}

func (p *Producer) label(pos, meta uint64) {
	p.desc[pos&p.mask].Meta = meta
	killpoint.At(killpoint.MetaWritten)
}

// Send sends a copy of msg and waits for room while the ring is full, until ctx or
// Config.SendTimeout ends the wait, unless Config.WhenFull says otherwise. Errors: those of
// TrySend, ErrFull only with WhenFullFail; a *ContextError, and whatever Config.Check
// returns. After ErrClosed from a Close during the call, and
// only then, it is unknown whether the message was sent.
func (p *Producer) Send(ctx context.Context, msg []byte) error { return p.send(ctx, msg, 0, 0) }

// SendKind is Send with a message type of the user's own.
func (p *Producer) SendKind(ctx context.Context, msg []byte, kind uint16) error {
	return p.send(ctx, msg, kind, 0)
}

func (p *Producer) send(ctx context.Context, msg []byte, kind, flags uint16) error {
	meta := layout.PackMeta(uint32(len(msg)), kind, flags)
	if len(msg) <= p.quick && p.sendQuick(msg, meta) {
		return nil
	}
	err := p.trySendMeta(msg, meta)
	if err == nil {
		return nil
	}
	return p.sendAgain(ctx, err, msg, kind, flags)
}

// sendAgain is send after a refusal, apart from it so that the first try has no part in
// what it takes to wait.
func (p *Producer) sendAgain(ctx context.Context, err error, msg []byte, kind, flags uint16) error {
	a := attempt{last: flags&layout.FlagEnd != 0}
	for err != nil {
		if err = p.again(ctx, err, "send", len(msg), &a); err != nil {
			break
		}
		err = p.trySend(msg, kind, flags)
	}
	p.endTurn(&a)
	if err == errDropped {
		p.Drop(1)
		return nil
	}
	return err
}

// attempt is one call of Send or its kin that was refused.
type attempt struct {
	begun time.Time       // when it was first refused (MPSC)
	until time.Time       // when Config.SendTimeout is over
	turn  layout.Priority // that it has, or 0
	last  bool            // the end of a stream waits whatever Config.WhenFull says
}

// errDropped: the caller is to give up the message and count it.
var errDropped = errors.New("dropped")

// again turns a refusal into nil once it makes sense to try again: when there is
// room for a record of n bytes, or at once after lost races.
func (p *Producer) again(ctx context.Context, refusal error, op string, n int, a *attempt) error {
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
		return p.awaitRoom(ctx, op, n, a)
	case ErrContended:
		return p.interrupted(ctx, op, a.until)
	}
	return refusal
}

// awaitRoom waits until a record of n bytes, or the padding before it, would fit.
func (p *Producer) awaitRoom(ctx context.Context, op string, n int, a *attempt) error {
	if p.single {
		if !p.enter() {
			return p.why()
		}
		defer p.leave()
	}
	k := p.slotsFor(n)
	if !p.shared {
		return p.await(ctx, op, a.until, func() bool { return p.roomFor(k) }, func() {}, p.checkRoom)
	}
	if a.begun.IsZero() {
		a.begun = time.Now()
	}
	return p.await(ctx, op, a.until, func() bool { return p.roomFor(k) && !p.yields(k) }, func() {}, func() error {
		p.askTurn(k, a)
		return p.checkRoom()
	})
}

// checkRoom is the upkeep of a producer that waits: it finds a ReadPos or a Tail that
// no correct peer can have written, which would keep it waiting for ever.
func (p *Producer) checkRoom() error {
	if !p.shared {
		if read := p.hot.ReadPos.Load(); p.pos-read > p.slots {
			return p.corrupt("ReadPos", p.pos, read)
		}
		return nil
	}
	before := p.hot.Tail.Load()
	read := p.hot.ReadPos.Load()
	if p.hot.Tail.Load() != before {
		return nil // ReadPos belongs to no single Tail
	}
	if used := layout.Tail(before).Pos(read) - read; used > p.slots {
		return p.corrupt("distance from ReadPos to Tail", read, used)
	}
	return nil
}

// Check looks whether the segment is still the one that others open by its name, as
// blocked calls do by themselves now and then. Programs that only use the Try calls,
// or whose ring is never full, call it if they want to know. Any goroutine may. Errors:
// ErrClosed, and whatever Config.Check returns.
func (p *Producer) Check() error {
	if p.halt.Load() != 0 {
		return p.why()
	}
	return p.checkOutside()
}

// Drop records that the caller gave up n messages because the ring was full.
func (p *Producer) Drop(n int) { p.count(layout.Dropped, uint64(n)) }

// CloseSend ends this producer's stream: the consumer gets io.EOF behind its last message
// (MPSC: behind the last message of the last producer). It waits for room like Send.
// Later sends return ErrEnded; a second CloseSend does nothing. What other goroutines
// send at the same time may come before the end, behind it, or be refused.
func (p *Producer) CloseSend(ctx context.Context) error {
	if !p.ended.CompareAndSwap(false, true) {
		return nil
	}
	p.setQuick()
	var epoch [4]byte
	binary.NativeEndian.PutUint32(epoch[:], p.epoch)
	if err := p.send(ctx, epoch[:], 0, layout.FlagEnd); err != nil {
		p.ended.Store(false)
		p.setQuick()
		return err
	}
	// For those who come later: a consumer that was not there when the end was read, and
	// one that finds us dead.
	p.members[p.me].State.CompareAndSwap(uint32(layout.Used), uint32(layout.Ended)) // not if fenced
	killpoint.At(killpoint.StateEnded)
	return nil
}

// Ended reports whether the stream was ended.
func (p *Producer) Ended() bool { return p.ended.Load() }

// Close ends this handle: calls that wait and all later ones return ErrClosed. It
// returns when no call is in progress that could still wait; the calls of other
// goroutines that do not wait may still be running (see gate). Only the first Close
// reports true.
func (p *Producer) Close() bool { return p.shut(p.stop) }

// CloseAndEnd is Close, and then CloseSend if that has not been done. It may be called
// by any goroutine, also while others are using the handle. A producer that has lost a
// claim to ForceSkip, or found corruption, sends no end.
func (p *Producer) CloseAndEnd(ctx context.Context) error {
	why := p.why()
	if !p.Close() || p.Ended() || why == ErrRevoked {
		return nil
	}
	if why != nil {
		return why // corrupt
	}
	if p.open {
		return errors.New("shmring: a Claim is open") // its owner may be writing where the end would go
	}
	// The handle is closed to everybody, us included. An heir with a gate of its own has
	// the last word: it goes on in the same participant slot at the same position.
	heir := &Producer{quick: -1, pos: p.pos, att: p.att, mourn: p.mourn}
	heir.init(p.view, p.cfg)
	heir.me, heir.epoch, heir.former, heir.single = p.me, p.epoch, p.former, p.single
	heir.sleepWord, heir.sleepBell, heir.ringWord, heir.ringBell, heir.alone = p.sleepWord, p.sleepBell, p.ringWord, p.ringBell, p.alone
	heir.readSeen.Store(p.readSeen.Load())
	err := heir.CloseSend(ctx)
	p.ended.Store(err == nil)
	return err
}

// corrupt poisons the handle.
func (c *core) corrupt(field string, pos, got uint64) error {
	return c.poisonWith(&CorruptError{field, pos, got})
}

// poisonWith poisons the handle because of an error that is not wrapped yet.
func (c *core) poisonWith(err error) error { return c.poison(c.wrap(err), c.stop) }

func (p *Producer) misuse(what string) {
	panic(fmt.Sprintf("shmring: %s while a Claim of this producer is open", what))
}
