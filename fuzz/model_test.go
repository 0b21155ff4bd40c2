package fuzz

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

func FuzzModel(f *testing.F) {
	seeds(f, 200, 300)
	f.Fuzz(model)
}

func TestModelRandom(t *testing.T) { random(t, 600, model) }

// model runs an honest script over a ring and its twin.
func model(t *testing.T, data []byte) {
	w := newWorld(t, &script{data})
	for w.s.more() {
		w.step()
		w.verify()
	}
	w.finish()
}

// world is a ring, its twin, and everybody who uses it.
type world struct {
	twin
	history
	t     *testing.T
	s     *script
	v     *layout.View
	locks lockTable
	data  *bell
	space *bell

	producers []*producer // live ones
	consumer  *consumer   // nil: none
	sent      uint32
	stopped   context.Context // whose calls do not wait
	skips     []ring.SkippedClaim

	heard []ring.StreamEnd // by the call that is under way
	since int              // streams that had ended, of those told since io.EOF
	told  []telling        // what the segment does not say yet
	early bool             // it spoke before it had passed all that the twin has
}

type producer struct {
	*ring.Producer
	locks  *locks
	index  int
	epoch  uint32
	ended  bool
	claims []*claim // open ones
}

// telling is what the consumer was told of a producer, or io.EOF (0).
type telling struct {
	producer, epoch int
	pos             uint64
	since           int  // before
	back            bool // the user has come back from it
}

type claim struct {
	ring.Claim
	rec *record // SPSC: not among the records before Commit
}

type consumer struct {
	*ring.Consumer
	locks *locks
	msgs  []ring.Message // those of Next
	which []*delivery
	// viewing: nothing has come between the last message of the View and now.
	viewing bool
}

// endedForSleepers is a context that ends calls that would sleep, and no others: it is never
// done, and has an error.
type endedForSleepers struct{ context.Context }

func (endedForSleepers) Err() error { return context.Canceled }

func newWorld(t *testing.T, s *script) *world {
	w := &world{t: t, s: s, data: &bell{}, space: &bell{}}
	w.stopped = endedForSleepers{context.Background()}
	cfg := layout.Config{
		Kind: pick(s, layout.SPSC, layout.MPSC, layout.MPSC), Slots: pick(s, 8, 8, 16, 64),
		SlotSize: pick(s, 0, 64, 128), Participants: 2, Doorbell: layout.Futex,
	}
	if cfg.Kind == layout.MPSC {
		cfg.Participants += s.below(4)
	}
	cfg.MaxMessage = pick(s, cfg.Capacity(), cfg.Capacity()/2, 100, 0)
	cfg.MaxMessage = min(cfg.MaxMessage, cfg.Capacity())
	var stale bool
	cfg.Start, stale = start(s, uint64(cfg.Slots))
	w.align = layout.RecordAlign
	if cfg.Kind == layout.SPSC {
		cfg.Start &^= layout.RecordAlign - 1
	}
	w.cfg = cfg
	size, err := cfg.Size()
	if err != nil {
		t.Fatal(err)
	}
	if w.v, err = layout.Format(memory(t, int(size)), cfg); err != nil {
		t.Fatal(err)
	}
	w.note("%+v, stale words: %v", cfg, stale)
	if stale || cfg.Start != 0 && s.coin() { // else the slots were never written
		past(w.v, stale)
	}
	w.tail, w.read, w.slots = cfg.Start, cfg.Start, make([]slot, cfg.Participants)
	w.slots[layout.ConsumerIndex].drain = cfg.Start
	w.heeded = w.heed
	w.restart()
	return w
}

// start is a first position: 0, or shortly before one at which something wraps. stale
// says that it begins a lap in which claims renew the words of their inner slots.
func start(s *script, slots uint64) (pos uint64, stale bool) {
	edge := pick[uint64](s, 0, 0,
		1<<32, 1<<44, // the position in Tail
		1<<42*slots-slots, 1<<42*slots, // the lap in a control word is 0; is 1 again
		1<<63, 0, // a position; 0 stands for 2^64
		1<<41*slots-slots, 1<<32*slots*7-slots)
	before := uint64(s.byte())
	switch {
	case edge == 1<<41*slots-slots || edge == 1<<32*slots*7-slots:
		return edge, true
	case edge == 0 && before&1 == 0:
		return 0, false
	}
	return edge - before%(3*slots), false
}

// past writes what would be in the descriptors if the ring had come to its position
// by itself: words of the lap before, or, where stale, words 2^42 laps old that look
// like committed messages of the laps to come.
func past(v *layout.View, stale bool) {
	c := v.Config
	if c.Kind == layout.SPSC {
		// Only the word at the position itself is 0.
		for at := 0; at < len(v.Area); at += 8 {
			binary.NativeEndian.PutUint64(v.Area[at:], uint64(layout.PackRecord(uint32(at), 5, layout.RecordAlign)))
		}
		binary.NativeEndian.PutUint64(v.Area[c.Start%uint64(len(v.Area)):], 0)
		return
	}
	for i := range uint64(c.Slots) {
		pos := c.Start + i
		d := &v.Descriptors[pos%uint64(c.Slots)]
		if stale {
			lap := layout.LapOf(pos+(1+i%3)*uint64(c.Slots), c.Shift())
			d.Ctl.Store(layout.PackCtl(lap, 1, 1, layout.Committed))
		} else {
			d.Ctl.Store(layout.PackCtl(layout.LapOf(pos-uint64(c.Slots), c.Shift()), 1, 1, layout.Discarded))
		}
	}
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("%s\nthe script up to here:\n%s", fmt.Sprintf(format, args...), &w.history)
}

