package relay

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shmring/shmring"
)

// In is a producer of a ring that sends into it what it reads of a JetStream stream, with a durable
// consumer. Run is called once, by one goroutine. Stats may be called by any.
type In struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	name     string
	o        *InOptions
	wait     patience
	counts   inCounts
	stream   jetstream.Stream
	consumer jetstream.Consumer
	keepLast bool // the newest message stays unacknowledged, so that Out can read it back
	ackAll   bool // an acknowledgement is for all before, too
	mark     *mark
	ring     *shmring.Producer
	marked   bool          // the mark says so
	last     uint64        // what is before it, and it, is in the ring
	partial  int           // how many entries of the next are
	held     string        // how the newest that was sent is acknowledged
	due      string        // what is to be acknowledged
	lost     chan struct{} // the connection was made anew
	unacked  int
	ackedAt  time.Time
}

// InStats is what an In has counted.
type InStats struct {
	Messages uint64 `json:"messages"` // sent into the ring
	Bytes    uint64 `json:"bytes"`
	Ends     uint64 `json:"ends"`
	Again    uint64 `json:"again"`   // NATS messages that were delivered again, and not sent again
	Fetched  uint64 `json:"fetched"` // those that were fetched one by one, because they had been lost on their way
	Missing  uint64 `json:"missing"` // sequences that were gone (InOptions.SkipGaps)
	Sequence uint64 `json:"sequence"`
}

type inCounts struct{ messages, bytes, ends, again, fetched, missing, sequence atomic.Uint64 }

// Stats returns what has been counted.
func (i *In) Stats() InStats {
	c := &i.counts
	return InStats{c.messages.Load(), c.bytes.Load(), c.ends.Load(), c.again.Load(), c.fetched.Load(), c.missing.Load(),
		c.sequence.Load()}
}

// NewIn makes an In for a ring, over a connection that stays the caller's. Nothing is opened yet.
// Errors: options that cannot be; a connection that is closed.
func NewIn(nc *nats.Conn, ring string, o *InOptions) (*In, error) {
	own, err := o.orDefault(ring)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, &ServerError{Op: "JetStream", Err: err}
	}
	in := &In{nc: nc, js: js, name: ring, o: own, lost: make(chan struct{}, 1)}
	in.wait.nc, in.wait.options = nc, &in.o.Common
	return in, nil
}

// Run relays until ctx is done, and returns nil then. With InOptions.UntilEnd it also returns nil behind the end
// of all streams of the other ring. The ring is created if need be, and anew if it is
// removed. Who is killed in it, or gets an error, loses nothing: the next Run goes on.
//
// Errors: a [*ServerError]; a [*GapError]; a [*RewoundError]; a [*ReplacedError]; a [*WireError]; an
// [*UncertainError]; a [*MarkError]; a [*NotesError]; [ErrBusy]; those of [shmring.OpenProducer], and a
// [*shmring.SizeError] where a message does not fit into this ring.
func (i *In) Run(ctx context.Context) (err error) {
	if i.ring, err = i.open(ctx); err != nil {
		return i.stopped(ctx, err)
	}
	defer func() {
		err = errors.Join(err, i.acknowledge())
		if i.ring != nil {
			err = errors.Join(err, ignoreOrphaned(i.ring.Close()))
		}
		err = errors.Join(err, i.mark.close())
		if i.nc.IsConnected() {
			_ = i.nc.FlushTimeout(callWithin) // acknowledgements that are lost are no harm
		}
	}()
	defer i.wait.watch(func() {
		select {
		case i.lost <- struct{}{}:
		default:
		}
	})()
	if err := i.prepare(ctx); err != nil {
		return i.stopped(ctx, err)
	}
	for {
		if err := i.catchUp(ctx); err == io.EOF {
			return nil
		} else if err != nil {
			return i.stopped(ctx, err)
		}
		err := i.read(ctx)
		if err == io.EOF {
			return nil
		}
		var server *ServerError
		if err != nil && (ctx.Err() != nil || !errors.As(err, &server)) {
			return i.stopped(ctx, err)
		}
		if server != nil {
			if err := i.overcome(ctx, server); err != nil {
				return i.stopped(ctx, err)
			}
		}
	}
}

