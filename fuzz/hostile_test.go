package fuzz

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

func FuzzHostile(f *testing.F) {
	seeds(f, 300, 400)
	f.Fuzz(hostile)
}

func TestHostileRandom(t *testing.T) { random(t, 800, hostile) }

// patience is how long one call may take; a call that does not end at all is found by
// a timer, which can only end the process.
const patience = 2 * time.Second

// hostile runs a script in which a peer writes what it likes between the calls.
func hostile(t *testing.T, data []byte) {
	s := &script{data}
	h := newVictim(t, s)
	timer := time.AfterFunc(5*patience, func() {
		panic("the call that hung: " + *h.now.Load())
	})
	defer timer.Stop()
	for _, s := range steps(s.rest) {
		if s.Op < 100 {
			h.lie(s)
			h.observe(s)
		} else {
			h.call(s)
		}
	}
}

// victim is the honest side.
type victim struct {
	history
	t         *testing.T
	cfg       layout.Config
	v         *layout.View
	table     lockTable
	producers []*target
	consumer  *target // nil: none
	msgs      []ring.Message
	follower  *ring.Observer // from the beginning on
	opened    bool           // the consumer has looked at the next message and left it
	now       atomic.Pointer[string]
	stopped   context.Context
}

// target is a handle that is being lied to.
type target struct {
	p       *ring.Producer
	c       *ring.Consumer
	locks   *locks
	claim   *ring.Claim
	failure *ring.CorruptError // the first one; every later call returns it
}

func newVictim(t *testing.T, s *script) *victim {
	h := &victim{t: t}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	h.stopped = ctx
	h.cfg = layout.Config{
		Kind: pick(s, layout.SPSC, layout.MPSC), Slots: pick(s, 8, 16), SlotSize: pick(s, 0, 64, 128),
		Participants: 2, Doorbell: layout.Futex, Start: pick[uint64](s, 0, 0, 1<<44-5, 1<<45-13, 1<<63-2, 1<<64-3),
	}
	if h.cfg.Kind == layout.MPSC {
		h.cfg.Participants += s.below(3)
	} else {
		h.cfg.Start &^= layout.RecordAlign - 1
	}
	h.cfg.MaxMessage = pick(s, h.cfg.Capacity(), h.cfg.Capacity(), 100, 48)
	h.cfg.MaxMessage = min(h.cfg.MaxMessage, h.cfg.Capacity())
	size, err := h.cfg.Size()
	if err != nil {
		t.Fatal(err)
	}
	if h.v, err = layout.Format(memory(t, int(size)), h.cfg); err != nil {
		t.Fatal(err)
	}
	if h.cfg.Start != 0 {
		past(h.v, false)
	}
	h.note("%+v", h.cfg)
	h.attachProducer()
	h.attachConsumer()
	h.follower = h.observer(ring.Start{})
	return h
}

func (h *victim) fail(format string, args ...any) {
	h.t.Helper()
	h.t.Fatalf("%s\nthe script up to here:\n%s", fmt.Sprintf(format, args...), &h.history)
}

// try makes one call on a handle and judges its error.
func (h *victim) try(g *target, what string, call func() error) error {
	h.t.Helper()
	h.now.Store(&what)
	begin := time.Now()
	err := call()
	took := time.Since(begin)
	h.note("%s: %v", what, err)
	if took > patience {
		h.fail("%s took %v", what, took)
	}
	if !documented(err) {
		h.fail("%s: undocumented error %T %v", what, err, err)
	}
	if g == nil {
		return err
	}
	var found *ring.CorruptError
	errors.As(err, &found)
	switch {
	case g.failure == nil:
		g.failure = found
	case found != g.failure && !excused(what, err):
		h.fail("%s: %v from a handle that is failed by: %v", what, err, g.failure)
	}
	return err
}

