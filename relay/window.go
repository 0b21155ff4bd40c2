package relay

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/shmring/shmring"
)

// item is a message that was taken from the ring and is not known to be stored, or an end.
type item struct {
	m        shmring.Message
	end      *end
	position shmring.Position // of the message; of an end, of the last message before it
	nowhere  bool             // of an end: there is none before it
	bytes    int
}

// frame is a NATS message that was sent: the items from the one before it up to and with last.
type frame struct {
	seq   uint64
	items int
	at    time.Time // asked for an acknowledgement; zero: it was not
}

// window is what was taken and is not released: first what was sent, in frames, then the rest.
type window struct {
	all    []item // from head on
	head   int
	items  int // len(all) − head
	bytes  int
	sent   int // of items
	frames []frame
	begin  int // of frames
	// since the last that asked for an acknowledgement
	unasked, unaskedBytes int
	late                  shmring.Message // the newest that is stored; owes: it is not released yet
	owes                  bool
}

func (w *window) push(it item) {
	if w.head > 1024 && w.head > len(w.all)/2 {
		w.all, w.head = append(w.all[:0], w.all[w.head:]...), 0
	}
	w.all = append(w.all, it)
	w.items++
	w.bytes += it.bytes
}

// unsent are the items that were not sent.
func (w *window) unsent() []item { return w.all[w.head+w.sent:] }

// insert puts an item before those that were not sent.
func (w *window) insert(it item) {
	w.all = slices.Insert(w.all, w.head+w.sent, it)
	w.items++
}

// pop forgets the first n items, and returns the last of them that is a message, if there is one.
func (w *window) pop(n int) (last *item) {
	for i := w.head; i < w.head+n; i++ {
		if w.all[i].end == nil {
			last = &w.all[i]
		}
		w.bytes -= w.all[i].bytes
	}
	w.head, w.items, w.sent = w.head+n, w.items-n, max(0, w.sent-n)
	return last
}

// resend makes everything that is left be sent again.
func (w *window) resend() {
	w.sent, w.frames, w.begin, w.unasked, w.unaskedBytes = 0, w.frames[:0], 0, 0, 0
}

// isLate tells whether an acknowledgement has not come for so long.
func (w *window) isLate(limit time.Duration) bool {
	for _, f := range w.frames[w.begin:] {
		if !f.at.IsZero() {
			return time.Since(f.at) >= limit
		}
	}
	return false
}

// publish sends what was taken. Without flush it keeps back what would be the last NATS message: that
// one asks for an acknowledgement, if nothing comes behind it.
func (o *Out) publish(work context.Context, flush bool) error {
	w := &o.window
	for {
		n := o.next(flush)
		if n == 0 {
			return nil
		}
		rest := w.unsent()
		err := o.send(rest[:n], n == len(rest) || o.alone)
		if tooLong, ok := errors.AsType[*PayloadError](err); ok {
			err = o.refuse(work, tooLong)
		} else if err != nil {
			if err = o.wait.trouble(work, "publish to "+o.o.Subject, err); err == nil {
				err = o.ask(work)
			}
		} else if o.alone {
			err = o.awaitSent(work)
		}
		if err != nil {
			return err
		}
	}
}

// next is how many of the items go into the next NATS message, as far as they are there: as many as were noted, or as
// fit.
func (o *Out) next(flush bool) int {
	if len(o.noted) > 0 {
		if n, ok := o.again(); ok {
			return n
		}
		o.forget()
	}
	rest := o.window.unsent()
	n := o.fits(rest)
	if !flush && n == len(rest) {
		return 0
	}
	return n
}

// again is how many items the first of what was noted has, 0 while its last is not there. An end is not in the ring:
// it is made anew. Not ok: the ring does not have it any more; somebody else has taken it.
func (o *Out) again() (n int, ok bool) {
	l, rest := &o.noted[0], o.window.unsent()
	if l.end != nil {
		if len(rest) == 0 || rest[0].end == nil || !rest[0].end.is(l.end) {
			o.window.insert(item{end: l.end, position: l.position, nowhere: l.nowhere})
		}
		if !l.end.all {
			o.ends[l.end.Producer] = l.end.Epoch
		}
		return 1, true
	}
	for i := range rest {
		if order := rest[i].position.Compare(l.position); rest[i].end != nil || order >= 0 {
			return i + 1, rest[i].end == nil && order == 0
		}
	}
	return 0, true
}