// stopped is what Run returns: nothing, if it was asked to end.
func (i *In) stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))) {
		return nil
	}
	return err
}

// open opens the ring, and the mark file beside it.
func (i *In) open(ctx context.Context) (*shmring.Producer, error) {
	p, err := i.openRing(ctx)
	if err != nil {
		return nil, err
	}
	own := i.mark == nil
	if own {
		err = i.openMark(p.Info())
	}
	if err == nil {
		err = i.resolve(ctx, p)
	}
	if err != nil {
		if own && i.mark != nil {
			err = errors.Join(err, i.mark.close())
		}
		return nil, errors.Join(err, ignoreOrphaned(p.Close()))
	}
	return p, nil
}

func (i *In) openRing(ctx context.Context) (*shmring.Producer, error) {
	options := i.o.Ring
	options.OnPeer, options.KeepStream = nil, true // what is left is gone on with
	return shmring.OpenProducer(ctx, i.name, &options)
}

// events are what has happened to the ring.
func (i *In) events(ctx context.Context, p *shmring.Producer) ([]shmring.Event, error) {
	return shmring.Events(
		ctx,
		i.name,
		&shmring.AdminOptions{Dir: filepath.Dir(p.Info().Path), AnyOwner: i.o.Ring.AnyOwner},
	)
}

// newestOf is the number of the newest event.
func newestOf(events []shmring.Event) uint64 {
	if len(events) == 0 {
		return 0
	}
	return events[len(events)-1].Seq
}

func (i *In) openMark(info shmring.Info) (err error) {
	path, err := markPath(i.o.noteDir(info), i.name, i.o.Durable)
	if err != nil {
		return err
	}
	i.mark, err = openMark(path)
	return err
}

// resolve finds out whether what the In before was about to send was sent, and notes that we are the
// next one.
func (i *In) resolve(ctx context.Context, p *shmring.Producer) error {
	info := p.Info()
	newest, found := i.mark.newest()
	if found && !newest.done {
		sent, err := i.wasSent(ctx, p, newest)
		switch {
		case err != nil:
			return err
		case sent:
			i.mark.done()
			newest.done = true
		default:
			i.mark.undo()
			newest, found = i.mark.newest()
		}
	}
	events, err := i.events(ctx, p)
	if err != nil {
		return err
	}
	i.mark.attached(info, newestOf(events))
	if i.marked = found; found {
		if i.last, i.partial = newest.seq, 0; !newest.complete {
			i.last, i.partial = newest.seq-1, newest.index+1
		}
	}
	return nil
}

// wasSent tells whether a message was committed by one that was killed before it could say so.
func (i *In) wasSent(ctx context.Context, p *shmring.Producer, w note) (bool, error) {
	info, sameRing := p.Info(), i.mark.isRing(p.Info().UUID)
	if w.what == noteNothing || w.what == noteEnd && !sameRing {
		return false, nil // it does no harm again
	}
	if !sameRing { // that ring was removed before anybody could ask it
		return i.uncertain(w)
	}
	epoch := uint32(i.mark.word(atEpoch).Load())
	if w.what == noteMessage {
		if info.Kind == shmring.KindSPSC && info.Epoch != epoch+1 {
			return i.uncertain(w) // another has sent there since
		}
		switch p.ClaimState(shmring.Position{Record: w.position}) {
		case shmring.ClaimSent:
			return true, nil
		case shmring.ClaimUnsent:
			return false, nil
		}
	}
	// The consumer writes down which claims of the dead it passes over, before it does: so we look behind having asked.
	events, err := i.events(ctx, p)
	if err != nil {
		return false, err
	}
	known := i.mark.word(atEvents).Load()
	whole := len(events) > 0 && events[0].Seq <= known+1 &&
		events[len(events)-1].Seq-events[0].Seq == uint64(len(events)-1)
	for _, e := range events {
		switch {
		case w.what == noteEnd && e.Kind == "ended" && e.Epoch == epoch &&
			e.Participant == int(i.mark.word(atSlot).Load()):
			return true, nil
		case w.what == noteMessage && e.Kind == "skipped" && e.Position.Record == w.position:
			return false, nil
		case e.Kind == "died" && e.Role == shmring.RoleConsumer && e.Seq > known:
			whole = false // it may have been about to write
		}
	}
	if w.what == noteEnd {
		return false, nil // or so long ago that it is told once more
	}
	if !whole {
		return i.uncertain(w)
	}
	return true, nil
}