func documented(err error) bool {
	for _, ok := range []error{
		nil, ring.ErrFull, ring.ErrEmpty, ring.ErrContended, ring.ErrTooLarge, ring.ErrEnded, ring.ErrPeerDead,
		ring.ErrFailed, ring.ErrBusy, ring.ErrCorrupt, ring.ErrRevoked, ring.ErrNoMessage, io.EOF, io.ErrShortBuffer,
		context.Canceled,
	} {
		if errors.Is(err, ok) {
			return true
		}
	}
	return false
}

// excused are answers that need no look at the ring, and so are the same when the
// handle has failed.
func excused(what string, err error) bool {
	return errors.Is(err, ring.ErrTooLarge) || err == ring.ErrEnded || err == nil && (what == "CloseSend" ||
		what == "empty batch")
}

func (h *victim) attachProducer() {
	l := h.table.process()
	g := &target{locks: l}
	err := h.try(nil, "NewProducer", func() (err error) {
		g.p, err = ring.NewProducer(h.v, ring.Config{Locks: l})
		return err
	})
	if err != nil {
		l.kill()
		return
	}
	h.producers = append(h.producers, g)
}

func (h *victim) attachConsumer() {
	if h.consumer != nil {
		h.consumer.locks.kill()
	}
	l := h.table.process()
	h.consumer, h.msgs = &target{locks: l}, nil
	err := h.try(nil, "NewConsumer", func() (err error) {
		h.consumer.c, err = ring.NewConsumer(h.v, ring.Config{Locks: l, OnSkip: func(ring.SkippedClaim) {}})
		return err
	})
	switch {
	case errors.Is(err, ring.ErrCorrupt): // of an SPSC ring it compares what a peer may have written
		l.kill()
		h.consumer = nil
	case err != nil:
		h.fail("NewConsumer: %v", err)
	}
}

func (h *victim) call(s step) {
	if len(h.producers) == 0 {
		h.attachProducer()
	}
	size := int(s.Size) % (h.cfg.MaxMessage + 2)
	if s.Lie&1 == 0 {
		size %= 2*max(48, h.cfg.SlotSize) + 1
	}
	if s.Op < 180 && len(h.producers) > 0 {
		h.callProducer(h.producers[int(s.Who)%len(h.producers)], s, min(size, h.cfg.MaxMessage+1))
		return
	}
	if h.consumer == nil {
		h.attachConsumer()
	}
	if h.consumer != nil {
		h.callConsumer(h.consumer, s, size)
	}
}

func (h *victim) callProducer(g *target, s step, size int) {
	if g.claim != nil && (h.cfg.Kind == layout.SPSC || s.Op < 120) {
		c := g.claim
		g.claim = nil
		if s.Lie&2 == 0 {
			c.Abort()
			h.note("Abort")
			return
		}
		c.Shorten(min(len(c.Bytes()), size))
		clear(c.Bytes())
		_ = h.try(g, "Commit", c.Commit)
		return
	}
	switch op := s.Op % 16; {
	case op < 5:
		_ = h.try(g, "TrySend", func() error { return g.p.TrySendKind(make([]byte, size), 3) })
	case op < 8:
		c := new(ring.Claim)
		err := h.try(g, "TryClaim", func() (err error) {
			*c, err = g.p.TryClaim(size) //nolint:govet // not used yet
			return err
		})
		if err == nil {
			g.claim = c
			clear(c.Bytes())
		}
	case op < 11:
		batch := make([][]byte, s.Lie%9)
		for i := range batch {
			batch[i] = make([]byte, size/(1+i))
		}
		what := "TrySendBatch"
		if len(batch) == 0 {
			what = "empty batch"
		}
		_ = h.try(g, what, func() error {
			n, err := g.p.TrySendBatch(batch)
			if n < 0 || n > len(batch) || (n == len(batch)) != (err == nil) {
				h.fail("%d of %d, %v", n, len(batch), err)
			}
			return err
		})
	case op == 11:
		_ = h.try(g, "CloseSend", func() error { return g.p.CloseSend() })
	case op == 12:
		_ = h.try(g, "Send", func() error { return g.p.Send(h.stopped, make([]byte, size)) })
	case op == 13:
		h.attachProducer()
	case op == 14:
		h.leaveOrDie(g, s.Lie&1 == 0)
	default:
		if used := g.p.Used(); used < 0 || used > h.cfg.Slots {
			h.fail("Used says %d of %d", used, h.cfg.Slots)
		}
		g.p.Stats()
	}
}

