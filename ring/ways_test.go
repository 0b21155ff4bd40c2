package ring

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	cmdline "flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

// Most calls go a short way, which does in few instructions what the general way does: FuzzWays makes
// the same calls on two rings, on one of them by the general way only, and compares what they
// return and what is in the segment behind each.

var waysScripts = cmdline.Int("ways", 2000, "random scripts of TestWaysRandom")

func FuzzWays(f *testing.F) {
	for i := range uint64(100) {
		f.Add(waysScript(i+1<<32, 300))
	}
	f.Fuzz(func(t *testing.T, data []byte) { runWays(t, data) })
}

func TestWaysRandom(t *testing.T) {
	n, calls := *waysScripts, 0
	if testing.Short() {
		n /= 10
	}
	for i := range uint64(n) {
		calls += runWays(t, waysScript(i, 1200))
		if t.Failed() {
			t.Fatalf("script %d of TestWaysRandom", i)
		}
	}
	t.Logf("%d calls in %d scripts, by either way", calls, n)
}

func waysScript(seed uint64, most int) []byte {
	rng := rand.New(rand.NewPCG(seed, 5))
	b := make([]byte, 1+rng.IntN(most))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// lockTable is who holds the life locks of a ring, and oneOf one handle's.
type lockTable map[int]*oneOf

type oneOf struct{ table lockTable }

func (l *oneOf) TryLock(i int) (bool, error) {
	if l.table[i] != nil {
		return false, nil
	}
	l.table[i] = l
	return true, nil
}

func (l *oneOf) Unlock(i int) error {
	delete(l.table, i)
	return nil
}

// side is one of the two rings.
type side struct {
	long      bool // by the general way only
	view      *layout.View
	locks     lockTable
	producers [3]*Producer
	consumer  *Consumer
	claims    []*Claim
	msgs      []Message
	told      []StreamEnd
	viewing   bool
	barrier   Barrier
}

// alwaysJoined is a Barrier of memory that only one goroutine knows.
type alwaysJoined struct{}

func (alwaysJoined) Join() (bool, error) { return true, nil }
func (alwaysJoined) Joined() bool        { return true }
func (alwaysJoined) Fence() error        { return nil }
func (alwaysJoined) FenceAll() error     { return nil }

// ways are both sides and the script that they follow. What a side does may depend on nothing but
// that and what both have returned.
type ways struct {
	t     *testing.T
	rest  []byte
	cfg   layout.Config
	sides [2]*side
	sent  uint32
	open  int // claims
	loans int // messages of Next
	calls int
	lines []string
}

func (w *ways) byte() byte {
	if len(w.rest) == 0 {
		return 0
	}
	b := w.rest[0]
	w.rest = w.rest[1:]
	return b
}

func (w *ways) below(n int) int { return int(w.byte()) % n }

// endless is a context that ends calls that would sleep, and no others.
type endless struct{ context.Context }

func (endless) Err() error { return context.Canceled }

func runWays(t *testing.T, data []byte) (calls int) {
	w := newWays(t, data)
	for len(w.rest) > 0 && !t.Failed() {
		w.step()
	}
	if !t.Failed() {
		w.leave(2)
		w.both("Close", func(s *side) any { return s.leaveConsumer() })
	}
	return w.calls
}

func newWays(t *testing.T, data []byte) *ways {
	w := &ways{t: t, rest: data}
	first := w.below(4)
	w.cfg = layout.Config{
		Kind: layout.Kind(1 + first&1), Slots: 8 << w.below(6), SlotSize: 64 * w.below(4), Participants: 2,
		Doorbell: layout.Futex,
	}
	if w.cfg.Kind == layout.MPSC {
		w.cfg.Participants = 2 + w.below(2)
	}
	w.cfg.MaxMessage = max(8, w.cfg.Capacity()>>w.below(3))
	starts := []uint64{0, 0, 1<<32 - 40, 1<<44 - 40, 1<<45 - 72, 1<<63 - 40, 1<<64 - 40}
	w.cfg.Start = starts[w.below(len(starts))]
	w.line("%+v", w.cfg)
	size, err := w.cfg.Size()
	if err != nil {
		t.Fatal(err)
	}
	for i := range w.sides {
		s := &side{long: i == 1, locks: lockTable{}}
		if first&2 != 0 {
			s.barrier = alwaysJoined{}
		}
		if s.view, err = layout.Format(shm.Heap(int(size)).Bytes(), w.cfg); err != nil {
			t.Fatal(err)
		}
		w.sides[i] = s
	}
	w.attach(0)
	w.both("OpenConsumer", (*side).openConsumer)
	return w
}

func (w *ways) line(format string, args ...any) {
	w.lines = append(w.lines, fmt.Sprintf(format, args...))
}

func (w *ways) fail(format string, args ...any) {
	w.t.Helper()
	lines := w.lines[max(0, len(w.lines)-40):]
	for _, l := range lines {
		w.t.Log(l)
	}
	w.t.Fatalf(format, args...)
}

// both makes a call on both rings and compares.
func (w *ways) both(what string, call func(s *side) any) any {
	w.t.Helper()
	w.calls++
	var got [2]any
	for i, s := range w.sides {
		got[i] = call(s)
	}
	w.line("%s: %.300s", what, fmt.Sprintf("%v", got[0]))
	if !reflect.DeepEqual(got[0], got[1]) {
		w.fail("%s: %+v, and by the general way %+v", what, got[0], got[1])
	}
	w.compare()
	return got[0]
}

func (w *ways) compare() {
	w.t.Helper()
	a, b := w.sides[0], w.sides[1]
	if fa, fb := a.words(), b.words(); fa != fb {
		w.fail("the segment says %+v, and by the general way %+v", fa, fb)
	}
	for i := range a.view.Participants {
		if fa, fb := a.participant(i), b.participant(i); fa != fb {
			w.fail("participant %d: %+v, and by the general way %+v", i, fa, fb)
		}
	}
	if w.cfg.Kind == layout.MPSC {
		w.compareSlots()
		return
	}
	// Records, up to the word behind the newest, which is 0. What is in no record is nobody's.
	for at := a.view.Hot.ReadPos.Load(); ; {
		i := at % uint64(len(a.view.Area))
		word := layout.Record(binary.NativeEndian.Uint64(a.view.Area[i:]))
		n := uint64(layout.RecordHeader)
		if word&layout.RecordSkip == 0 {
			n += word.Length()
		}
		if x, y := a.view.Area[i:i+n], b.view.Area[i:i+n]; !bytes.Equal(x, y) {
			w.fail("record at %d: %x, and by the general way %x", at, x, y)
		}
		if word == 0 {
			return
		}
		at = word.Next(at)
	}
}

func (w *ways) compareSlots() {
	a, b := w.sides[0].view, w.sides[1].view
	for i := range a.Descriptors {
		x, y := &a.Descriptors[i], &b.Descriptors[i]
		if x.Ctl.Load() != y.Ctl.Load() || x.Meta != y.Meta || x.Inline != y.Inline {
			w.fail("descriptor %d: %#x %#x %x, and by the general way %#x %#x %x", i,
				x.Ctl.Load(), x.Meta, x.Inline, y.Ctl.Load(), y.Meta, y.Inline)
		}
	}
	if !bytes.Equal(a.Payload, b.Payload) {
		w.fail("the payload is not the same")
	}
}

// waysWords are the words of the segment that say how far everybody is.
type waysWords struct {
	tail                        layout.Tail
	written, read, news, events uint64
	data, space                 uint32
	priority                    layout.Priority
}

func (s *side) words() waysWords {
	h := s.view.Hot
	return waysWords{h.Tail.Load(), h.Written.Load(), h.ReadPos.Load(), h.News.Load(), h.Events.Load(),
		h.DataBell.Load(), h.SpaceBell.Load(), h.Priority.Load()}
}

// waysEntry is what a participant's says, but for times.
type waysEntry struct {
	state       layout.ParticipantState
	epoch, told uint32
	drain       uint64
	counters    [layout.Counters]uint64
	over        layout.Over
	fates       [layout.Fates][2]uint64
}

func (s *side) participant(i int) (e waysEntry) {
	m := &s.view.Participants[i]
	e = waysEntry{state: m.State.Load(), epoch: m.Epoch.Load(), told: m.Told.Load(), drain: m.DrainPos.Load(),
		over: m.Over.Load()}
	for k := range m.Counters {
		if layout.Counter(k) != layout.Asleep {
			e.counters[k] = m.Counters[k].Load()
		}
	}
	for k := range m.Fates {
		e.fates[k] = [2]uint64{uint64(m.Fates[k].Fate.Load()), m.Fates[k].Pos.Load()}
	}
	return e
}

// wrong is an error in what can be compared: what it says.
func wrong(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// attach opens a producer in a place of the sides that is empty.
func (w *ways) attach(place int) {
	w.both("OpenProducer", func(s *side) any {
		p, err := NewProducer(s.view, Config{Locks: &oneOf{s.locks}, Barrier: s.barrier})
		if err == nil {
			s.producers[place] = p
		}
		return wrong(err)
	})
}

func (s *side) openConsumer() any {
	tell := func(e StreamEnd) { s.told = append(s.told, e) }
	c, err := NewConsumer(s.view, Config{Locks: &oneOf{s.locks}, Barrier: s.barrier, OnStreamEnd: tell})
	s.consumer, s.msgs, s.viewing = c, nil, false
	return wrong(err)
}

func (s *side) leaveConsumer() any {
	if s.consumer == nil {
		return ""
	}
	c := s.consumer
	c.Close()
	stats := c.Stats()
	stats.Stalled = nil // depends on the time
	Detach(s.view, c.Attachment(), 0, Config{})
	delete(s.locks, layout.ConsumerIndex)
	s.consumer = nil
	return stats
}

// leave closes the first places' producers, as many of them.
func (w *ways) leave(places int) {
	for i := range places {
		if w.sides[0].producers[i] == nil {
			continue
		}
		clean := w.below(3) > 0
		w.both(fmt.Sprintf("producer %d leaves, clean: %v", i, clean), func(s *side) any {
			p := s.producers[i]
			p.Close()
			if clean {
				Detach(s.view, p.Attachment(), layout.FateLeft, Config{})
			}
			delete(s.locks, p.Attachment().Index)
			s.producers[i] = nil
			s.claims = slices.DeleteFunc(s.claims, func(c *Claim) bool { return c.p == p || c.p == nil })
			return len(s.claims)
		})
		w.open = len(w.sides[0].claims)
	}
}

// step is a call, or a few.
func (w *ways) step() {
	if w.sides[0].consumer == nil {
		w.loans = 0
		w.both("OpenConsumer", (*side).openConsumer)
	}
	place := 0
	if w.cfg.Kind == layout.MPSC {
		place = w.below(w.cfg.Participants - 1)
	}
	if w.sides[0].producers[place] == nil {
		w.attach(place)
	}
	switch op := w.below(64); {
	case op < 34:
		if w.sides[0].producers[place] != nil {
			w.produce(place, op)
		}
	case op < 60:
		w.consume(op)
	case op == 60:
		w.leave(1 + place)
	case op == 61:
		w.both("the consumer leaves", (*side).leaveConsumer)
	default:
		// Check is not to come back. What Next of a View has left behind is not acknowledged before that.
		w.both("Check", func(s *side) any {
			if v := s.consumer.View(); v.viewing {
				v.Release()
			}
			return wrong(s.consumer.Check())
		})
	}
}

// size is mostly that of the message before, as streams have it.
func (w *ways) size() int {
	switch b := w.below(16); {
	case b < 9:
		return min(w.cfg.MaxMessage, 8+b&1)
	case b < 12:
		return min(w.cfg.MaxMessage, w.below(130))
	case b < 15:
		return (w.below(256) << 8 >> w.below(8)) % (w.cfg.MaxMessage + 1)
	}
	return w.cfg.MaxMessage + w.below(2)
}

func (w *ways) message() []byte {
	w.sent++
	b := make([]byte, w.size())
	for i := range b {
		b[i] = byte(w.sent>>(i%4*8)) + byte(i/4)
	}
	return b
}

func (w *ways) produce(place, op int) {
	kind := uint16(w.below(4) / 3 * 9)
	switch {
	case w.open > 0 && (w.cfg.Kind == layout.SPSC || op < 16):
		w.finish()
	case op < 16:
		msg := w.message()
		w.both(fmt.Sprintf("producer %d: TrySendKind of %d, %d", place, len(msg), kind), func(s *side) any {
			return wrong(s.send(noWait, s.producers[place], msg, kind))
		})
	case op < 20:
		msg := w.message()
		w.both(fmt.Sprintf("producer %d: Send of %d", place, len(msg)), func(s *side) any {
			return wrong(s.send(endless{context.Background()}, s.producers[place], msg, 0))
		})
	case op < 26:
		w.claim(place, w.size())
	case op < 31:
		w.sendBatch(place)
	case op < 33:
		w.buildBatch(place)
	case w.below(4) == 0:
		w.both("CloseSend", func(s *side) any { return wrong(s.producers[place].CloseSend()) })
	}
}

func (s *side) send(ctx context.Context, p *Producer, msg []byte, kind uint16) error {
	switch {
	case s.long && ctx != nil:
		return p.send(ctx, msg, kind)
	case s.long:
		return p.trySend(msg, kind, false)
	case ctx != nil && kind == 0:
		return p.Send(ctx, msg)
	case kind == 0:
		return p.TrySend(msg)
	}
	return p.SendKind(ctx, msg, kind)
}

func (w *ways) sendBatch(place int) {
	batch := make([][]byte, w.below(9))
	for i := range batch {
		batch[i] = w.message()
	}
	type result struct {
		n   int
		err string
	}
	w.both(fmt.Sprintf("producer %d: TrySendBatch of %d", place, len(batch)), func(s *side) any {
		p := s.producers[place]
		if !s.long || w.cfg.Kind == layout.MPSC { // which has no short way
			n, err := p.TrySendBatch(batch)
			return result{n, wrong(err)}
		}
		for n, msg := range batch {
			if err := p.trySend(msg, 0, false); err != nil {
				return result{n, wrong(err)}
			}
		}
		return result{len(batch), ""}
	})
}

// buildBatch has no short way: what comes behind it does.
func (w *ways) buildBatch(place int) {
	size := 8 + w.below(256)
	lengths := []int{w.below(40), w.below(40), w.below(40)}
	w.both(fmt.Sprintf("producer %d: TryClaimBatch of %d", place, size), func(s *side) any {
		b, err := s.producers[place].TryClaimBatch(size)
		if err != nil {
			return wrong(err)
		}
		clear(b.room)
		for i, n := range lengths {
			for k := range b.Append(min(n, w.cfg.MaxMessage)) {
				b.room[b.used-1-k] = byte(i + k)
			}
		}
		return wrong(b.Commit())
	})
}

func (w *ways) claim(place, n int) {
	err := w.both(fmt.Sprintf("producer %d: TryClaim of %d", place, n), func(s *side) any {
		p := s.producers[place]
		claim := p.TryClaim
		if s.long {
			claim = p.tryClaim
		}
		c, err := claim(n)
		if err == nil {
			clear(c.Bytes())
			s.claims = append(s.claims, &c)
		}
		return wrong(err)
	})
	if err == "" {
		w.open++
	}
}

func (w *ways) finish() {
	i, how := w.below(w.open), w.below(4)
	w.open--
	msg, less := w.message(), w.below(64)
	w.both(fmt.Sprintf("claim %d is finished, %d", i, how), func(s *side) any {
		c := s.claims[i]
		s.claims = slices.Delete(s.claims, i, i+1)
		if how == 0 {
			c.Abort()
			return ""
		}
		copy(c.Bytes(), msg)
		if how == 1 {
			c.Shorten(max(0, len(c.Bytes())-less))
			c.SetKind(3)
		}
		p := c.p
		switch {
		case !s.long:
			return wrong(c.Commit())
		case p.mpsc && !p.Closed(): // as a claim of more than one slot
			c.p = nil
			return wrong(p.commit(c.pos, c.what.slots(), layout.PackMeta(uint32(c.length()), c.what.kind(), 0)))
		}
		return wrong(c.commit())
	})
}

// seen is what a consumer's call has handed out.
type seen struct {
	n        int
	err      string
	messages []seenMessage
	told     int
}

func (m seenMessage) String() string {
	return fmt.Sprintf("%d bytes at %v", len(m.data), m.at)
}

type seenMessage struct {
	data     string
	at       Position
	kind     uint16
	from     int
	again    bool
	released uint64
}

func (s *side) see(m Message) seenMessage {
	return seenMessage{string(m.Bytes()), m.Position(), m.Kind(), m.Producer(), m.Redelivered(), s.view.Hot.ReadPos.Load()}
}

func (w *ways) consume(op int) {
	var ctx context.Context
	if w.below(4) == 0 {
		ctx = endless{context.Background()}
	}
	switch {
	case op < 42:
		buf := w.cfg.MaxMessage
		if w.below(8) == 0 {
			buf = w.below(64)
		}
		w.both(fmt.Sprintf("Receive into %d, wait: %v", buf, ctx != nil), func(s *side) any { return s.receive(ctx, buf) })
	case op < 47:
		got := w.both("Next", func(s *side) any { return s.next(ctx) })
		if got.(seen).err == "" {
			w.loans++
		}
	case op < 51:
		if w.loans > 0 {
			i := w.below(w.loans)
			w.both(fmt.Sprintf("Release of loan %d", i), func(s *side) any {
				s.msgs[i].Release()
				return s.consumer.outstanding
			})
		}
	case op < 55:
		most, bad := w.below(12), w.below(24)
		w.both(fmt.Sprintf("Drain of %d, an error at %d", most, bad), func(s *side) any { return s.drain(ctx, most, bad) })
	default:
		most := 1 + w.below(20)
		w.both(fmt.Sprintf("View of %d", most), func(s *side) any { return s.look(ctx, most) })
		if w.below(3) == 0 {
			w.both("Release of the View", func(s *side) any {
				s.consumer.View().Release()
				return ""
			})
		}
	}
}

func (s *side) receive(ctx context.Context, n int) (r seen) {
	buf, c := make([]byte, n), s.consumer
	var err error
	switch {
	case !s.long && ctx == nil:
		r.n, err = c.TryReceive(buf)
	case !s.long:
		r.n, err = c.Receive(ctx, buf)
	case !c.enter():
		r.n, err = c.receiveClosed(ctx, buf)
	default:
		for try := 0; ; try++ {
			if r.n, err = c.receive(ctx, buf); err == nil {
				break
			} else if ctx == nil {
				c.flushReadPos()
				break
			} else if err = c.awaitMessage(ctx, err, try); err != nil {
				break
			}
		}
		c.leave()
	}
	r.err, r.told = wrong(err), len(s.told)
	r.messages = []seenMessage{{data: string(buf)}}
	return r
}

func (s *side) next(ctx context.Context) (r seen) {
	c := s.consumer
	var m Message
	var err error
	switch {
	case !s.long:
		m, err = c.Next(ctx)
	case !c.enter():
		m, err = c.nextClosed(ctx)
	default:
		for try := 0; ; try++ {
			if m, err = c.borrow(ctx); err == nil {
				break
			} else if ctx == nil {
				c.flushReadPos()
				break
			} else if err = c.awaitMessage(ctx, err, try); err != nil {
				break
			}
		}
		c.leave()
	}
	if r.err, r.told = wrong(err), len(s.told); err == nil {
		r.messages = []seenMessage{s.see(m)}
		s.msgs = append(s.msgs, m)
	}
	return r
}

var errHandler = errors.New("the handler's")

func (s *side) drain(ctx context.Context, most, bad int) (r seen) {
	var err error
	handle := func(m Message) error {
		r.messages = append(r.messages, s.see(m))
		if len(r.messages) == bad {
			return errHandler
		}
		return nil
	}
	if s.long {
		r.n, err = s.drainLong(ctx, most, handle)
	} else {
		r.n, err = s.consumer.Drain(ctx, most, handle)
	}
	r.err, r.told = wrong(err), len(s.told)
	return r
}

// drainLong is Drain without its short way.
func (s *side) drainLong(ctx context.Context, most int, f func(Message) error) (n int, err error) {
	c := s.consumer
	if most <= 0 {
		most = int(c.slots.count)
	}
	if !c.enter() {
		return c.drainClosed(ctx, most, f)
	}
	if c.ackImplicit() {
		err = c.chores(ctx)
	}
	for try := 0; n < most && err == nil; try++ {
		var m found
		if err = c.peek(&m); err == ErrEmpty && n > 0 {
			err = nil
			break
		} else if err != nil && ctx == nil {
			c.flushReadPos()
			break
		} else if err != nil {
			err = c.awaitMessage(ctx, err, try)
			continue
		}
		if c.batch.rest != nil {
			handled, err := c.drainBatch(most-n, f)
			if n += handled; err != nil {
				return n, err
			}
			continue
		}
		c.expose(m.end)
		c.leave()
		if err := f(c.message(&m, 0)); err != nil {
			return n, err
		}
		if !c.enter() {
			return n, c.closeReason()
		}
		c.take(&m)
		if c.handled(m.end) {
			c.flushReadPos()
		}
		n++
	}
	c.leave()
	return n, err
}

// look takes some messages of the View. What the window in a batch does to the time of chores, the
// general way does not: an MPSC ring's goes on with it by either way.
func (s *side) look(ctx context.Context, most int) (r seen) {
	v := s.consumer.View()
	for r.n < most {
		if s.long {
			if !v.c.mpsc {
				v.stopWindow()
			}
			v.until = s.consumer.pos
		}
		if !v.Next() && !v.Wait(ctx) {
			r.err = wrong(v.Err())
			break
		}
		r.n++
		m := s.see(v.Message())
		m.released = 0 // Next comes back, but not yet to the consumer
		r.messages = append(r.messages, m)
	}
	r.told = len(s.told)
	return r
}