func (w *world) config(l *locks) ring.Config {
	return ring.Config{Locks: l, DataBell: w.data, SpaceBell: w.space,
		OnSkip: func(k ring.SkippedClaim) { w.skips = append(w.skips, k) }, OnStreamEnd: w.hear}
}

// step does one thing. Sends and receives are as likely as all else together.
func (w *world) step() {
	switch op := w.s.below(32); {
	case len(w.producers) == 0 && op < 16:
		w.attachProducer()
	case w.consumer == nil && op >= 16:
		w.attachConsumer()
	case op < 14:
		w.send(w.producers[w.s.below(len(w.producers))], op)
	case op == 14:
		w.attachProducer()
	case op == 15:
		w.dropProducer()
	case op < 28:
		w.receive(op)
	case op == 28:
		w.check()
	case op == 29:
		w.dropConsumer()
	case op == 30:
		w.attachConsumer()
	case op == 31:
		w.announce()
	}
}

// payload makes a message that occurs once.
func (w *world) payload(n int) []byte {
	w.sent++
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(w.sent>>(i%4*8)) + byte(i/4)
	}
	return b
}

// size is the length of a message, at times one that is too long.
func (w *world) size() int {
	S, m := max(w.cfg.SlotSize, 48), w.cfg.MaxMessage
	switch w.s.below(8) {
	case 0:
		return m + w.s.below(2)
	case 1:
		return min(m, pick(w.s, 47, 48, 49, S-1, S, S+1, 2*S, 2*S+1))
	case 2, 3:
		return w.s.below(m + 1)
	}
	return w.s.below(min(m, 2*S) + 1)
}

// wrong is the error of a message that cannot be sent at all.
func (p *producer) wrong(n, most int, err error) (bool, bool) {
	var se *ring.SizeError
	switch {
	case n > most:
		return true, errors.As(err, &se) && errors.Is(err, ring.ErrTooLarge) && se.Size == n && se.Max == most
	case p.ended:
		return true, err == ring.ErrEnded
	}
	return false, true
}

func (w *world) send(p *producer, op int) {
	own := !w.shared() && len(p.claims) > 0 // an SPSC producer may only finish its claim
	switch {
	case own || len(p.claims) > 0 && op < 5:
		i := w.s.below(len(p.claims))
		c := p.claims[i]
		p.claims = slices.Delete(p.claims, i, i+1)
		w.finishClaim(p, c)
	case op < 5:
		w.sendOne(p)
	case op < 9:
		w.claim(p)
	case op < 11:
		w.sendBatch(p)
	case op < 12:
		w.buildBatch(p)
	case op == 12 && w.s.below(4) == 0:
		w.end(p)
	default:
		w.sendOne(p)
	}
}

func (w *world) sendOne(p *producer) {
	n, kind := w.size(), uint16(w.s.byte())
	data := w.payload(n)
	err := p.TrySendKind(data, kind)
	w.note("producer %d sends %d bytes: %v", p.index, n, err)
	if bad, right := p.wrong(n, w.cfg.MaxMessage, err); bad {
		if !right {
			w.fail("refused with %v", err)
		}
		return
	}
	if w.claimed(p, n, err) {
		w.add(&record{slots: w.need(n), owner: p.index, epoch: p.epoch, state: layout.Committed, msgs: []message{{data,
			kind}}})
		w.rung("a message was published")
	}
}

// claimed compares ErrFull or success with what the twin says of n bytes.
func (w *world) claimed(p *producer, n int, err error) bool {
	padded, ok := w.room(n, p.index)
	if ok && err != nil || !ok && err != ring.ErrFull {
		w.fail("%d slots at %d, ReadPos %d: error %v, but room: %v", w.need(n), w.tail, w.read, err, ok)
	}
	if padded && !ok {
		w.rung("padding was published, behind which the producer waits")
	}
	return ok
}

func (w *world) claim(p *producer) {
	n := w.size()
	c := &claim{}
	var err error
	c.Claim, err = p.TryClaim(n)
	w.note("producer %d claims %d bytes: %v", p.index, n, err)
	if bad, right := p.wrong(n, w.cfg.MaxMessage, err); bad {
		if !right {
			w.fail("refused with %v", err)
		}
		return
	}
	if !w.claimed(p, n, err) {
		return
	}
	if len(c.Bytes()) != n {
		w.fail("claim of %d bytes has %d", n, len(c.Bytes()))
	}
	c.rec = &record{slots: w.need(n), owner: p.index, epoch: p.epoch, state: layout.Claimed}
	if w.shared() {
		w.add(c.rec)
	}
	p.claims = append(p.claims, c)
}