func (h *victim) leaveOrDie(g *target, leave bool) {
	h.note("a producer goes, cleanly: %v", leave)
	if leave {
		g.p.Close()
		ring.Detach(h.v, g.p.Attachment(), layout.FateEnded, ring.Config{})
	}
	g.locks.kill()
	for i, p := range h.producers {
		if p == g {
			h.producers = append(h.producers[:i:i], h.producers[i+1:]...)
			return
		}
	}
}

func (h *victim) callConsumer(g *target, s step, size int) {
	switch op := s.Op % 16; {
	case op < 5:
		_ = h.try(g, "TryReceive", func() error {
			n, err := g.c.TryReceive(make([]byte, size))
			if err == nil && n > size || err == io.ErrShortBuffer && (n <= size || n > h.cfg.MaxMessage) {
				h.fail("%d bytes into a buffer of %d, MaxMessage is %d: %v", n, size, h.cfg.MaxMessage, err)
			}
			h.opened = err == io.ErrShortBuffer
			return err
		})
	case op < 9:
		_ = h.try(g, "TryNext", func() error {
			m, err := g.c.TryNext()
			if err == nil {
				h.touch(m)
				h.msgs = append(h.msgs, m)
			}
			return err
		})
	case op < 11:
		if n := len(h.msgs); n > 0 {
			h.note("Release")
			h.msgs[int(s.Who)%n].Release()
		}
	case op < 13:
		_ = h.try(g, "Check", g.c.Check)
	case op == 13:
		_ = h.try(g, "Drain", func() error {
			_, err := g.c.Drain(h.stopped, int(s.Lie%8), func(m ring.Message) error { h.touch(m); return nil })
			return err
		})
	case op == 14 && s.Lie&3 == 0:
		h.attachConsumer()
	default:
		if used := g.c.Used(); used < 0 || used > h.cfg.Slots {
			h.fail("Used says %d of %d", used, h.cfg.Slots)
		}
		g.c.Stats()
	}
}

// touch reads all of a message, and checks what is promised of any message. Bytes in
// the memory of other records are none of its own.
func (h *victim) touch(m ring.Message) {
	var sum byte
	for _, b := range m.Bytes() {
		sum += b
	}
	_ = sum
	most := h.cfg.MaxMessage
	if h.cfg.Kind == layout.MPSC && m.Position().Index == 0 && !h.opened {
		// Else the record was looked at before later lies.
		slots := h.v.Descriptors[m.Position().Record%uint64(h.cfg.Slots)].Ctl.Load().Slots()
		most = min(most, max(48, int(slots)*h.cfg.SlotSize))
	}
	h.opened = false
	if m.Len() > most {
		h.fail("%v has %d bytes, want at most %d", m.Position(), m.Len(), most)
	}
	if from := m.Producer(); from < 1 || from >= h.cfg.Participants {
		h.fail("a message from participant %d of %d", from, h.cfg.Participants)
	}
}

// observer is one that has begun, or nil.
func (h *victim) observer(from ring.Start) *ring.Observer {
	o := ring.NewObserver(h.v, nil)
	if h.try(nil, "Begin", func() error { return o.Begin(from, func() error { return nil }) }) != nil {
		return nil
	}
	return o
}

