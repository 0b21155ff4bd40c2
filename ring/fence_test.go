package ring_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/internal/spin"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// barrier is a ring.Barrier that does what a test wants.
type barrier struct {
	join, fence, fenceAll func() error
	joined                bool // before
}

func (b *barrier) Join() (joined bool, err error) {
	if late > 0 {
		late--
		return false, nil
	}
	err = b.join()
	return err == nil, err
}
func (b *barrier) Joined() bool    { return b.joined }
func (b *barrier) Fence() error    { return b.fence() }
func (b *barrier) FenceAll() error { return b.fenceAll() }

func succeeds() error { return nil }

var errRefused = errors.New("refused")

func refused() error { return errRefused }

// fencedRing is a ring whose producer and consumer have these barriers.
func fencedRing(t *testing.T, kind layout.Kind, join, fence func() error, bell ring.Bell) (*ring.Producer, *consumer,
	*layout.View, *rig) {
	r := newRig(t, memories[0], layout.Config{Kind: kind, Slots: 16, SlotSize: 64})
	_, v, cfg := r.process()
	cfg.Barrier = &barrier{join: join, fence: func() error { panic("a producer fences for nobody") }}
	p, err := ring.NewProducer(v, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { p.Close() })
	c := fencedConsumer(t, r, fence, bell)
	return p, c, v, r
}