func (w *world) finishClaim(p *producer, c *claim) {
	n := len(c.Bytes())
	switch w.s.below(4) {
	case 0:
		c.Abort()
		w.note("producer %d aborts %d bytes", p.index, n)
		if w.shared() {
			c.rec.state = layout.Discarded
			w.rung("a claim was aborted")
		}
		return
	case 1:
		data := w.payload(n)
		copy(c.Bytes(), data)
		n = w.s.below(n + 1)
		c.Shorten(n)
		c.rec.msgs = []message{{data: data[:n]}}
	default:
		c.rec.msgs = []message{{data: w.payload(n), kind: 7}}
		c.SetKind(7)
		copy(c.Bytes(), c.rec.msgs[0].data)
	}
	err := c.Commit()
	w.note("producer %d commits %d bytes at %d: %v", p.index, n, c.rec.start, err)
	if err != nil {
		w.fail("commit: %v", err)
	}
	if !w.shared() {
		c.rec.slots = w.need(n)
		w.add(c.rec)
	}
	c.rec.state = layout.Committed
	w.rung("a claim was committed")
	c.Abort() // has no effect, nor has
	if err := c.Commit(); err != nil {
		w.fail("second commit: %v", err)
	}
}

// sendBatch reads from the descriptors how the batch was packed, which is the
// producer's business, and checks that it is in there and that not more would fit.
func (w *world) sendBatch(p *producer) {
	batch := make([][]byte, w.s.below(12))
	for i := range batch {
		batch[i] = w.payload(w.size() / pick(w.s, 1, 2, 8))
	}
	n, err := p.TrySendBatch(batch)
	w.note("producer %d sends a batch of %d: %d, %v", p.index, len(batch), n, err)
	before := w.tail
	for sent := 0; sent < n; {
		r, ok := w.found(p)
		if !ok || sent+len(r.msgs) > n {
			w.fail("message %d of %d that were sent is not in the ring at %d", sent, n, w.tail)
		}
		for _, m := range r.msgs {
			if !bytes.Equal(m.data, batch[sent]) {
				w.fail("message %d of the batch is not what is in the ring at %d", sent, w.tail)
			}
			sent++
		}
		w.add(r)
	}
	if w.tail != before {
		w.rung("a batch was published")
	}
	if n == len(batch) {
		if err != nil {
			w.fail("all sent, and %v", err)
		}
		return
	}
	if bad, right := p.wrong(len(batch[n]), w.cfg.MaxMessage, err); bad {
		if !right {
			w.fail("refused with %v", err)
		}
		return
	}
	// Attempts with more messages than fit may have left padding.
	if r, ok := w.found(p); ok {
		if r.state != layout.Discarded {
			w.fail("%d messages reported, more are in the ring at %d", n, w.tail)
		}
		w.add(r)
		w.heed()
	}
	if w.claimed(p, len(batch[n]), err) {
		w.fail("message %d of the batch would have fitted", n)
	}
}

// buildBatch writes a batch in place.
func (w *world) buildBatch(p *producer) {
	size := 0
	msgs := make([][]byte, w.s.below(12))
	for i := range msgs {
		msgs[i] = w.payload(min(w.cfg.MaxMessage, w.size()/pick(w.s, 1, 2, 8)))
		if w.s.below(4) > 0 {
			size += layout.EntryHeader + (len(msgs[i])+7)&^7
		}
	}
	size = max(layout.EntryHeader, size+w.s.below(20))
	b, err := p.TryClaimBatch(size)
	w.note("producer %d claims a batch of %d bytes: %v", p.index, size, err)
	n := size
	if !w.shared() {
		n -= layout.RecordHeader
	}
	if bad, right := p.wrong(size, p.MaxBatch(), err); bad {
		if !right {
			w.fail("refused with %v", err)
		}
		return
	}
	if !w.claimed(p, n, err) {
		return
	}
	rec := &record{slots: w.need(n), owner: p.index, epoch: p.epoch, state: layout.Claimed, batch: true}
	if w.shared() {
		w.add(rec)
	}
	put := w.append(&b, msgs, size)
	if w.s.below(4) == 0 {
		put = nil
		b.Abort()
	}
	err = b.Commit()
	w.note("producer %d commits a batch of %d: %v", p.index, len(put), err)
	if err != nil {
		w.fail("commit: %v", err)
	}
	b.Abort() // has no effect
	w.batchEnded(p, rec, put)
}

// append writes messages to a batch that has so much room, as far as there is some.
func (w *world) append(b *ring.Batch, msgs [][]byte, size int) (put []message) {
	for _, m := range msgs {
		entry := layout.EntryHeader + (len(m)+7)&^7
		room, fits := b.Append(len(m)), entry <= size
		if (room != nil) != fits {
			w.fail("Append of %d bytes to %d that are left: %v", len(m), size, room != nil)
		}
		if !fits {
			break
		}
		copy(room, m)
		size -= entry
		put = append(put, message{data: m})
	}
	if b.Room() != size {
		w.fail("%d bytes are left, want %d", b.Room(), size)
	}
	return put
}

// batchEnded notes what became of a batch whose claim was rec.
func (w *world) batchEnded(p *producer, rec *record, put []message) {
	switch {
	case w.shared() && put == nil:
		rec.state, rec.batch = layout.Discarded, false
	case w.shared():
		rec.msgs, rec.state = put, layout.Committed
	default:
		for i, m := range put {
			r, ok := w.found(p)
			if !ok || !bytes.Equal(r.msgs[0].data, m.data) {
				w.fail("message %d of the batch is not in the ring at %d", i, w.tail)
			}
			w.add(r)
		}
	}
	if put != nil || w.shared() {
		w.rung("a batch was finished")
	}
}

