package relay

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shmring/shmring"
)

// Out is the consumer of a ring that publishes what it gets into a JetStream stream, of which it is
// the only writer. Run is called once, by one goroutine. Stats may be called by any.
type Out struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	name    string
	o       *OutOptions
	wait    patience
	acks    chan ack
	inbox   string
	sub     *nats.Subscription
	counts  outCounts
	cancel  atomic.Pointer[context.CancelFunc] // of a wait for a message
	ring    *shmring.Consumer
	id      string // ringID of the ring
	window  window
	stream  jetstream.Stream
	last    stored // the newest message of the stream, as far as we know
	ends    map[int]uint32
	chain   *chain
	noted   []link          // what was noted as sent, and is to be sent again as it was, before anything else
	owes    bool            // there are ends that are to be stored behind that
	alone   bool            // something else may be on its way: the first message waits until it is stored
	ctx     context.Context // of Run, for the callback of the ring
	broken  error           // the reason for which the callback has closed the ring
	telling bool            // the callback runs: nothing is to be released
	careful bool            // each message asks for an acknowledgement
	gen     uint64          // names the acknowledgements of what was sent since we last asked the stream
}

// OutStats is what an Out has counted.
type OutStats struct {
	Messages uint64 `json:"messages"` // of the ring, stored and acknowledged
	Bytes    uint64 `json:"bytes"`    // of those
	Stored   uint64 `json:"stored"`   // NATS messages, ends too
	Ends     uint64 `json:"ends"`
	Skipped  uint64 `json:"skipped"` // messages that came again from the ring and were stored already
	Asked    uint64 `json:"asked"`   // how often the stream had to be asked what it has
	Sequence uint64 `json:"sequence"`
}

type outCounts struct{ messages, bytes, stored, ends, skipped, asked, sequence atomic.Uint64 }

// Stats returns what has been counted.
func (o *Out) Stats() OutStats {
	c := &o.counts
	return OutStats{c.messages.Load(), c.bytes.Load(), c.stored.Load(), c.ends.Load(), c.skipped.Load(), c.asked.Load(),
		c.sequence.Load()}
}

// ack is what a server said of the NATS message with that sequence.
type ack struct {
	gen, seq uint64
	err      error
}

// NewOut makes an Out of a ring, over a connection that stays the caller's. Nothing is opened yet.
// Errors: options that cannot be; a connection that is closed.
func NewOut(nc *nats.Conn, ring string, o *OutOptions) (*Out, error) {
	own, err := o.orDefault(ring)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, &ServerError{Op: "JetStream", Err: err}
	}
	out := &Out{nc: nc, js: js, name: ring, o: own, acks: make(chan ack, own.InFlight+16), inbox: nc.NewInbox()}
	out.wait.nc, out.wait.options = nc, &out.o.Common
	return out, nil
}

// Run relays until ctx is done: then it takes no more from the ring, waits until what it took is
// stored and released, and returns nil. With OutOptions.UntilEnd it also returns nil behind the end of
// all streams. If the ring is removed and made anew, it goes on with the new one. Who is
// killed in it, or gets an error, loses nothing: the next Run goes on.
//
// Errors: a [*ServerError]; a [*PayloadError]; a [*WriterError]; a [*RewoundError]; a
// [*PositionLostError]; a [*MarkError]; a [*NotesError]; [ErrBusy]; those of [shmring.OpenConsumer] and Receive. A ctx
// that is done while the server is away ends Run with the cause of ctx, and what was not acknowledged comes again.
func (o *Out) Run(ctx context.Context) (err error) {
	o.sub, err = o.nc.Subscribe(o.inbox+".*.*", o.acknowledged)
	if err != nil {
		return &ServerError{Op: "subscribe", Err: err}
	}
	defer o.sub.Unsubscribe()
	if err := o.sub.SetPendingLimits(-1, -1); err != nil { // they are bounded by what we ask for
		return &ServerError{Op: "subscribe", Err: err}
	}
	// What was under way when a connection broke is not acknowledged.
	defer o.wait.watch(func() { o.tell(ack{err: errReset}) })()
	defer func() {
		if o.chain != nil {
			err = errors.Join(err, o.chain.close())
			o.chain = nil
		}
	}()
	for {
		again, err := o.relayRing(ctx)
		if !again || err != nil {
			return err
		}
	}
}

