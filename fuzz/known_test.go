package fuzz

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// Situations that were wrong once, or that a script meets too rarely.

type fixture struct {
	t     *testing.T
	v     *layout.View
	table lockTable
}

func newFixture(t *testing.T, cfg layout.Config) *fixture {
	cfg.Participants, cfg.Doorbell = max(2, cfg.Participants), layout.Futex
	cfg.MaxMessage = cfg.Capacity()
	size, err := cfg.Size()
	if err != nil {
		t.Fatal(err)
	}
	v, err := layout.Format(memory(t, int(size)), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{t: t, v: v}
}

func (f *fixture) producer() (*ring.Producer, *locks) {
	l := f.table.process()
	p, err := ring.NewProducer(f.v, ring.Config{Locks: l, DataBell: &bell{}}) // without a bell of its own it polls
	if err != nil {
		f.t.Fatal(err)
	}
	return p, l
}

func (f *fixture) consumer() *ring.Consumer {
	c, err := ring.NewConsumer(f.v, ring.Config{Locks: f.table.process(), DataBell: &bell{}, SpaceBell: &bell{}})
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// The consumer has read everything and sleeps at slot 1 of 8. A message of all 8
// slots first needs 7 of padding and then waits for the consumer to pass it, so
// somebody has to tell the consumer. The same where records lie in line.
func TestPaddingRings(t *testing.T) {
	for _, kind := range []layout.Kind{layout.SPSC, layout.MPSC} {
		f := newFixture(t, layout.Config{Kind: kind, Slots: 8, SlotSize: 64})
		p, _ := f.producer()
		c := f.consumer()
		first := 0
		if kind == layout.SPSC {
			first = 512
		}
		buf := make([]byte, first)
		f.must(p.TrySend(buf))
		_, err := c.TryReceive(buf)
		f.must(err)
		if _, err := c.TryReceive(nil); err != ring.ErrEmpty {
			t.Fatal(err)
		}
		f.v.Hot.DataBell.Or(1) // as a sleeping consumer does
		if err := p.TrySend(make([]byte, 8*64)); err != ring.ErrFull {
			t.Fatal(err)
		}
		if f.v.Hot.DataBell.Load()&1 != 0 {
			t.Errorf("%v: padding was published, the producer waits for it to be passed, and the consumer sleeps on", kind)
		}
	}
}

// A second Release has no effect: not on what Receive returned since, which is being
// handled, nor on when that is released.
func TestReleaseTwice(t *testing.T) {
	f := newFixture(t, layout.Config{Kind: layout.SPSC, Slots: 8, SlotSize: 64})
	p, _ := f.producer()
	c := f.consumer()
	buf := make([]byte, 512)
	const size = 136 // of a record, so large that each is released at once
	for range 3 {
		f.must(p.TrySend(buf[:128]))
	}
	m1, err := c.TryNext()
	f.must(err)
	m2, err := c.TryNext()
	f.must(err)
	m2.Release()
	_, err = c.TryReceive(buf)
	f.must(err)
	m2.Release()
	if read := f.v.Hot.ReadPos.Load(); read != 2*size {
		t.Errorf("ReadPos is %d: what Receive returned is released while it is handled", read)
	}
	m1.Release()
	if _, err := c.TryReceive(buf); err != ring.ErrEmpty {
		t.Fatal(err)
	}
	if read := f.v.Hot.ReadPos.Load(); read != 3*size {
		t.Errorf("ReadPos is %d: what Receive returned is never released, the ring may stay full for ever", read)
	}
}

// A producer that ends its stream and exits without Close has not died in the middle
// of anything, also when the consumer finds it dead before it has read the end.
func TestEndThenExit(t *testing.T) {
	f := newFixture(t, layout.Config{Kind: layout.SPSC, Slots: 8, SlotSize: 64})
	p, l := f.producer()
	c := f.consumer()
	f.must(p.TrySend(nil))
	f.must(p.CloseSend())
	l.kill()
	f.must(c.Check())
	_, err := c.TryReceive(nil)
	f.must(err)
	if _, err = c.TryReceive(nil); err != io.EOF {
		t.Fatal(err)
	}
	if _, err = c.TryReceive(nil); err != ring.ErrEmpty {
		t.Errorf("behind io.EOF: %v", err)
	}
}

// A send while a Claim is open is a bug and panics. The deferred Close that then runs
// must not wait for that send.
func TestHaltAfterMisuse(t *testing.T) {
	for name, send := range map[string]func(*ring.Producer) error{
		"TrySend":      func(p *ring.Producer) error { return p.TrySend(nil) },
		"TrySendBatch": func(p *ring.Producer) error { _, err := p.TrySendBatch([][]byte{nil, nil}); return err },
		"TryClaim":     func(p *ring.Producer) error { _, err := p.TryClaim(1); return err },
		"CloseSend":    func(p *ring.Producer) error { return p.CloseSend() },
	} {
		f := newFixture(t, layout.Config{Kind: layout.SPSC, Slots: 8, SlotSize: 64})
		p, _ := f.producer()
		_, err := p.TryClaim(1)
		f.must(err)
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s while a Claim is open does not panic", name)
				}
			}()
			_ = send(p)
		}()
		closed := make(chan struct{})
		go func() { p.Close(); close(closed) }()
		select {
		case <-closed:
		case <-time.After(time.Second):
			t.Fatalf("Halt waits for ever for the %s that panicked", name)
		}
	}
}