// found is the record that producer p has put at tail, as the format says it.
func (w *world) found(p *producer) (*record, bool) {
	if !w.shared() {
		return w.foundInLine(p)
	}
	d := &w.v.Descriptors[w.tail%w.ring()]
	c := d.Ctl.Load()
	if c.Lap() != layout.LapOf(w.tail, w.cfg.Shift()) || c.State() < layout.Committed || int(c.Owner()) != p.index {
		return nil, false
	}
	if w.shared() && w.v.Hot.Tail.Load().Pos(w.read) == w.tail {
		return nil, false
	}
	r := &record{slots: c.Slots(), owner: p.index, epoch: p.epoch, state: c.State()}
	if left := w.ring() - w.tail%w.ring(); r.slots == 0 || r.slots > left || r.state == layout.Discarded &&
		r.slots != left {
		w.fail("record of %d slots at %d", r.slots, w.tail)
	}
	if r.state == layout.Discarded {
		return r, true
	}
	length, kind, flags := layout.UnpackMeta(d.Meta)
	data := slices.Clone(w.bytes(w.tail, int(length)))
	if flags&layout.FlagBatch == 0 {
		r.msgs = []message{{data, kind}}
		return r, true
	}
	r.batch = true
	for len(data) > 0 {
		length, kind, _ := layout.UnpackMeta(binary.NativeEndian.Uint64(data))
		data = data[layout.EntryHeader:]
		r.msgs = append(r.msgs, message{data[:length], kind})
		data = data[(length+7)&^7:]
	}
	return r, true
}

// word is the word of an SPSC ring at a position.
func (w *world) word(pos uint64) layout.Record {
	return layout.Record(binary.NativeEndian.Uint64(w.v.Area[pos%w.ring():]))
}

func (w *world) foundInLine(p *producer) (*record, bool) {
	word := w.word(w.tail)
	if word == 0 {
		return nil, false
	}
	r := &record{slots: word.Next(w.tail) - w.tail, owner: p.index, epoch: p.epoch, state: layout.Committed}
	if left := w.ring() - w.tail%w.ring(); !word.IsSound() || r.slots > left {
		w.fail("record of %d bytes, %#x, at %d", r.slots, uint64(word), w.tail)
	}
	if word&layout.RecordSkip != 0 {
		r.state = layout.Discarded
		return r, true
	}
	at := w.tail%w.ring() + layout.RecordHeader
	r.msgs = []message{{slices.Clone(w.v.Area[at:][:word.Length()]), word.Kind()}}
	return r, true
}

func (w *world) bytes(pos uint64, n int) []byte {
	if n <= layout.InlineSize {
		return w.v.Descriptors[pos%w.ring()].Inline[:n]
	}
	return w.v.Payload[pos%w.ring()*uint64(w.cfg.SlotSize):][:n]
}

func (w *world) end(p *producer) {
	kind, end := layout.FateEnded, p.CloseSend
	if w.s.coin() {
		kind, end = layout.FateFailed, p.FailSend
	}
	err := end()
	w.note("producer %d ends its stream, fate %d: %v", p.index, kind, err)
	if err != nil {
		w.fail("end of the stream: %v", err)
	}
	if !p.ended {
		p.ended = true
		w.slots[p.index].state = layout.Ended
		w.over(p.index, kind)
		w.rung("the stream ended")
	}
}

func (w *world) attachProducer() {
	l := w.locks.process()
	p, err := ring.NewProducer(w.v, w.config(l))
	index, draining, tookOver := w.attach()
	w.note("producer attaches: %v", err)
	if index == 0 {
		busy, ok := err.(*ring.BusyError)
		if !ok || !errors.Is(err, ring.ErrBusy) || busy.Draining != draining {
			w.fail("attached, or not with the right error: %v", err)
		}
		return
	}
	want := ring.Attachment{Index: index, Epoch: w.slots[index].epoch, TookOver: tookOver}
	if err != nil || p.Attachment() != want {
		w.fail("attached %+v, %v, want %+v", p.Attachment(), err, want)
	}
	w.producers = append(w.producers, &producer{Producer: p, locks: l, index: index, epoch: want.Epoch})
	w.heeded()
}

// dropProducer kills a producer, or closes it.
func (w *world) dropProducer() {
	i, clean := w.s.below(len(w.producers)), w.s.coin()
	p := w.producers[i]
	w.producers = slices.Delete(w.producers, i, i+1)
	kind := pick(w.s, layout.FateEnded, layout.FateLeft, layout.FateFailed)
	w.note("producer %d goes, cleanly: %v, fate %d", p.index, clean, kind)
	if clean {
		w.closed(p)
		ring.Detach(w.v, p.Attachment(), kind, ring.Config{DataBell: w.data})
		if !p.ended {
			w.rung("the stream ended with its producer")
		}
	}
	p.locks.kill()
	w.gone(p.index, clean, kind)
}