// relayRing relays one ring, until it is made anew.
func (o *Out) relayRing(ctx context.Context) (again bool, err error) {
	// What was taken is to be stored also when ctx is done.
	work, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	defer context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(o.o.Grace, func() { stop(context.Cause(ctx)) })
		context.AfterFunc(work, func() { timer.Stop() })
	})()
	options := o.o.Ring
	options.OnStreamEnd, options.OnPeer, options.OnSkip, options.OnStall = o.streamEnded, nil, nil, nil
	if o.ring, err = shmring.OpenConsumer(ctx, o.name, &options); err != nil {
		if ctx.Err() != nil {
			return false, nil
		}
		return false, err
	}
	defer func() { err = errors.Join(err, ignoreOrphaned(o.ring.Close())) }()
	if o.chain == nil {
		if o.chain, err = openChain(o.o.noteDir(o.ring.Info()), o.name); err != nil {
			return false, err
		}
	}
	o.ctx, o.broken, o.window = work, nil, window{}
	o.id, o.ends = ringID(o.ring.Info().UUID), map[int]uint32{}
	if err := o.ask(ctx); err != nil {
		if ctx.Err() != nil {
			return false, nil
		}
		return false, err
	}
	err = o.pump(ctx, work)
	switch {
	case o.broken != nil:
		return false, o.broken
	case errors.Is(err, shmring.ErrOrphaned):
		o.forget()                  // the rest of what was noted will not come
		return true, o.settle(work) // what was taken is still in our memory
	case err == errStopped:
		return false, nil
	case err == io.EOF:
		return false, nil
	}
	return false, err
}

func ignoreOrphaned(err error) error {
	if errors.Is(err, shmring.ErrOrphaned) {
		return nil
	}
	return err
}

// errStopped: the caller's context is done, and all that was taken is released.
var errStopped = errors.New("stopped")

// pump takes from the ring and publishes, until it is to stop.
func (o *Out) pump(ctx, work context.Context) error {
	for {
		if ctx.Err() != nil {
			if err := o.settle(work); err != nil {
				return err
			}
			return errStopped
		}
		idle, err := o.take()
		gen := o.gen
		if err == nil {
			err = o.publish(work, idle || o.isFull())
		}
		if err == nil {
			err = o.storeOwed()
		}
		if err == nil {
			err = o.takeAcks(work)
		}
		switch sent := o.window.sent == o.window.items; {
		case err != nil, gen != o.gen, !sent && (!idle || len(o.noted) == 0): // there is something to send again
		case idle:
			err = o.await(ctx)
		case o.isFull():
			err = o.awaitAck(work)
		}
		if err = o.received(work, err); err != nil {
			return err
		}
	}
}

// received handles what a receiving call has returned.
func (o *Out) received(work context.Context, err error) error {
	var ended *shmring.StreamError
	o.releaseLate()
	switch {
	case o.broken != nil:
		return o.broken
	case err == nil, errors.As(err, &ended): // of which streamEnded was told
		return nil
	case err == io.EOF:
		o.forget() // the rest of what was noted will not come
		if err := o.store(work, &end{all: true}); err != nil {
			return err
		}
		if o.o.UntilEnd {
			return io.EOF
		}
		return nil
	}
	return err
}

// takeAtOnce is how many messages are taken before the server is looked at.
const takeAtOnce = 64