func (i *In) uncertain(w note) (sent bool, err error) {
	switch i.o.Uncertain {
	case UncertainSend:
		return false, nil
	case UncertainSkip:
		return true, nil
	}
	return false, &UncertainError{i.name, w.seq, shmring.Position{Record: w.position}}
}

// ackWait is when a server delivers again what was not acknowledged. Nothing depends on it.
const ackWait = 30 * time.Second

// prepare finds the stream, which it waits for, and the durable consumer, which is made if need be.
func (i *In) prepare(ctx context.Context) error {
	i.wait.created = true // an Out makes it, which may start later
	for {
		err := i.tryPrepare(ctx)
		if err == nil {
			i.wait.well()
			i.wait.created = false
			return nil
		}
		if isOurs(err) {
			return err
		}
		if err := i.wait.trouble(ctx, "open stream "+i.o.Stream, err); err != nil {
			return err
		}
	}
}

// isOurs tells whether an error is one of this package's, which no waiting helps against.
func isOurs(err error) bool {
	for _, e := range []error{ErrGap, ErrRewound, ErrReplaced, ErrWire, ErrUncertain} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (i *In) tryPrepare(ctx context.Context) (err error) {
	ctx, cancel := i.wait.call(ctx)
	defer cancel()
	if i.stream, err = i.js.Stream(ctx, i.o.Stream); err != nil {
		return err
	}
	info := i.stream.CachedInfo()
	created := uint64(info.Created.UnixNano())
	switch was := i.mark.word(atCreated).Load(); was {
	case created:
	case 0:
		i.mark.word(atCreated).Store(created)
	default:
		return &ReplacedError{i.o.Stream, info.Created, i.mark.path}
	}
	retention := info.Config.Retention
	i.keepLast = retention != jetstream.LimitsPolicy
	i.ackAll = retention != jetstream.WorkQueuePolicy // which wants one for each
	cfg := jetstream.ConsumerConfig{
		Durable: i.o.Durable, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait,
		// How much is under way is bounded by what we ask for. The server's own limit would keep it from
		// giving anything to the successor of one that was killed, until ackWait is over.
		MaxAckPending: -1,
	}
	if i.ackAll {
		cfg.AckPolicy = jetstream.AckAllPolicy
	}
	i.consumer, err = i.js.Consumer(ctx, i.o.Stream, i.o.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		if i.last > 0 && retention != jetstream.WorkQueuePolicy {
			cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, i.last+1
		}
		i.consumer, err = i.js.CreateConsumer(ctx, i.o.Stream, cfg)
		if err == nil && i.last == 0 && i.partial == 0 && info.State.FirstSeq > 0 {
			i.last = info.State.FirstSeq - 1 // what was gone before we came is not ours
		}
	}
	if err != nil {
		return err
	}
	// A mark that is gone, with its ring, leaves what the server knows. It is not believed else: a purge
	// makes it say that what is gone was acknowledged.
	if floor := i.consumer.CachedInfo().AckFloor.Stream; !i.marked && floor > i.last {
		i.last = floor
	}
	i.counts.sequence.Store(i.last)
	return nil
}

// catchUp fetches what the server has given to an In that did not get it, or lost it: it would come
// again, but only after a while, and out of order.
func (i *In) catchUp(ctx context.Context) error {
	for {
		err := i.tryCatchUp(ctx)
		if err == nil {
			i.wait.well()
			return nil
		}
		var server *ServerError
		if !errors.As(err, &server) || ctx.Err() != nil {
			return err
		}
		if err := i.overcome(ctx, server); err != nil {
			return err
		}
	}
}

// overcome does what helps against an error of the server, or waits a moment if that does.
func (i *In) overcome(ctx context.Context, err *ServerError) error {
	for _, gone := range []error{
		jetstream.ErrConsumerNotFound, jetstream.ErrConsumerDoesNotExist, jetstream.ErrConsumerDeleted} {
		if errors.Is(err.Err, gone) { // a server that was killed has lost it, or somebody has deleted it
			return i.prepare(ctx)
		}
	}
	return i.wait.trouble(ctx, err.Op, err.Err)
}

func (i *In) tryCatchUp(ctx context.Context) error {
	call, cancel := i.wait.call(ctx)
	defer cancel()
	info, err := i.stream.Info(call)
	if err != nil {
		return i.server(err)
	}
	if info.State.LastSeq < i.last {
		return &RewoundError{i.o.Stream, info.State.LastSeq, i.last}
	}
	consumer, err := i.consumer.Info(call)
	if err != nil {
		return i.server(err)
	}
	if delivered := min(consumer.Delivered.Stream, info.State.LastSeq); delivered > i.last {
		if err := i.fetch(ctx, delivered); err != nil {
			return err
		}
	}
	return i.ackBehind(consumer.AckFloor.Stream)
}

// ackBehind acknowledges what is in the ring, and was given to an In before us, or fetched: behind a sequence up to
// which all was. Where each message wants an acknowledgement of its own it would stay in the stream until it comes
// again. One that is lost is no harm: then it does.
func (i *In) ackBehind(floor uint64) error {
	if i.ackAll || i.last == 0 {
		return nil
	}
	for seq := floor + 1; seq < i.last; seq++ {
		if err := i.ack(i.ackSubject(seq)); err != nil {
			return err
		}
	}
	if i.held == "" {
		i.held = i.ackSubject(i.last) // which stays, until there is a newer one
	}
	return nil
}

// ackSubject is where a message is acknowledged that nobody has given to us. Of what a server writes into such a
// subject it reads the sequence alone, where each message is acknowledged for itself; see sequenceOf.
func (i *In) ackSubject(seq uint64) string {
	return "$JS.ACK." + i.o.Stream + "." + i.o.Durable + ".1." + strconv.FormatUint(seq, 10) + ".1.0.0"
}

// server is an error of reading.
func (i *In) server(err error) error {
	return &ServerError{Op: "read stream " + i.o.Stream, Err: err, Waiting: canWait(err)}
}

// fetch reads messages one by one, up to and with a sequence.
func (i *In) fetch(ctx context.Context, upto uint64) error {
	for i.last < upto {
		call, cancel := i.wait.call(ctx)
		m, err := i.stream.GetMsg(call, i.last+1)
		cancel()
		if isMissing(err) {
			if err := i.gap(ctx); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return i.server(err)
		}
		i.counts.fetched.Add(1)
		if err := i.apply(ctx, m.Sequence, m.Header, m.Data); err != nil {
			return err
		}
	}
	return nil
}

// gap handles that the next message is gone. More may be, up to the first that is there.
func (i *In) gap(ctx context.Context) error {
	call, cancel := i.wait.call(ctx)
	defer cancel()
	m, err := i.stream.GetMsg(call, i.last+1, jetstream.WithGetMsgSubject(">"))
	next := uint64(0)
	switch {
	case err == nil:
		next = m.Sequence
	case isMissing(err):
		info, err := i.stream.Info(call)
		if err != nil {
			return i.server(err)
		}
		next = info.State.LastSeq + 1
	default:
		return i.server(err)
	}
	if next <= i.last+1 {
		return nil // it is there by now
	}
	if !i.o.SkipGaps {
		return &GapError{i.o.Stream, i.last + 1, next - 1}
	}
	i.counts.missing.Add(next - 1 - i.last)
	i.mark.begin(note{seq: next - 1, complete: true, what: noteNothing})
	i.mark.done()
	i.last, i.partial = next-1, 0
	return nil
}

// lookEvery is how often an In that gets nothing asks whether it should have got something.
const lookEvery = time.Second

// ackAfter is how long what was sent may be unacknowledged.
const ackAfter = 50 * time.Millisecond

// read reads the stream, until something has to be looked after. A *ServerError is one of those.
func (i *In) read(ctx context.Context) error {
	p, err := newPull(i.nc, i.consumer.CachedInfo(), i.o.InFlight, i.o.InFlightBytes)
	if err != nil {
		return i.server(err)
	}
	defer p.stop()
	for {
		wait := lookEvery
		if i.due != "" {
			wait = ackAfter
		}
		m, err := p.next(ctx, wait, i.lost)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == errQuiet && i.due != "":
			if err := i.acknowledge(); err != nil {
				return err
			}
			continue
		case err == errQuiet:
			if err := denied(i.nc, p.subject, "$JS.ACK."); err != nil {
				return i.server(err)
			}
			return nil // what was on its way may be lost
		case err == errReset:
			return nil // it is
		case err != nil:
			return i.server(err)
		}
		if err := i.got(ctx, m); err != nil {
			return err
		}
	}
}