// hear is what the consumer calls for each stream that is over: each once, in the order in
// which they were, of several producers in the order of their positions, and none before
// all messages of the stream.
func (w *world) hear(e ring.StreamEnd) {
	w.note("told %+v", e)
	w.sync()
	due := w.due(true)
	if due != e.Producer {
		w.fail("told of producer %d, want %d", e.Producer, due)
	}
	s := &w.slots[due]
	first := s.told
	want := s.fates[first]
	last := first // of those that are kept together
	for last+1 < len(s.fates) && s.fates[last+1].place == want.place {
		last++
	}
	s.told++
	for last-first >= layout.FatesTogether && last-s.told >= layout.FatesTogether {
		s.told++
	}
	if last-first >= layout.FatesTogether {
		for _, f := range s.fates[:s.told] {
			if f.place == want.place {
				want.kind = max(want.kind, f.kind)
			}
		}
	}
	if e.Fate != want.kind || e.Position != want.pos || int(e.Epoch) != s.told || e.Streams != s.told-first {
		w.fail("told %+v, want %+v of streams %d to %d", e, want, first+1, s.told)
	}
	w.told = append(w.told, telling{due, s.told, want.pos, w.since, false})
	if e.Fate == layout.FateEnded || e.Fate == layout.FateFailed {
		w.since += e.Streams
	}
	w.heard = append(w.heard, e)
}

// settle is what the consumer does first with what it has told.
func (w *world) settle() {
	for i := range w.told {
		w.told[i].back = true
	}
}

// noted says what of it the segment says by now.
func (w *world) noted() {
	for len(w.told) > 0 && w.told[0].back && int64(w.read-w.told[0].pos) >= 0 {
		if t := w.told[0]; t.producer != 0 {
			w.slots[t.producer].noted = t.epoch
		}
		w.told = w.told[1:]
	}
}

// forget takes back what the segment does not say: the next consumer says it again.
func (w *world) forget() {
	for i := range w.slots {
		w.slots[i].told = w.slots[i].noted
	}
	if len(w.told) > 0 {
		w.since = w.told[0].since
	}
	w.told = nil
}

// sync looks whom the consumer has found dead. What it has noted before, which verify
// compares, decides whether there was a place for the fate.
func (w *world) sync() {
	for i := 1; i < len(w.slots); i++ {
		if told := int(w.v.Participants[i].Told.Load()); told <= w.slots[i].told {
			w.slots[i].noted = max(w.slots[i].noted, told)
		}
		if w.slots[i].state.Attached() && !w.v.Participants[i].State.Load().Attached() && !w.dead(i) {
			w.fail("producer %d was retired alive", i)
		}
	}
	for _, r := range w.recs[w.cursor:] {
		if !w.shared() {
			break
		}
		got := w.v.Descriptors[r.start%w.ring()].Ctl.Load()
		if r.state == layout.Claimed && r.orphan && got.Lap() == layout.LapOf(r.start, w.cfg.Shift()) &&
			got.State() == layout.Discarded {
			r.state = layout.Discarded
			w.skipped++
		}
	}
}

// news checks what a call of the consumer has said about streams: err is one of theirs, or
// want, and then nothing more had to be said before. It tells whether err was one.
func (w *world) news(err error, want outcome) bool {
	w.t.Helper()
	w.sync()
	heard := w.heard
	w.heard = nil
	if err == nil && want == gotMessage || err == ring.ErrEmpty {
		w.early = false
	}
	said, isStream := err.(*ring.StreamError)
	enough := w.since > 0
	switch {
	case isStream:
		if len(heard) == 0 || said.StreamEnd != heard[len(heard)-1] || said.Fate < layout.FateFailed {
			w.fail("%v, told last: %+v", err, heard)
		}
	case err == io.EOF:
		if !w.shared() {
			if len(heard) == 0 || heard[len(heard)-1].Fate != layout.FateEnded {
				w.fail("io.EOF, told last: %+v", heard)
			}
			w.since = 0
		} else {
			if !enough || !w.quiet() || w.due(false) != 0 {
				w.fail("io.EOF: %d streams ended, quiet: %v", w.since, w.quiet())
			}
			for i := range w.told { // what was not said by the error is done with
				w.told[i].back = true
			}
			w.told = append(w.told, telling{pos: w.tail, since: w.since})
			w.since = 0
		}
	default:
		if want == gotEmpty && w.ahead() == nil && !w.early {
			if due := w.due(false); due != 0 {
				w.fail("the fate of a stream of producer %d is not told", due)
			}
			if w.shared() && enough && w.quiet() {
				w.fail("io.EOF is not said")
			}
		}
		for i := range w.told {
			w.told[i].back = true
		}
		if err == nil && want == gotMessage {
			r := w.recs[w.cursor]
			if s := &w.slots[r.owner]; s.told < int(r.epoch)-1 && int64(r.start-s.fates[s.told].pos) >= 0 {
				w.fail("a message of stream %d of producer %d before the fate of stream %d", r.epoch, r.owner, s.told+1)
			}
		}
		return false
	}
	if (isStream || !w.shared()) && len(w.told) > 1 {
		for i := range w.told[:len(w.told)-1] {
			w.told[i].back = true
		}
	}
	return true
}

func (w *world) closed(p *producer) {
	if !p.Close() || p.Close() {
		w.fail("only the first Halt reports true")
	}
	if err := p.TrySend(nil); err != ring.ErrClosed && !p.ended {
		w.fail("send after Halt: %v", err)
	}
	for _, c := range p.claims {
		if err := c.Commit(); err != ring.ErrClosed {
			w.fail("commit after Halt: %v", err)
		}
	}
}