// take takes what is in the ring, without waiting; idle: nothing more is there.
func (o *Out) take() (idle bool, err error) {
	for range takeAtOnce {
		if o.isFull() {
			return false, nil
		}
		m, err := o.ring.TryNext()
		if err == shmring.ErrEmpty {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		if err := o.took(m); err != nil {
			return false, err
		}
	}
	return false, nil
}

// isFull tells whether nothing more is to be taken. Of what is to be sent again all has to be there.
func (o *Out) isFull() bool {
	return len(o.noted) == 0 && (o.window.items >= o.o.InFlight || o.window.bytes >= o.o.InFlightBytes)
}

// took notes a message of the ring, unless it is stored already.
func (o *Out) took(m shmring.Message) error {
	at := m.Position()
	switch {
	case o.last.ring == o.id && o.last.hasPosition && at.Compare(o.last.position) <= 0:
		o.counts.skipped.Add(1)
		m.Release() // nothing is held before it: that would have been stored before
		return nil
	case o.last.lost && m.Redelivered() && !o.o.Resend:
		return &PositionLostError{o.o.Stream, o.last.seq, at}
	}
	o.last.lost = false
	o.window.push(item{m: m, position: at, bytes: m.Len()})
	return nil
}

// await waits for a message, or an acknowledgement.
func (o *Out) await(ctx context.Context) error {
	limit := time.Hour
	if o.window.items > 0 {
		limit = o.o.AckTimeout
	}
	wait, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	o.cancel.Store(&cancel)
	defer o.cancel.Store(nil)
	if len(o.acks) > 0 {
		return nil
	}
	m, err := o.ring.Next(wait)
	if err == nil {
		return o.took(m)
	}
	if wait.Err() == nil || errors.Is(err, shmring.ErrOrphaned) || err == io.EOF {
		return err
	}
	var ended *shmring.StreamError
	if _, ok := errors.AsType[*shmring.ContextError](err); !ok && !errors.As(err, &ended) {
		return err
	}
	if o.window.isLate(o.o.AckTimeout) {
		return o.late(o.ctx)
	}
	return nil
}

// late handles that an acknowledgement does not come: what was sent may be lost, or may not be sent.
func (o *Out) late(ctx context.Context) error {
	if err := denied(o.nc, o.o.Subject); err != nil {
		return &ServerError{Op: "publish to " + o.o.Subject, Err: err}
	}
	if o.careful { // it was sent again, and asked, and the stream answers
		if err := o.wait.trouble(ctx, "store in "+o.o.Stream, errUnanswered); err != nil {
			return err
		}
	}
	o.careful = true
	return o.ask(ctx)
}

// awaitAck waits for an acknowledgement.
func (o *Out) awaitAck(work context.Context) error {
	timer := time.NewTimer(o.o.AckTimeout)
	defer timer.Stop()
	select {
	case a := <-o.acks:
		if err := o.handle(work, a); err != nil {
			return err
		}
		return o.takeAcks(work)
	case <-timer.C:
		return o.late(work)
	case <-work.Done():
		return context.Cause(work)
	}
}

// settle waits until all that was taken is stored and released, and ends that are owed are stored; but for the
// beginning of a message that was noted, of which the rest is in the ring.
func (o *Out) settle(work context.Context) error {
	for {
		if err := o.publish(work, true); err != nil {
			return err
		}
		if o.window.sent == 0 {
			break
		}
		if err := o.awaitAck(work); err != nil {
			return err
		}
	}
	o.releaseLate()
	return o.storeOwed()
}

// streamEnded stores the end of a stream, before the ring notes that it was told: the call that
// tells of it goes on when this returns.
func (o *Out) streamEnded(e shmring.StreamEnd) {
	if o.broken != nil {
		return
	}
	o.telling = true
	defer func() { o.telling = false }()
	err := o.storeEnd(e)
	if err != nil {
		o.broken = err
		o.ring.Close() // so that it is not noted
		return
	}
	if c := o.cancel.Load(); c != nil {
		(*c)() // there may be something to release
	}
}

// storeOwed stores the ends that came too early, when what was noted before them is sent.
func (o *Out) storeOwed() error {
	if !o.owes || len(o.noted) > 0 {
		return nil
	}
	o.owes = false
	for _, e := range o.chain.owed() {
		if err := o.storeEnd(e); err != nil {
			return err
		}
		o.chain.paid(&e)
	}
	return nil
}

func (o *Out) storeEnd(e shmring.StreamEnd) error {
	if err := o.settle(o.ctx); err != nil {
		return err
	}
	if len(o.noted) > 0 { // what comes before it is in the ring still, which cannot be asked from inside of its callback
		o.chain.owe(e)
		o.owes = true
		return nil
	}
	known, asked := o.ends[e.Producer]
	if !asked {
		var err error
		if known, asked, err = o.lastEnd(o.ctx, e.Producer); err != nil {
			return err
		}
	}
	if asked && int32(e.Epoch-known) <= 0 {
		return nil // told again
	}
	if err := o.store(o.ctx, &end{StreamEnd: e}); err != nil {
		return err
	}
	o.ends[e.Producer] = e.Epoch
	o.counts.ends.Add(1)
	return nil
}

// store stores an end behind all that was taken, and waits until it is.
func (o *Out) store(work context.Context, e *end) error {
	if err := o.settle(work); err != nil {
		return err
	}
	if e.all && o.last.ring == o.id && o.last.end == all {
		return nil // told again
	}
	it := item{end: e, position: o.last.position, nowhere: o.last.ring != o.id || !o.last.hasPosition}
	o.window.push(it)
	return o.settle(work)
}

// acknowledged is called by the connection's goroutine.
func (o *Out) acknowledged(m *nats.Msg) {
	rest, ok := strings.CutPrefix(m.Subject, o.inbox+".")
	gen, seq, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 {
		return
	}
	var a ack
	a.gen, _ = strconv.ParseUint(gen, 10, 64)
	a.seq, _ = strconv.ParseUint(seq, 10, 64)
	var reply struct {
		Error    *jetstream.APIError `json:"error"`
		Sequence uint64              `json:"seq"`
	}
	switch {
	case len(m.Data) == 0 && m.Header.Get("Status") == "503":
		a.err = nats.ErrNoResponders
	default:
		switch err := json.Unmarshal(m.Data, &reply); {
		case err != nil:
			a.err = err
		case reply.Error != nil:
			a.err = reply.Error
		case reply.Sequence != a.seq:
			a.err = errOtherSequence
		}
	}
	o.tell(a)
}

// tell hands something to the goroutine of Run.
func (o *Out) tell(a ack) {
	select {
	case o.acks <- a:
	default: // it is asked for anew when nothing comes
	}
	if c := o.cancel.Load(); c != nil {
		(*c)()
	}
}

// errUnanswered: that is what a server does whose disk is full or fails.
var errUnanswered = errors.New("the server neither stores a message nor refuses it")

// errOtherSequence: a message was stored already, and the server has known it by its id.
var errOtherSequence = errors.New("stored under another sequence")