// got handles a message that the consumer was given.
func (i *In) got(ctx context.Context, m *nats.Msg) error {
	seq, ok := sequenceOf(m.Reply)
	if !ok {
		return &WireError{"the reply subject", m.Reply}
	}
	if seq <= i.last {
		i.counts.again.Add(1)
		if seq == i.last && i.keepLast {
			i.held = m.Reply
			return nil
		}
		return i.ack(m.Reply)
	}
	if seq > i.last+1 {
		if err := i.fetch(ctx, seq-1); err != nil {
			return err
		}
	}
	end := i.apply(ctx, seq, m.Header, m.Data)
	if end != nil && end != io.EOF {
		return end
	}
	if err := i.hold(m.Reply); err != nil {
		return err
	}
	return end
}

// lookAtTime is behind how many messages the time is looked at.
const lookAtTime = 16

// hold notes that a message is in the ring, and acknowledges it, or the one before it where the newest
// has to stay, when it is time to.
func (i *In) hold(reply string) error {
	before := i.held
	i.held, i.due = reply, reply
	if i.keepLast {
		i.due = before
	}
	i.unacked++
	if i.ackAll && i.unacked < max(1, min(DefaultBatch, i.o.InFlight/4)) &&
		(i.unacked%lookAtTime != 0 || time.Since(i.ackedAt) < ackAfter) {
		return nil
	}
	return i.acknowledge()
}