func (w *world) attachConsumer() {
	l := w.locks.process()
	c, err := ring.NewConsumer(w.v, w.config(l))
	w.note("consumer attaches: %v", err)
	s := &w.slots[layout.ConsumerIndex]
	if w.consumer != nil {
		if !errors.Is(err, ring.ErrBusy) {
			w.fail("a second consumer: %v", err)
		}
		return
	}
	want := ring.Attachment{Epoch: s.epoch + 1, TookOver: s.state == layout.Used}
	if err != nil || c.Attachment() != want {
		w.fail("attached %+v, %v, want %+v", c.Attachment(), err, want)
	}
	s.epoch, s.state, s.live = want.Epoch, layout.Used, true
	w.skipped, w.deaths, w.skips = 0, 0, nil
	w.early = false
	w.restart()
	w.consumer = &consumer{Consumer: c, locks: l}
}

func (w *world) dropConsumer() {
	if w.consumer == nil {
		return
	}
	clean := w.s.coin()
	w.note("consumer goes, cleanly: %v", clean)
	s := &w.slots[layout.ConsumerIndex]
	if clean {
		if n := len(w.out); !w.consumer.viewing || n == 0 {
			w.comeBack()
		} else if n > 1 {
			w.handle(w.out[n-2]) // the last one of the View may be in work
		}
		w.settle()
		if !w.consumer.Close() {
			w.fail("Halt reports false")
		}
		w.released(true)
		at := w.tail
		if w.cursor < len(w.recs) {
			if at = w.recs[w.cursor].start; w.consumer.viewing {
				at = w.recs[w.cursor].next() // Next may have been at that one
			}
		}
		w.marked(uint64(max(0, int64(at-w.shown)))) // what it passed over behind them holds no message
		if _, err := w.consumer.TryReceive(nil); err != ring.ErrClosed {
			w.fail("receive after Halt: %v", err)
		}
		ring.Detach(w.v, w.consumer.Attachment(), 0, ring.Config{})
		s.state = layout.Free
	}
	s.live = false
	w.consumer.locks.kill()
	w.consumer = nil
	w.forget()
}

func (w *world) receive(op int) {
	leased := w.leased()
	switch {
	case op < 18 && !leased:
		w.view()
	case op < 20 && !leased:
		w.tryReceive(w.s.below(4) == 0)
	case op < 22 && !leased:
		w.drain()
	case op < 25:
		w.tryNext()
	default:
		w.release()
	}
}

func (w *world) tryReceive(short bool) {
	w.consumer.viewing = false
	w.comeBack()
	w.settle()
	want, outcome := w.next()
	buf := make([]byte, w.cfg.MaxMessage)
	if short {
		buf = buf[:w.s.below(w.cfg.MaxMessage+1)]
	}
	n, err := w.consumer.TryReceive(buf)
	w.note("TryReceive into %d bytes: %d, %v", len(buf), n, err)
	if w.news(err, outcome) {
		w.early = true
		w.released(true)
		return
	}
	if outcome == gotMessage && len(buf) < len(want.message().data) {
		if err != io.ErrShortBuffer || n != len(want.message().data) {
			w.fail("%d, %v, want %d, ErrShortBuffer", n, err, len(want.message().data))
		}
		w.released(true)
		return
	}
	w.outcome(err, outcome)
	if err == nil {
		if !bytes.Equal(buf[:n], want.message().data) {
			w.fail("received %x, want %x", buf[:n], want.message().data)
		}
		w.take(want)
	}
	w.released(err != nil)
}

// view takes some messages out of the View, and may leave others in it.
func (w *world) view() {
	v := w.consumer.View()
	for k := 1 + w.s.below(5); k > 0; k-- {
		known := v.Next()
		if known && !w.consumer.viewing {
			w.fail("the View has a message of before")
		}
		if !known {
			w.comeBack()
			w.settle()
		}
		want, outcome := w.next()
		if !known {
			ok := v.Wait(context.Context(nil))
			err := v.Err()
			w.note("Wait of the View: %v, %v", ok, err)
			if ok != (err == nil) {
				w.fail("Wait: %v, and the error is %v", ok, err)
			}
			w.consumer.viewing = ok
			if w.news(err, outcome) {
				w.early = true
				w.released(true)
				return
			}
			w.outcome(err, outcome)
			if err != nil {
				w.released(true)
				return
			}
		} else if outcome != gotMessage {
			w.fail("the View hands out %x, want outcome %d", v.Bytes(), outcome)
		}
		m := v.Message()
		w.note("the View hands out %v", m.Position())
		w.same(m, want)
		if !bytes.Equal(v.Bytes(), m.Bytes()) {
			w.fail("Bytes and Message differ")
		}
		w.take(want)
		w.released(false)
	}
	if w.s.below(4) == 0 {
		w.note("Release of the View")
		w.comeBack()
		v.Release()
		w.consumer.viewing = false
		w.released(false)
	}
}

func (d *delivery) message() message { return d.rec.msgs[d.index] }

func (w *world) outcome(err error, want outcome) {
	right := false
	switch want {
	case gotMessage, gotNothing:
		right = err == nil
	case gotEmpty:
		right = err == ring.ErrEmpty
	case gotStopped:
		right = errors.Is(err, context.Canceled)
	}
	if !right {
		w.fail("error %v, want outcome %d (message, empty, nothing, stopped)", err, want)
	}
}

func (w *world) tryNext() {
	w.consumer.viewing = false
	w.comeBack()
	w.settle()
	want, outcome := w.next()
	m, err := w.consumer.TryNext()
	w.note("TryNext: %v, %v", m.Position(), err)
	if w.news(err, outcome) {
		w.early = true
		w.released(true)
		return
	}
	w.outcome(err, outcome)
	if err == nil {
		w.same(m, want)
		want.leased = true
		w.take(want)
		w.consumer.msgs = append(w.consumer.msgs, m)
		w.consumer.which = append(w.consumer.which, want)
	}
	w.released(err != nil)
}