func fencedConsumer(t *testing.T, r *rig, fence func() error, bell ring.Bell) *consumer {
	h, v, cfg := r.process()
	if fence != nil {
		cfg.Barrier = &barrier{join: func() error { panic("a consumer has nothing to join for") }, fence: fence}
	}
	if bell != nil {
		cfg.DataBell = bell
	}
	c, err := ring.NewConsumer(v, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return &consumer{c, h, v}
}

var bothKinds = []layout.Kind{layout.SPSC, layout.MPSC}

// A producer publishes plainly if it has joined and the consumer fences, and from the next message on.
func TestWhoPublishesPlainly(t *testing.T) {
	for _, c := range []struct {
		join, fence func() error
		want        bool
	}{
		{succeeds, succeeds, ring.PlainStores},
		{refused, succeeds, false},
		{succeeds, refused, false},
		{succeeds, nil, false},
	} {
		for _, kind := range bothKinds {
			p, consumer, v, _ := fencedRing(t, kind, c.join, c.fence, nil)
			require.False(t, p.IsPlain(), "it has sent nothing")
			stream(t, p, consumer)
			require.Equal(t, c.want, p.IsPlain(), kind)
			require.Equal(t, c.fence != nil && c.fence() == nil, v.Hot.DataBell.Load()&layout.BellFences != 0)
		}
	}
}

// A process that another handle had join asks for nothing, and its next handles publish plainly from the first message
// on.
func TestPlainFromTheFirst(t *testing.T) {
	for _, kind := range bothKinds {
		for _, promised := range []bool{true, false} {
			r := newRig(t, memories[0], layout.Config{Kind: kind, Slots: 16, SlotSize: 64})
			fence := succeeds
			if !promised {
				fence = refused
			}
			c := fencedConsumer(t, r, fence, nil)
			_, v, cfg := r.process()
			cfg.Barrier = &barrier{join: func() error { panic("it has joined") }, joined: true}
			p, err := ring.NewProducer(v, cfg)
			require.NoError(t, err)
			t.Cleanup(func() { p.Close() })
			require.NoError(t, p.TrySend(make([]byte, 8)))
			_, err = c.TryReceive(make([]byte, 8))
			require.NoError(t, err)
			require.Equal(t, ring.PlainStores && promised, p.IsPlain(), kind)
		}
	}
}

// The mark of a commit by a plain store is nothing that a message says of itself, in whatever lap, and whichever way it
// is handed out.
func TestPlainMessagesSayNoMore(t *testing.T) {
	for _, kind := range bothKinds {
		p, c, v, _ := fencedRing(t, kind, succeeds, succeeds, nil)
		stream(t, p, c)
		require.Equal(t, ring.PlainStores, p.IsPlain())
		send := func() { require.NoError(t, p.TrySend(make([]byte, 56))) }
		like := func(m ring.Message) {
			require.False(t, m.Redelivered(), "%v, at %d", kind, m.Position().Record)
			require.Equal(t, []int{56, 0, 1}, []int{m.Len(), int(m.Kind()), m.Producer()})
		}
		for range 8 * 16 / 4 {
			send()
			send()
			first, err := c.TryNext()
			require.NoError(t, err)
			second, err := c.TryNext()
			require.NoError(t, err)
			like(first)
			like(second)
			first.Release()
			if require.NoError(t, c.Check()); kind == layout.MPSC { // no padding
				require.Equal(t, second.Position().Record, v.Hot.ReadPos.Load(), "what is released is")
			}
			second.Release()

			for range 4 { // the first goes the long way
				send()
			}
			n, err := c.TryDrain(4, func(m ring.Message) error {
				like(m)
				return nil
			})
			require.NoError(t, err)
			require.Equal(t, 4, n)
			for range 4 {
				send()
			}
			for view, n := c.View(), 0; n < 4; n++ {
				require.True(t, view.Wait(soon(t)))
				like(view.Message())
			}
		}
	}
}

// heeds sends so often that a producer looks at the promise: the one of an SPSC ring does so at each message.
func heeds(t *testing.T, kind layout.Kind, send func()) {
	t.Helper()
	for range map[layout.Kind]int{layout.SPSC: 1, layout.MPSC: 16}[kind] {
		send()
	}
}

// stream sends so much that a producer thinks of joining.
func stream(t *testing.T, p *ring.Producer, c *consumer) {
	buf := make([]byte, 56)
	for range 100 << 10 / 64 {
		require.NoError(t, p.TrySend(buf))
		_, err := c.TryReceive(buf)
		require.NoError(t, err)
	}
}

// The system takes its time to let a process join; messages are sent meanwhile.
func TestJoinsLater(t *testing.T) {
	t.Cleanup(func() { late = 0 })
	for _, kind := range bothKinds {
		late = 3
		p, c, _, _ := fencedRing(t, kind, succeeds, succeeds, nil)
		stream(t, p, c)
		require.Equal(t, ring.PlainStores, late == 0)
		require.Equal(t, ring.PlainStores, p.IsPlain(), kind)
	}
}

// late is how often the barriers of producers say that they have not joined yet.
var late int

// neverBell is a bell that nobody may sleep on.
type neverBell struct{ slept atomic.Bool }

func (b *neverBell) Sleep(uint32, time.Duration, []*atomic.Uint32) (bool, error) {
	b.slept.Store(true)
	return true, nil
}
func (b *neverBell) Wake(uint32)         {}
func (b *neverBell) Stop(*atomic.Uint32) {}

// The barrier is between the announcement and the second look: what it makes visible is found, and
// nobody sleeps. The message that it makes visible is one whose producer has looked at the bell
// before: a word that is stored by hand, without a notification.
func TestFenceBeforeTheSecondLook(t *testing.T) {
	var p *ring.Producer
	var v *layout.View
	announced := 0
	bell := &neverBell{}
	fence := func() error {
		if p != nil && v.Hot.DataBell.Load()&layout.BellSleeping != 0 {
			if announced++; announced == 1 {
				p.PutByHand(uint64(layout.PackRecord(8, 0, layout.RecordAlign) | layout.RecordFirst))
			}
		}
		return nil
	}
	producer, c, view, _ := fencedRing(t, layout.SPSC, succeeds, fence, bell)
	p, v = producer, view
	n, err := c.Receive(soon(t), make([]byte, 8))
	require.NoError(t, err)
	require.Equal(t, 8, n)
	require.Equal(t, 1, announced, "before the announcement it shows nothing")
	require.False(t, bell.slept.Load(), "behind the second look it is too late")
}

// The barrier may miss a processor. Who leans on it looks on for a while, and finds what becomes visible then.
func TestLooksOnBehindTheBarrier(t *testing.T) {
	if runtime.GOMAXPROCS(0) == 1 {
		t.Skip("one processor holds nothing back from itself")
	}
	// A busy machine lets them run one after the other for a while.
	found, rounds := 0, 0
	for deadline := time.Now().Add(20 * time.Second); found < 3 && time.Now().Before(deadline); rounds++ {
		var p *ring.Producer
		var v *layout.View
		var late sync.WaitGroup
		var spins, fenced atomic.Bool
		bell := &neverBell{}
		fence := func() error {
			if p != nil && v.Hot.DataBell.Load()&layout.BellSleeping != 0 {
				fenced.Store(true)
			}
			return nil
		}
		producer, c, view, _ := fencedRing(t, layout.SPSC, succeeds, fence, bell)
		p, v = producer, view
		late.Go(func() {
			for spins.Store(true); !fenced.Load(); spin.Pause() {
			}
			for range 200 { // some microseconds behind the barrier
				spin.Pause()
			}
			p.PutByHand(uint64(layout.PackRecord(8, 0, layout.RecordAlign) | layout.RecordFirst))
		})
		for !spins.Load() {
			runtime.Gosched()
		}
		_, err := c.Receive(soon(t), make([]byte, 8))
		require.NoError(t, err)
		late.Wait()
		if !bell.slept.Load() {
			found++
		}
		require.True(t, c.Close())
	}
	t.Logf("%d of %d", found, rounds)
	require.Equal(t, 3, found)
}

// A consumer that sleeps often promises nothing, and does when it takes many messages in between.
func TestPromiseOnlyWhileItPays(t *testing.T) {
	for _, kind := range bothKinds {
		t.Run(kind.String(), func(t *testing.T) { promiseOnlyWhileItPays(t, kind) })
	}
}

func promiseOnlyWhileItPays(t *testing.T, kind layout.Kind) {
	var word *atomic.Uint32
	fences, afterwards := 0, 0
	fence := func() error {
		if fences++; word != nil && word.Load()&layout.BellFences == 0 {
			afterwards++
		}
		return nil
	}
	p, c, v, _ := fencedRing(t, kind, succeeds, fence, nil)
	word = &v.Hot.DataBell
	buf := make([]byte, 8)
	nap := func() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := c.Receive(ctx, buf)
		require.Error(t, err)
	}
	promised := func() bool { return v.Hot.DataBell.Load()&layout.BellFences != 0 }
	require.True(t, promised())
	for n := 0; promised(); n++ {
		require.Less(t, n, 20)
		nap()
	}
	before := fences
	require.LessOrEqual(t, before, 8)
	require.Equal(t, 1, afterwards, "who withdraws it makes sure once that nothing is on its way")
	for range 5 {
		nap()
	}
	require.Equal(t, before, fences, "who has promised nothing fences for nobody")
	stream(t, p, c)
	require.False(t, p.IsPlain())
	nap()
	require.True(t, promised())
	heeds(t, kind, func() { require.NoError(t, p.TrySend(buf)) })
	require.Equal(t, ring.PlainStores, p.IsPlain())
}