// acknowledge acknowledges what is due. A lost acknowledgement is no harm, so nobody waits for it.
func (i *In) acknowledge() error {
	if i.due == "" {
		return nil
	}
	reply := i.due
	i.due, i.unacked, i.ackedAt = "", 0, time.Now()
	return i.ack(reply)
}

// ack acknowledges a message, and with ackAll those before it.
func (i *In) ack(reply string) error {
	if err := i.nc.Publish(reply, []byte("+ACK")); err != nil && !canWait(err) {
		return &ServerError{Op: "acknowledge", Err: err}
	}
	return nil
}

// apply sends what a message of the stream has into the ring. io.EOF: it was the end, and that is
// what Run waits for.
func (i *In) apply(ctx context.Context, seq uint64, h nats.Header, data []byte) error {
	from, err := senderOf(h)
	if err != nil {
		return err
	}
	e, err := readEnd(from, h)
	if err != nil {
		return err
	}
	if e != nil {
		return i.end(ctx, seq, e)
	}
	if from != nil && from.First {
		return &WireError{HeaderSender, from.String()}
	}
	count, text := 1, get(h, HeaderPacked)
	if text != "" {
		if count, err = strconv.Atoi(text); err != nil || count < 1 || from == nil {
			return &WireError{HeaderPacked, text}
		}
	}
	var before shmring.Position
	whose, err := i.sourceOf(from)
	if err != nil {
		return err
	}
	for index := range count {
		var one entry
		if text == "" {
			one = entryOf(from, data)
		} else if one, data, err = unpack(data, before); err == nil {
			before = one.position
		}
		if err != nil {
			return err
		}
		if index < i.partial {
			continue
		}
		w := note{seq: seq, index: index, complete: index == count-1, what: noteMessage}
		if err := i.send(ctx, w, &whose, &one); err != nil {
			return err
		}
	}
	i.finished(seq)
	return nil
}