// forget gives up what was noted and is not sent again yet. It may be on its way.
func (o *Out) forget() {
	if len(o.noted) > 0 {
		o.chain.cut(o.noted[0].seq)
		o.noted, o.alone = nil, true
	}
}

// refuse returns an error about the first message that was not sent, when all before it is stored. Without
// one, that has to be sent again first, so that it says when it is.
func (o *Out) refuse(work context.Context, tooLong *PayloadError) error {
	if o.window.unasked > 0 { // the last that was sent has not asked
		o.careful = true
		return o.ask(work)
	}
	if err := o.awaitSent(work); err != nil {
		return err
	}
	if o.window.unsent()[0].position != tooLong.Position {
		return nil // what is before it has to be sent again
	}
	return tooLong
}

// awaitSent waits until what was sent is stored, or has to be sent again. The last of it has asked.
func (o *Out) awaitSent(work context.Context) error {
	for o.window.sent > 0 {
		if err := o.awaitAck(work); err != nil {
			return err
		}
	}
	return nil
}

// fits is how many of the items go into one NATS message.
func (o *Out) fits(rest []item) (n int) {
	if len(rest) == 0 || rest[0].end != nil || !o.o.Pack {
		return min(1, len(rest))
	}
	size := 0
	for n < len(rest) && rest[n].end == nil {
		size += rest[n].bytes + mostOverhead
		if n > 0 && size > o.o.PackBytes {
			break
		}
		n++
	}
	return n
}

// send publishes items as one NATS message. ask: for an acknowledgement.
func (o *Out) send(items []item, ask bool) error {
	w := &o.window
	l := o.linkOf(items)
	m, size := o.message(items, l.packed)
	if limit := o.nc.MaxPayload(); limit > 0 && int64(size) > limit {
		return &PayloadError{o.name, items[0].position, size, int(limit)}
	}
	seq := l.seq
	m.Header[nats.ExpectedLastSeqHdr] = []string{strconv.FormatUint(seq-1, 10)}
	if len(o.noted) > 0 {
		o.noted = o.noted[1:]
	} else {
		o.chain.add(&l) // before anything of it can reach the server
	}
	f := frame{seq: seq, items: len(items)}
	w.unasked++
	w.unaskedBytes += size
	if ask || o.careful || w.unasked >= o.o.Batch || w.unaskedBytes >= o.o.BatchBytes {
		m.Reply = o.inbox + "." + strconv.FormatUint(o.gen, 10) + "." + strconv.FormatUint(seq, 10)
		f.at = time.Now()
	}
	if err := o.nc.PublishMsg(m); err != nil {
		return err
	}
	if !f.at.IsZero() {
		w.unasked, w.unaskedBytes = 0, 0
	}
	w.frames = append(w.frames, f)
	w.sent += len(items)
	return nil
}

// linkOf is what the next message is: the first of what was noted, or a new one of those items.
func (o *Out) linkOf(items []item) link {
	if len(o.noted) > 0 {
		return o.noted[0]
	}
	last := &items[len(items)-1]
	return link{seq: o.last.seq + uint64(len(o.window.frames)-o.window.begin) + 1, position: last.position,
		nowhere: last.nowhere, packed: o.o.Pack && last.end == nil, end: last.end}
}