// A producer that waits for room looks at what it waits for.
func TestLieWhileWaiting(t *testing.T) {
	for _, kind := range []layout.Kind{layout.SPSC, layout.MPSC} {
		f := newFixture(t, layout.Config{Kind: kind, Slots: 8, SlotSize: 64})
		p, _ := f.producer()
		for p.TrySend(nil) == nil {
		}
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		time.AfterFunc(20*time.Millisecond, func() { f.v.Hot.ReadPos.Store(1 << 40) })
		err := p.Send(ctx, nil)
		if !errors.Is(err, ring.ErrCorrupt) {
			t.Errorf("%v: ReadPos is far beyond what was sent, and Send says: %v", kind, err)
		}
	}
}

// Two producers of an SPSC ring would write over each other.
func TestOneProducer(t *testing.T) {
	cfg := layout.Config{Kind: layout.SPSC, Slots: 8, Participants: 3, Doorbell: layout.Futex}
	if _, err := cfg.Size(); !errors.Is(err, layout.ErrConfig) {
		t.Errorf("an SPSC ring of 3 participants is accepted: %v", err)
	}
}

// The second slot was last written 2^42 laps ago less one, and inside longer messages
// ever since.
func TestRenew(t *testing.T) {
	for _, kind := range []layout.Kind{layout.SPSC, layout.MPSC} {
		f := newFixture(t, layout.Config{Kind: kind, Slots: 8, SlotSize: 64, Start: 1<<32*8*5 - 8})
		past(f.v, true)
		p, _ := f.producer()
		c := f.consumer()
		buf := make([]byte, 512)
		f.must(p.TrySend(buf))
		_, err := c.TryReceive(buf)
		f.must(err)
		if n, err := c.TryReceive(buf); err != ring.ErrEmpty { // which also makes room
			t.Fatalf("%v: a message of %d bytes that nobody sent, %v", kind, n, err)
		}
		for range 24 { // three laps
			f.must(p.TrySend(nil))
			n, err := c.TryReceive(buf)
			f.must(err)
			if n != 0 {
				t.Fatalf("%v: %d bytes that nobody sent", kind, n)
			}
			if n, err := c.TryReceive(buf); err != ring.ErrEmpty {
				t.Fatalf("%v: a message of %d bytes that nobody sent, %v", kind, n, err)
			}
		}
	}
}

// Lies that do no harm by themselves, but after which nothing the ring says is true.
func TestLiesAreFound(t *testing.T) {
	tests := []struct {
		name string
		kind layout.Kind
		lie  func(v *layout.View) // after 8 messages were sent and 2 received
		call func(p *ring.Producer, c *ring.Consumer) error
	}{
		{"a claim longer than the ring", layout.MPSC,
			func(v *layout.View) { v.Hot.Tail.Store(layout.PackTail(8, 9, 1)) },
			func(p *ring.Producer, _ *ring.Consumer) error { return p.TrySend(nil) }},
		{"more claimed than there is room", layout.MPSC,
			func(v *layout.View) {
				v.Hot.Tail.Store(layout.PackTail(2+9, 1, 1))
				v.Descriptors[2].Ctl.Store(0)
			},
			func(_ *ring.Producer, c *ring.Consumer) error { return c.Check() }},
		{"ReadPos ahead of the producer", layout.SPSC,
			func(v *layout.View) { v.Hot.ReadPos.Store(1 << 20) },
			func(p *ring.Producer, _ *ring.Consumer) error { return p.TrySend(make([]byte, 500)) }},
		{"ReadPos where no record can begin", layout.SPSC,
			func(v *layout.View) { v.Hot.ReadPos.Store(500) },
			func(p *ring.Producer, _ *ring.Consumer) error { return p.TrySend(make([]byte, 500)) }},
		{"a record that no producer writes", layout.SPSC,
			func(v *layout.View) { v.Area[16+7] = 0x81 },
			func(_ *ring.Producer, c *ring.Consumer) error { _, err := c.TryReceive(nil); return err }},
		{"ReadPos going back", layout.MPSC,
			func(v *layout.View) { v.Hot.ReadPos.Store(^uint64(0)) },
			func(p *ring.Producer, _ *ring.Consumer) error { return p.TrySend(nil) }},
		{"a claim that is not on record", layout.MPSC,
			func(v *layout.View) { v.Descriptors[2].Ctl.Store(0) },
			func(_ *ring.Producer, c *ring.Consumer) error { return c.Check() }},
	}
	for _, tt := range tests {
		f := newFixture(t, layout.Config{Kind: tt.kind, Slots: 8, SlotSize: 64})
		p, _ := f.producer()
		c := f.consumer()
		for range 8 {
			f.must(p.TrySend(nil))
		}
		if tt.kind == layout.SPSC {
			f.must(p.TrySend(make([]byte, 500)))
		}
		for range 2 {
			_, err := c.TryReceive(nil)
			f.must(err)
		}
		f.must(c.Check()) // stores ReadPos
		tt.lie(f.v)
		for range 2 { // the second time because the handle has failed
			if err := tt.call(p, c); !errors.Is(err, ring.ErrCorrupt) {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
	}
}
