package shmring

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// Producer sends messages into a ring.
//
// The Producer of an SPSC ring is for one goroutine at a time. That of an MPSC ring is for
// any number, except that each [Claim] belongs to the goroutine that made it. Messages of
// one goroutine arrive in the order in which its calls returned; of several, in the order
// of their claims. Check, Close, CountDropped, Info, MaxMessage, Peers, Slots, Stats and Used
// may be called by any goroutine at any time.
type Producer struct {
	ring       *ring.Producer // for what moves messages: handle, or a front of it (Options.Untrusted, MeasureEvery)
	handle     *ring.Producer
	s          *segment
	keepStream bool
	failAlone  bool
	told       bool // lookAround has written down that the ring has lost its name
	final      finalStats
	closing    sync.Once
	err        error
}

// OpenProducer attaches a producer to the named ring, which it creates if there is none
// (see Options.Mode). ctx bounds waiting for the ring or for a role, not the life of the
// producer. Errors: [ErrBusy] when the ring has no room for another producer, and those
// listed at [ErrFull] and its neighbours.
func OpenProducer(ctx context.Context, name string, o *Options) (*Producer, error) {
	return openProducer(ctx, o, byName(name, ModeOpenOrCreate))
}

func openProducer(ctx context.Context, o *Options, open opening) (*Producer, error) {
	p := &Producer{}
	o = o.orDefault()
	take := func(v *layout.View, cfg ring.Config) (att ring.Attachment, err error) {
		if p.handle, err = ring.NewProducer(v, cfg); err != nil {
			return att, err
		}
		return p.handle.Attachment(), nil
	}
	s, err := join(ctx, o, open, RoleProducer, take)
	if err != nil {
		return nil, err
	}
	p.s, p.keepStream, p.failAlone = s, o.KeepStream, o.NoPeer == NoPeerFail
	s.guard = p.handle.Guard
	switch p.ring = p.handle; {
	case o.MeasureEvery > 0:
		p.ring = p.handle.Measured()
	case o.Untrusted:
		p.ring = p.handle.Guarded()
	}
	every := orphanEvery
	if p.failAlone {
		every = peersEvery
		p.refuseAlone()
	}
	s.attend(o, every, p.lookAround)
	return p, nil
}

// lookAround is what is done for a producer now and then.
func (p *Producer) lookAround() {
	if err := p.s.check(); err != nil {
		if !p.s.closing.Load() {
			p.handle.Fail(err)
			if errors.Is(err, ErrOrphaned) && !p.told {
				p.told = true
				ring.RecordOrphan(p.s.view, p.s.info.Participant)
			}
		}
		return
	}
	if p.failAlone {
		p.refuseAlone()
	}
}

// refuseAlone sees to it that sends fail exactly while there is no consumer.
func (p *Producer) refuseAlone() {
	if err := p.s.noPeer(RoleProducer); err != nil {
		p.handle.Refuse(err)
	} else {
		p.handle.Allow()
	}
}

// Send sends a copy of msg, which may be empty. While the ring is full it waits for room,
// until ctx or Options.SendTimeout ends the wait, unless Options.WhenFull says otherwise.
// While there is room, a ctx that is done ends a loop over Send after at most 64 slots (SPSC: 4 KiB) more of
// messages (MPSC: of all producers). Errors: those of TrySend, [ErrFull] only with [WhenFullFail]; a [*ContextError];
// [ErrOrphaned]. After ErrClosed because of a Close during the call, and only then, it is
// unknown whether the message was sent.
func (p *Producer) Send(ctx context.Context, msg []byte) error { return p.ring.Send(ctx, msg) }

// SendKind is Send with a message type of the user's own: [Message.Kind].
func (p *Producer) SendKind(ctx context.Context, msg []byte, kind uint16) error {
	return p.ring.SendKind(ctx, msg, kind)
}

// TrySend sends a copy of msg, which may be empty. It never blocks, never allocates and
// makes no system call unless the consumer has to be woken. Errors: [ErrFull];
// [*SizeError]; [ErrClosed]; [ErrEnded]; [ErrContended]; [ErrRevoked]; [*CorruptError].
func (p *Producer) TrySend(msg []byte) error { return p.ring.TrySend(msg) }

// TrySendKind is TrySend with a message type of the user's own: [Message.Kind].
func (p *Producer) TrySendKind(msg []byte, kind uint16) error { return p.ring.TrySendKind(msg, kind) }

// SendBatch sends copies of all msgs in order and waits for room while the ring is full, as
// Send does. n is how many were sent: all of them unless err is not nil, or WhenFullDrop
// has dropped the rest. On an SPSC ring each is a message like any other, and those of a few KiB are
// published together. On an MPSC ring messages are packed into as few records as possible, which
// makes small ones cheap, and each record is published, released and redelivered as a whole. Errors:
// those of Send.
func (p *Producer) SendBatch(ctx context.Context, msgs [][]byte) (n int, err error) {
	return p.ring.SendBatch(ctx, msgs)
}

// TrySendBatch is SendBatch that does not wait: it sends as many of msgs as there is room
// for, and returns how many that were. Errors, with n < len(msgs): those of TrySend. The
// first message that is too large stops the batch.
func (p *Producer) TrySendBatch(msgs [][]byte) (n int, err error) { return p.ring.TrySendBatch(msgs) }