// observe is what those do who have no part in the ring: one who has followed it, and one who begins.
func (h *victim) observe(s step) {
	read := h.v.Hot.ReadPos.Load()
	at := ring.Position{Record: read + uint64(int8(s.Who)), Index: uint32(s.Size % 3)}
	from := ring.Start{From: ring.StartKind(s.Word % 5), Position: at, Sequence: s.Word >> 8 % 5}
	for _, o := range []*ring.Observer{h.follower, h.observer(from)} {
		for i := range 100 {
			if o == nil {
				break
			}
			take := o.Try
			if i%8 == int(s.Word%8) {
				take = o.TryLatest
			}
			var m ring.Observation
			if h.try(nil, "Observe", func() (err error) { m, _, err = take(); return err }) != nil {
				break
			}
			if len(m.Bytes) > h.cfg.MaxMessage || m.Producer < 1 || m.Producer >= h.cfg.Participants {
				h.fail("observed %d bytes from %d", len(m.Bytes), m.Producer)
			}
		}
	}
}

// lieOfWaypoints writes a word that observers go by.
func (h *victim) lieOfWaypoints(s step, read uint64) {
	w := &h.v.Hot.Waypoints
	at := &w.Places[s.Word>>32&1]
	switch s.Word >> 40 % 3 {
	case 0:
		w.Turn = edge(s, w.Turn, w.Turn+1)
	case 1:
		at.Position = edge(s, at.Position, read+uint64(int8(s.Word)))
	case 2:
		at.Messages = edge(s, at.Messages, at.Messages+s.Word%8)
	}
}

// lie writes one word of the segment.
func (h *victim) lie(s step) {
	hot, slots := h.v.Hot, uint64(h.cfg.Slots)
	read := hot.ReadPos.Load()
	slot := uint64(s.Size)
	if s.Op&1 == 0 {
		slot = read + uint64(s.Size%4) // where it matters
	}
	m := &h.v.Participants[int(s.Who)%len(h.v.Participants)]
	switch op := s.Op % 20; op {
	case 0, 1:
		if h.cfg.Kind == layout.SPSC {
			hot.Written.Store(edge(s, hot.Written.Load(), read+s.Word%4096))
			break
		}
		old := hot.Tail.Load()
		near := layout.PackTail(old.Pos(read)+uint64(int8(s.Word)), s.Word>>8%20, uint8(s.Word>>16))
		hot.Tail.Store(layout.Tail(edge(s, uint64(old), uint64(near))))
	case 2, 3:
		hot.ReadPos.Store(edge(s, read, read+uint64(int8(s.Word))))
	case 4:
		h.lieOfWaypoints(s, read)
		hot.DataBell.Store(uint32(edge(s, uint64(hot.DataBell.Load()), 1)))
		hot.SpaceBell.Store(uint32(edge(s, uint64(hot.SpaceBell.Load()), 1)))
	case 5:
		m.State.Store(layout.ParticipantState(edge(s, uint64(m.State.Load()), s.Word%4)))
	case 6:
		m.Epoch.Store(uint32(edge(s, uint64(m.Epoch.Load()), 1)))
		m.Role.Store(uint32(edge(s, 1, 2)))
		m.PID.Store(uint32(s.Word))
	case 7:
		m.DrainPos.Store(edge(s, m.DrainPos.Load(), read+s.Word%16))
	case 8:
		m.Counters[s.Word%uint64(layout.Counters)].Store(edge(s, 1, 0))
	default:
		if h.cfg.Kind == layout.SPSC {
			h.lieInLine(s, read)
		} else {
			h.lieInSlots(s, slot)
		}
	}
	h.note("lie %d at slot %d, member %d, %#x", s.Op%20, slot%slots, int(s.Who)%len(h.v.Participants), s.Word)
}