// finished notes that a sequence is done with.
func (i *In) finished(seq uint64) {
	i.last, i.partial = seq, 0
	i.counts.sequence.Store(seq)
}

// send sends one message, once. The ring is opened anew when it was removed.
func (i *In) send(ctx context.Context, w note, whose *source, e *entry) error {
	for {
		if err := i.attach(ctx); err != nil {
			return err
		}
		err := i.trySend(ctx, w, whose, e)
		switch {
		case err == nil:
			i.counts.messages.Add(1)
			i.counts.bytes.Add(uint64(len(e.data)))
			i.partial = w.index + 1
			return nil
		case !errors.Is(err, shmring.ErrOrphaned):
			return err
		}
		if err := i.detach(); err != nil {
			return err
		}
	}
}

func (i *In) trySend(ctx context.Context, w note, whose *source, e *entry) error {
	before := i.originLength(whose)
	c, err := i.ring.Claim(ctx, before+len(e.data))
	if err != nil {
		return err
	}
	defer c.Abort()
	if before == 0 {
		c.Copy(e.data)
	} else {
		b := c.Bytes()
		putOrigin(b[:before], whose, e)
		copy(b[before:], e.data)
	}
	c.SetKind(e.kind)
	w.position = c.Position().Record
	i.mark.begin(w)
	if err := c.Commit(); err != nil {
		i.mark.undo()
		return err
	}
	i.mark.done()
	return nil
}

// attach opens the ring, if it is not open, or our stream in it is over.
func (i *In) attach(ctx context.Context) (err error) {
	if i.ring != nil && i.ring.Ended() {
		if err := i.detach(); err != nil {
			return err
		}
	}
	if i.ring == nil {
		last, partial := i.last, i.partial
		i.ring, err = i.open(ctx)
		i.last, i.partial = last, partial // the mark may be of the one before
	}
	return err
}

func (i *In) detach() error {
	p := i.ring
	i.ring = nil
	return ignoreOrphaned(p.Close())
}

// end ends our stream as one of the other ring's has ended. Those that were ended are over for a
// consumer when all are.
func (i *In) end(ctx context.Context, seq uint64, e *end) error {
	w := note{seq: seq, complete: true, what: noteEnd}
	fate := e.Fate
	if e.all {
		fate = shmring.FateEnded
	} else if fate == shmring.FateEnded || fate == shmring.FateLeft {
		w.what = noteNothing
	}
	i.counts.ends.Add(1)
	if w.what == noteNothing {
		i.mark.begin(w)
		i.mark.done()
		i.finished(seq)
		return nil
	}
	for {
		err := i.attach(ctx)
		if err == nil {
			err = i.tryEnd(ctx, w, fate)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, shmring.ErrOrphaned) {
			return err
		}
		if err := i.detach(); err != nil {
			return err
		}
	}
	i.finished(seq)
	if e.all && i.o.UntilEnd {
		return io.EOF
	}
	return nil
}

// tryEnd ends our stream. On an MPSC ring it has a successor before that, unless all is over: else a
// consumer would get io.EOF behind a failure, because nobody is there who may send.
func (i *In) tryEnd(ctx context.Context, w note, fate shmring.Fate) (err error) {
	var next *shmring.Producer
	if i.ring.Info().Kind == shmring.KindMPSC && fate != shmring.FateEnded {
		if next, err = i.openRing(ctx); err != nil && !errors.Is(err, shmring.ErrBusy) { // no place for a successor
			return err
		}
	}
	i.mark.begin(w)
	if err = i.ring.EndSend(fate); err != nil {
		i.mark.undo()
		if next != nil {
			err = errors.Join(err, ignoreOrphaned(next.Close()))
		}
		return err
	}
	i.mark.done()
	if next == nil {
		return nil
	}
	if err := i.detach(); err != nil {
		return errors.Join(err, ignoreOrphaned(next.Close()))
	}
	i.ring = next
	events, _ := i.events(ctx, next) // without them more cannot be known, and nothing is known wrongly
	i.mark.attached(next.Info(), newestOf(events))
	return nil
}