// same compares a message in place with what should have come.
func (w *world) same(m ring.Message, d *delivery) {
	want := d.message()
	position := ring.Position{Record: d.rec.start, Index: uint32(d.index)}
	again := int64(w.again-d.rec.start) > 0
	if !bytes.Equal(m.Bytes(), want.data) || m.Len() != len(want.data) || m.Kind() != want.kind ||
		m.Producer() != d.rec.owner || m.Position() != position || m.Redelivered() != again {
		w.fail("got %v from %d kind %d redelivered %v: %x\nwant %v from %d kind %d redelivered %v: %x",
			m.Position(), m.Producer(), m.Kind(), m.Redelivered(), m.Bytes(),
			position, d.rec.owner, want.kind, again, want.data)
	}
}

// release releases a message, at times one that was released before.
func (w *world) release() {
	n := len(w.consumer.msgs)
	if n == 0 {
		return
	}
	i := n - 1 - min(n-1, w.s.below(4))
	m, d := w.consumer.msgs[i], w.consumer.which[i]
	w.note("release of %v, released before: %v", m.Position(), d.handled)
	if !d.handled {
		w.handle(d)
	}
	m.Release()
	w.released(false)
}

// drain passes a context that has ended, so that an empty ring gives its error.
func (w *world) drain() {
	w.consumer.viewing = false
	most, fails := w.s.below(6), w.s.below(6)
	mine := errors.New("mine")
	handled, settled := 0, false
	// look is what Drain does before each message: it waits for the first one, which
	// ends at once, but not before the looking around that comes before every sleep.
	look := func() (*delivery, outcome) {
		w.comeBack()
		for {
			d, outcome := w.next()
			if outcome != gotEmpty || handled > 0 {
				settled = false
				return d, outcome
			}
			settled = true
			w.comeBack()
			w.sync()
			if w.cursor == len(w.recs) || w.recs[w.cursor].state == layout.Claimed {
				return nil, gotStopped
			}
		}
	}
	w.settle()
	n, err := w.consumer.Drain(w.stopped, most, func(m ring.Message) error {
		d, outcome := look()
		if outcome != gotMessage {
			w.fail("Drain hands out %v, want outcome %d", m.Position(), outcome)
		}
		w.same(m, d)
		w.show(d)
		m.Release() // has no effect
		if fails--; fails < 0 {
			return mine
		}
		w.take(d)
		w.handle(d)
		handled++
		return nil
	})
	w.note("Drain of %d: %d, %v", most, n, err)
	if n != handled {
		w.fail("Drain reports %d, handled were %d", n, handled)
	}
	if w.news(err, gotStopped) {
		w.next()
		w.comeBack()
		w.early = true
		w.released(true)
		return
	}
	if err != mine && (n != most || most == 0) {
		_, outcome := look()
		if outcome == gotEmpty {
			outcome = gotNothing // behind some that were handled
		}
		w.outcome(err, outcome)
	}
	w.released(settled)
}

// marked looks at what the segment says a consumer may have seen: everything it has,
// and at most so many slots more.
func (w *world) marked(more uint64) {
	w.t.Helper()
	s := &w.slots[layout.ConsumerIndex]
	if s.drain = w.v.Participants[layout.ConsumerIndex].DrainPos.Load(); s.drain-w.shown > more {
		w.fail("a consumer may have seen up to %d, want %d to %d", s.drain, w.shown, w.shown+more)
	}
}

func (w *world) check() {
	if w.consumer == nil {
		return
	}
	w.consumer.viewing = false
	w.settle()
	err := w.consumer.Check()
	w.note("Check: %v", err)
	w.sync()
	if !w.inside && !w.early && w.cursor < len(w.recs) &&
		w.recs[w.cursor].state == layout.Claimed && w.recs[w.cursor].orphan {
		w.fail("the claim of a dead producer stays")
	}
	want := gotNothing
	if w.ahead() == nil && !w.inside {
		want = gotEmpty
	}
	if !w.news(err, want) {
		w.outcome(err, gotNothing)
	}
	w.released(true)
	if s := w.consumer.Stats(); s.Skipped != w.skipped || s.Deaths != w.deaths || uint64(len(w.skips)) != w.skipped {
		w.fail("skipped %d, told %d, deaths %d, want %d, %d", s.Skipped, len(w.skips), s.Deaths, w.skipped, w.deaths)
	}
}

// released looks at ReadPos after a call of the consumer; settled says that the call
// has stored what it owed.
func (w *world) released(settled bool) {
	w.t.Helper()
	settled = settled && !w.early
	least, most := w.releasable()
	read := w.v.Hot.ReadPos.Load()
	if int64(most-read) < 0 || int64(read-w.read) < 0 || settled && int64(read-least) < 0 {
		w.fail("ReadPos is %d, was %d, want %d to %d (settled: %v)", read, w.read, least, most, settled)
	}
	defer w.noted()
	if read == w.read {
		return
	}
	for w.first < len(w.recs) && int64(w.recs[w.first].start-read) < 0 {
		w.first++
	}
	if w.first < len(w.recs) && w.recs[w.first].start != read {
		w.fail("ReadPos %d is inside the record at %d", read, w.recs[w.first].start)
	}
	w.read = read
	if w.v.Hot.SpaceBell.Load()&1 != 0 {
		w.fail("ReadPos has moved to %d and the bell was not rung", read)
	}
}