// lieInSlots writes a word of a record of an MPSC ring.
func (h *victim) lieInSlots(s step, slot uint64) {
	slots := uint64(h.cfg.Slots)
	d := &h.v.Descriptors[slot%slots]
	switch s.Op % 20 {
	case 9, 10, 11, 12, 13, 14:
		lap := layout.LapOf(slot, h.cfg.Shift())
		owner := pick(&script{[]byte{byte(s.Word >> 40)}}, 0, 1, 1, 1, 2, 3, uint8(len(h.v.Participants)), 254, 255)
		length := pick(&script{[]byte{byte(s.Word >> 48)}}, 0, 1, 1, 2, 3, slots-slot%slots, slots-slot%slots+1, slots,
			slots+1, 4095)
		near := layout.PackCtl(lap, length, owner, layout.State(s.Word>>56))
		d.Ctl.Store(layout.Ctl(edge(s, uint64(d.Ctl.Load()), uint64(near))))
	case 15, 16, 17:
		S := uint32(h.cfg.SlotSize)
		length := pick(&script{[]byte{byte(s.Word)}}, 0, 1, 4, 8, 16, 47, 48, 49, S, S+1, 2*S, 2*S+1, S*uint32(slots),
			uint32(h.cfg.MaxMessage)+1, 1<<31, 1<<32-1)
		d.Meta = edge(s, d.Meta, layout.PackMeta(length, uint16(s.Word>>8), uint8(s.Word>>24)&3))
	case 18:
		h.entry(d.Inline[:], s)
	case 19:
		if len(h.v.Payload) > 0 {
			h.entry(h.v.Payload[slot%slots*uint64(h.cfg.SlotSize):], s)
		}
	}
}

// lieInLine writes a word of an SPSC ring: that of a record that is there, or one where none begins.
func (h *victim) lieInLine(s step, read uint64) {
	size := uint64(len(h.v.Area))
	at := func(pos uint64) []byte { return h.v.Area[pos%size&^7:] }
	pos := read
	for range int(s.Size) % 6 {
		w := layout.Record(binary.NativeEndian.Uint64(at(pos)))
		if w == 0 || w.Next(pos)-pos > size {
			break
		}
		pos = w.Next(pos)
	}
	if s.Op%3 == 0 {
		pos = s.Word >> 16 % size &^ 7
	}
	S := uint32(max(h.cfg.SlotSize, 8))
	length := pick(&script{[]byte{byte(s.Word)}}, 0, 1, 8, 16, 32, 33, 56, 57, S, 2*S, uint32(h.cfg.MaxMessage),
		uint32(h.cfg.MaxMessage)+1, uint32(size-pos%size)-8, uint32(size-pos%size)-7, uint32(size), uint32(size)-8,
		1<<31, 1<<32-8, 1<<32-1)
	align := pick(&script{[]byte{byte(s.Word >> 24)}}, 8, 8, 64, uint64(16), 1)
	near := uint64(layout.PackRecord(length, uint16(s.Word>>8), align))
	near |= s.Word >> 32 & 3 << 48 // flags
	binary.NativeEndian.PutUint64(at(pos), edge(s, binary.NativeEndian.Uint64(at(pos)), near))
}

// entry writes what may be taken for the head of a message in a batch.
func (h *victim) entry(b []byte, s step) {
	length := pick(&script{[]byte{byte(s.Word)}}, 0, 1, 8, 39, 40, 41, 48, 120, uint32(h.cfg.MaxMessage), 1<<31-1, 1<<31,
		1<<32-9, 1<<32-1)
	at := int(s.Word>>8%5) * 8
	binary.NativeEndian.PutUint64(b[at:], edge(s, 0, layout.PackMeta(length, 0, 0)))
}

// edge is a value that is wrong in one of several ways.
func edge(s step, old, near uint64) uint64 {
	switch s.Lie % 16 {
	case 0:
		return 0
	case 1:
		return ^uint64(0)
	case 2:
		return old + 1
	case 3:
		return old - 1
	case 4:
		return old ^ 1<<(s.Word%64)
	case 5:
		return 1 << 63
	case 6:
		return s.Word
	}
	return near
}