// A consumer that cannot keep the promise of its predecessor, or not any more its own, takes it
// back, and its producer goes by barriers again.
func TestPromiseIsTakenBack(t *testing.T) {
	for _, kind := range bothKinds {
		t.Run(kind.String(), func(t *testing.T) { promiseIsTakenBack(t, kind) })
	}
}

func promiseIsTakenBack(t *testing.T, kind layout.Kind) {
	refuses := false
	fence := func() error {
		if refuses {
			return errRefused
		}
		return nil
	}
	p, c, v, r := fencedRing(t, kind, succeeds, fence, nil)
	buf := make([]byte, 8)
	send := func() {
		require.NoError(t, p.TrySend(buf))
		_, err := c.TryReceive(buf)
		require.NoError(t, err)
	}
	stream(t, p, c)
	require.Equal(t, ring.PlainStores, p.IsPlain())
	refuses = true
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	_, err := c.Receive(ctx, buf)
	require.Error(t, err)
	require.Zero(t, v.Hot.DataBell.Load()&layout.BellFences)
	send()
	require.False(t, p.IsPlain())

	v.Hot.DataBell.Or(layout.BellFences)
	heeds(t, kind, send)
	require.Equal(t, ring.PlainStores, p.IsPlain())
	c.die()
	c = fencedConsumer(t, r, nil, nil)
	require.Zero(t, v.Hot.DataBell.Load()&layout.BellFences, "the new one has promised nothing")
	send()
	require.False(t, p.IsPlain())
}

// Who commits by a plain store looks at the bell behind it, and wakes who is announced there, whatever way the message
// goes.
func TestPlainPublishRings(t *testing.T) {
	for _, kind := range bothKinds {
		p, c, v, _ := fencedRing(t, kind, succeeds, succeeds, nil)
		stream(t, p, c)
		require.Equal(t, ring.PlainStores, p.IsPlain())
		for _, size := range []int{8, 64, 65, 130} {
			for _, claims := range []bool{false, true} {
				v.Hot.DataBell.Or(layout.BellSleeper)
				if claims {
					claim, err := p.TryClaim(size)
					require.NoError(t, err)
					require.NoError(t, claim.Commit())
				} else {
					require.NoError(t, p.TrySend(make([]byte, size)))
				}
				require.Zero(t, v.Hot.DataBell.Load()&layout.BellSleeping, "%v, %d bytes, claimed: %v", kind, size, claims)
				_, err := c.TryReceive(make([]byte, size))
				require.NoError(t, err)
				require.Equal(t, ring.PlainStores, p.IsPlain())
			}
		}
	}
}