// announce does what a side does that is about to sleep.
func (w *world) announce() {
	w.v.Hot.DataBell.Or(1)
	w.v.Hot.SpaceBell.Or(1)
	w.note("both sides announce sleep")
	if !w.shared() && w.s.coin() {
		each := w.v.Hot.DataBell.Load() ^ layout.BellEach
		w.v.Hot.DataBell.Store(each)
		w.note("the consumer waits for each message: %v", each&layout.BellEach != 0)
	}
}

func (w *world) rung(why string) {
	w.t.Helper()
	w.heeded()
	if w.v.Hot.DataBell.Load()&1 != 0 {
		w.fail("%s and the bell was not rung", why)
	}
}

// heed is twin.heeded.
func (w *world) heed() {
	if w.align = layout.RecordAlign; w.v.Hot.DataBell.Load()&layout.BellEach != 0 {
		w.align = layout.LineAlign
	}
}

// verify compares every word of the segment that the twin knows.
func (w *world) verify() {
	if w.shared() {
		tail := w.v.Hot.Tail.Load()
		if tail.Pos(w.read) != w.tail {
			w.fail("Tail is at %d, want %d", tail.Pos(w.read), w.tail)
		}
		if n := len(w.recs); n > 0 && (tail.Slots() != w.recs[n-1].slots || int(tail.Owner()) != w.recs[n-1].owner) {
			w.fail("Tail is %#x, want the claim at %d", uint64(tail), w.recs[n-1].start)
		}
	}
	for i := 1; i < len(w.slots); i++ {
		if told := w.v.Participants[i].Told.Load(); int(told) != w.slots[i].noted {
			w.fail("the segment says that streams of producer %d were told up to %d, want %d", i, told, w.slots[i].noted)
		}
	}
	if w.consumer != nil {
		ahead := w.gathered()
		for _, r := range w.recs[w.cursor:] {
			if r.state == layout.Committed && len(r.msgs) > 0 {
				ahead += uint64(max(0, int64(r.next()-w.shown))) // looked at, and left there for want of room
				break
			}
		}
		w.marked(ahead)
	}
	if !w.shared() {
		w.verifyInLine()
	}
	for i, r := range w.recs[w.first:] {
		if !w.shared() {
			break
		}
		lap := layout.LapOf(r.start, w.cfg.Shift())
		got := w.v.Descriptors[r.start%w.ring()].Ctl.Load()
		want := layout.PackCtl(lap, r.slots, uint8(r.owner), r.state)
		newest := w.first+i == len(w.recs)-1
		if got != want && !(r.state == layout.Claimed && newest && (got.Lap() != lap || got.State() == layout.None)) {
			w.fail("control word at %d is %#x, want %#x", r.start, uint64(got), uint64(want))
		}
	}
	if len(w.producers) > 0 {
		part := w.ring() / uint64(w.cfg.Slots)
		if used := w.producers[0].Used(); used != int((w.tail-w.read+part-1)/part) {
			w.fail("Used says %d, want %d", used, w.tail-w.read)
		}
	}
}

// verifyInLine compares the words of an SPSC ring.
func (w *world) verifyInLine() {
	for _, r := range w.recs[w.first:] {
		word := w.word(r.start)
		skip := word&layout.RecordSkip != 0
		if !word.IsSound() || word.Next(r.start) != r.next() || skip != (r.state == layout.Discarded) ||
			!skip && (word.Kind() != r.msgs[0].kind || int(word.Length()) != len(r.msgs[0].data)) {
			w.fail("word at %d is %#x, want that of a record up to %d", r.start, uint64(word), r.next())
		}
	}
	if word := w.word(w.tail); word != 0 {
		w.fail("the word behind the newest record, at %d, is %#x", w.tail, uint64(word))
	}
	// What was sent is before it, with the word behind, and nobody writes what is not released.
	if written := w.v.Hot.Written.Load(); w.tail != w.cfg.Start && int64(written-w.tail) < layout.RecordHeader ||
		int64(written-w.read-w.ring()) > 0 {
		w.fail("Written is %d, and the newest record ends at %d, ReadPos is %d", written, w.tail, w.read)
	}
}

// finish lets everybody go and expects every message to arrive.
func (w *world) finish() {
	w.note("the script ends")
	for len(w.producers) > 0 {
		p := w.producers[0]
		for len(p.claims) > 0 {
			c := p.claims[0]
			p.claims = p.claims[1:]
			w.finishClaim(p, c)
		}
		w.dropProducer()
		w.verify()
	}
	if w.consumer == nil {
		w.attachConsumer()
	}
	for len(w.consumer.msgs) > 0 && w.leased() {
		w.release()
	}
	left := 2 + 2*layout.Fates*len(w.slots)
	for _, r := range w.recs[w.first:] {
		left += len(r.msgs) + 1
	}
	for range left {
		w.check()
		w.tryReceive(false)
		w.verify()
	}
	if w.read != w.tail {
		w.fail("ReadPos is %d at the end, want %d", w.read, w.tail)
	}
	w.attachProducer()
	if len(w.producers) == 0 {
		w.fail("all producers are gone, all messages read, and nobody can attach")
	}
}