// message makes the NATS message of some items. size is what the server counts.
func (o *Out) message(items []item, packed bool) (m *nats.Msg, size int) {
	last := &items[len(items)-1]
	h := nats.Header{}
	m = &nats.Msg{Subject: o.o.Subject, Header: h}
	from := Sender{Ring: o.id, First: last.nowhere, Position: last.position, Origin: o.o.Origin}
	switch {
	case last.end != nil:
		e := last.end
		m.Subject = o.endSubject(e)
		h[HeaderEnd] = []string{e.word()}
		if !e.all {
			from.Producer = e.Producer
			h[HeaderEpoch] = []string{strconv.Itoa(int(e.Epoch))}
			h[HeaderPID], h[HeaderStreams] = []string{strconv.Itoa(e.PID)}, []string{strconv.Itoa(e.Streams)}
		}
	case packed:
		h[HeaderPacked] = []string{strconv.Itoa(len(items))}
		var before shmring.Position
		for i := range items {
			e := items[i].entry()
			m.Data = pack(m.Data, &e, before)
			before = e.position
		}
	default:
		m.Data = last.m.Bytes() // copied before PublishMsg returns
		from.Producer, from.Kind, from.Redelivered = last.m.Producer(), last.m.Kind(), last.m.Redelivered()
	}
	h[HeaderSender] = []string{from.String()}
	if o.o.MessageIDs && last.end == nil {
		h[nats.MsgIdHdr] = []string{o.id + "." + last.position.String()}
	}
	size = len(m.Data) + len("NATS/1.0\r\n\r\n") + len(nats.ExpectedLastSeqHdr) + 20 + len(": \r\n")
	for name, v := range h {
		size += len(name) + len(v[0]) + len(": \r\n")
	}
	return m, size
}

func (it *item) entry() entry {
	return entry{it.position, it.m.Kind(), it.m.Producer(), it.m.Redelivered(), it.m.Bytes()}
}

func (o *Out) endSubject(e *end) string {
	if e.all {
		return o.o.Subject + ".end.all"
	}
	return o.o.Subject + ".end." + strconv.Itoa(e.Producer)
}

// takeAcks handles the acknowledgements that are there.
func (o *Out) takeAcks(work context.Context) error {
	for {
		select {
		case a := <-o.acks:
			if err := o.handle(work, a); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// handle handles one acknowledgement. That a message is stored under the sequence that it had to have
// says the same of all before it.
func (o *Out) handle(work context.Context, a ack) error {
	w := &o.window
	if a.err == errReset {
		return o.ask(work)
	}
	if a.gen != o.gen || len(w.frames) == w.begin || a.seq < w.frames[w.begin].seq {
		return nil // of what has been settled
	}
	if a.err != nil {
		// A message before it was lost on its way or refused, or somebody has written. What the stream has
		// tells which. Why one was refused that did not ask is not known: from now on all ask.
		first := !o.careful && isWrongLast(a.err)
		o.careful = true
		if !first && !errors.Is(a.err, errOtherSequence) {
			if isWrongLast(a.err) && a.seq > w.frames[w.begin].seq {
				a.err = errUnanswered // of the one before it, which asked as well
			}
			if err := o.wait.trouble(work, "store in "+o.o.Stream, a.err); err != nil {
				return err
			}
		}
		return o.ask(work)
	}
	n := 0
	for w.begin < len(w.frames) && w.frames[w.begin].seq <= a.seq {
		n += w.frames[w.begin].items
		w.begin++
		o.counts.stored.Add(1)
	}
	if w.begin > 1024 && w.begin > len(w.frames)/2 {
		w.frames, w.begin = append(w.frames[:0], w.frames[w.begin:]...), 0
	}
	o.careful = false
	o.stored(n, a.seq)
	return nil
}

// stored notes that the first n items are stored, the last of them as seq, and releases them.
func (o *Out) stored(n int, seq uint64) {
	w := &o.window
	if n == 0 {
		return
	}
	o.wait.well()
	items := w.all[w.head : w.head+n]
	newest := &items[n-1]
	for i := range items {
		if items[i].end == nil {
			o.counts.messages.Add(1)
			o.counts.bytes.Add(uint64(items[i].bytes))
		}
	}
	o.alone = false
	o.last = stored{seq: seq, ring: o.id, position: newest.position, hasPosition: !newest.nowhere}
	if newest.end != nil {
		o.last.end = newest.end.word()
	}
	o.counts.sequence.Store(seq)
	if m := w.pop(n); m != nil {
		w.late, w.owes = m.m, true
	}
	o.releaseLate()
}

// releaseLate releases what is stored. Inside of the callback of an end that has to wait.
func (o *Out) releaseLate() {
	if w := &o.window; w.owes && !o.telling {
		w.late.Release()
		w.owes = false
	}
}