// Claim claims room for a message of n bytes, to be written in place; a negative n panics.
// It waits for room as Send does; with [WhenFullDrop] it returns ErrFull. The producer of
// an SPSC ring has at most one open claim, and panics when it is to send while it has one.
// Errors: those of Send.
func (p *Producer) Claim(ctx context.Context, n int) (Claim, error) {
	c, err := p.ring.Claim(ctx, n)
	return Claim{c: c}, err
}

// TryClaim is Claim that does not wait. Errors: those of TrySend.
func (p *Producer) TryClaim(n int) (Claim, error) {
	c, err := p.ring.Claim(context.Context(nil), n) // ring.TryClaim, but inlined
	return Claim{c: c}, err
}

// CloseSend ends this producer's stream: the consumer gets io.EOF behind its last message
// (MPSC: when all that are attached are over). It needs no room and never waits.
// Later sends return [ErrEnded]; a second CloseSend does nothing. What other goroutines
// send at the same time may come before the end, behind it, or be refused. Errors:
// [ErrClosed]; [ErrRevoked]; [*CorruptError].
func (p *Producer) CloseSend() error { return p.s.guarded(p.handle.CloseSend) }

// FailSend is CloseSend for a producer that knows that what it sent is not the whole, for
// its own input broke off: the consumer gets a [*StreamError] that matches [ErrFailed]
// behind its last message.
func (p *Producer) FailSend() error { return p.s.guarded(p.handle.FailSend) }

// EndSend is CloseSend with any fate: for a relay, which passes on what another producer has sent
// and says how that one ended, [FateDied] too, though it lives itself. [FateLeft] tells the consumer
// nothing but Options.OnStreamEnd. A fate that is none panics. Errors: those of CloseSend.
func (p *Producer) EndSend(f Fate) error {
	if f > FateDied {
		panic(fmt.Sprintf("shmring: EndSend with fate %d", f))
	}
	return p.s.guarded(func() error { return p.handle.EndSend(layout.Fate(f)) })
}

// ClaimState tells what has become of a claim that a producer of this ring made, at the position
// that [Claim.Position] had. It is for who begins after one that was killed, and found its note of
// what it was about to send. On an MPSC ring the claim is the one that was made. On an SPSC ring,
// where a claim that was not committed leaves nothing, the answer is for claims of former
// producers, never [ClaimForgotten], and another producer may have sent at that position, if there
// was one in between (Info.Epoch tells). The owner must be gone, or the answer may be old when it
// arrives. Any goroutine may call it.
func (p *Producer) ClaimState(at Position) (state ClaimState) {
	_ = p.s.guard(func() { state = ClaimState(p.handle.ClaimState(at.Record)) })
	return state
}

// Ended reports whether the stream was ended.
func (p *Producer) Ended() bool { return p.handle.Ended() }

// Check looks whether the ring's file is still the one that others open by its name, as
// calls that wait do by themselves now and then. It is for programs that use the Try calls
// only, or whose ring is never full. It makes a few system calls. Errors: [ErrClosed],
// [ErrOrphaned], an error that says that the file was truncated.
func (p *Producer) Check() error { return p.s.guarded(p.handle.Check) }

// CountDropped adds n to [Stats].Dropped: messages that the caller gave up by itself after
// [ErrFull]. What [WhenFullDrop] drops is counted already.
func (p *Producer) CountDropped(n int) { _ = p.s.guard(func() { p.handle.Drop(n) }) }

// MaxMessage returns how many bytes the longest message may have.
func (p *Producer) MaxMessage() int { return p.handle.MaxMessage() }

// Slots returns how many slots the ring has.
func (p *Producer) Slots() int { return p.handle.Slots() }

// Used returns how many slots are taken: by messages that are not released yet, and by
// claims. The answer may be old when it arrives. On an SPSC ring Used costs some
// nanoseconds for each record.
func (p *Producer) Used() (n int) {
	_ = p.s.guard(func() { n = p.handle.Used() })
	return n
}

// Stats returns what this producer has counted, after Close as it was then. Messages and Bytes
// are written by the consumer: before it sleeps, when it closes, and every few thousand
// messages.
func (p *Producer) Stats() Stats { return p.final.or(p.stats) }

func (p *Producer) stats() (s Stats) {
	_ = p.s.guard(func() { s = statsOf(p.handle.Stats()) })
	return s
}

// Peers returns who is attached to the ring, ourselves included: the consumer, if there is
// one, comes first. It takes no part in the ring and makes a system call for each. The error
// is ErrClosed, or what the system said.
func (p *Producer) Peers() ([]Peer, error) { return p.s.peers() }

// Info returns what opening did and found.
func (p *Producer) Info() Info { return p.s.info }

// Close wakes and ends calls that are blocked, ends the stream if CloseSend and FailSend
// have not (see Options.KeepStream), and detaches. It needs no room. The stream of a
// producer that lost a claim to ForceSkip, or found corruption, ends as failed. The ring
// stays. Any goroutine may call Close at any time; calls after the first return what that
// returned. The error tells that the system refused something, or is [ErrOrphaned]: nobody can
// open the ring any more, and get what was sent. The producer is closed all the same.
func (p *Producer) Close() error {
	p.closing.Do(func() { p.err = p.close() })
	return p.err
}

func (p *Producer) close() error {
	p.s.dismiss()
	fate := FateLeft
	if !p.keepStream {
		fate = Fate(p.handle.Fate())
	}
	_ = p.s.guard(func() { p.handle.Close() })
	p.final.keep(p.stats())
	lost := p.s.seg.Check()
	if !errors.Is(lost, ErrOrphaned) {
		lost = nil
	}
	return joined(lost, p.s.detach(p.handle.Attachment(), fate))
}
