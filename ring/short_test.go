package ring

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

// pair is a ring over heap memory with both of its handles in one process.
func pair(t *testing.T, kind layout.Kind, slots int) (*layout.View, *Producer, *Consumer) {
	cfg := layout.Config{Kind: kind, Slots: slots, SlotSize: 64, Participants: 2, Doorbell: layout.Futex}
	cfg.MaxMessage = cfg.Capacity()
	size, err := cfg.Size()
	require.NoError(t, err)
	seg := shm.Heap(int(size))
	v, err := layout.Format(seg.Bytes(), cfg)
	require.NoError(t, err)
	p, err := NewProducer(v, Config{Locks: seg})
	require.NoError(t, err)
	other, err := seg.Reopen()
	require.NoError(t, err)
	c, err := NewConsumer(v, Config{Locks: other})
	require.NoError(t, err)
	return v, p, c
}

// take receives the next message in one of the ways there are.
func take(c *Consumer, way int, buf []byte) (n int, err error) {
	switch way {
	case 0:
		return c.TryReceive(buf)
	case 1:
		m, err := c.TryNext()
		if err == nil {
			m.Release()
		}
		return m.Len(), err
	}
	_, err = c.TryDrain(1, func(m Message) error {
		n = m.Len()
		return nil
	})
	return n, err
}

// What a peer writes into a record that is like those before it is looked at all the same.
func TestShortWayBelievesNothing(t *testing.T) {
	for way := range 3 {
		for name, meta := range map[string]uint64{
			"too long for its slot": layout.PackMeta(65, 0, 0),
			"too long for anything": layout.PackMeta(1<<32-1, 0, 0),
			"of an unknown kind":    layout.PackMeta(8, 0, 1<<7),
			"an empty batch":        layout.PackMeta(0, 0, layout.FlagBatch),
		} {
			t.Run(fmt.Sprint(way, " ", name), func(t *testing.T) {
				v, p, c := pair(t, layout.MPSC, 512)
				buf := make([]byte, 1024)
				for range 8 {
					require.NoError(t, p.TrySend(make([]byte, 8)))
				}
				v.Descriptors[5].Meta = meta
				for range 5 {
					n, err := take(c, way, buf)
					require.NoError(t, err)
					require.Equal(t, 8, n)
				}
				_, err := take(c, way, buf)
				var corrupt *CorruptError
				require.ErrorAs(t, err, &corrupt)
				require.EqualValues(t, 5, corrupt.Position)
			})
		}
	}
}

// The same of records in line, whose word is all there is.
func TestShortWayBelievesNoWord(t *testing.T) {
	const there = layout.Record(1 << 63)
	good := layout.PackRecord(8, 0, layout.RecordAlign)
	for way := range 3 {
		for name, word := range map[string]layout.Record{
			"too long for the ring":   good + 1<<17,
			"too long for anything":   good | (1<<32 - 1),
			"a skip behind all":       layout.PackRecord(1<<16-5*16, 0, layout.RecordAlign) | layout.RecordSkip,
			"of an unknown kind":      good | 1<<50,
			"of no kind at all":       good | 1<<62,
			"without its first bit":   good &^ there,
			"aligned to one":          good &^ (7 << 56),
			"aligned to sixteen":      good | 15<<56,
			"a skip behind the lap":   good + 1<<20 | layout.RecordSkip,
			"a skip of an odd length": good | layout.RecordSkip | 1<<56 | 1<<61,
		} {
			t.Run(fmt.Sprint(way, " ", name), func(t *testing.T) {
				_, p, c := pair(t, layout.SPSC, 512)
				buf := make([]byte, 1024)
				for range 8 {
					require.NoError(t, p.TrySend(make([]byte, 8)))
				}
				p.publish(5*16, word)
				for range 5 {
					n, err := take(c, way, buf)
					require.NoError(t, err)
					require.Equal(t, 8, n)
				}
				_, err := take(c, way, buf)
				var corrupt *CorruptError
				require.ErrorAs(t, err, &corrupt)
				require.EqualValues(t, 5*16, corrupt.Position)
				require.EqualValues(t, word, corrupt.Got)
			})
		}
	}
}

// Looks at an empty ring find it empty wherever they are, also where a lap ends and what was
// there a lap ago looks like what comes next.
func TestShortWayEndsWithTheLap(t *testing.T) {
	for _, kind := range []layout.Kind{layout.SPSC, layout.MPSC} {
		t.Run(kind.String(), func(t *testing.T) { shortWayEndsWithTheLap(t, kind) })
	}
}

func shortWayEndsWithTheLap(t *testing.T, kind layout.Kind) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 0))
		_, p, c := pair(t, kind, 64)
		buf := make([]byte, 192)
		send := func(n int) {
			require.NoError(t, p.TrySend(make([]byte, n)))
		}
		receive := func(n int) {
			got, err := take(c, rng.IntN(3), buf)
			require.NoError(t, err)
			require.Equal(t, n, got)
		}
		for range rng.IntN(6) { // chores and marks fall due elsewhere each time
			send(192)
			receive(192)
		}
		for c.pos < 6*c.span {
			gap := 1 + rng.IntN(12)
			for i := range gap {
				send(i)
			}
			for i := range gap {
				receive(i)
			}
			_, err := take(c, rng.IntN(3), buf)
			require.ErrorIs(t, err, ErrEmpty)
		}
	}
}

// The cursors stay in order whatever comes and however it is taken.
func TestShortWayKeepsTheCursorsInOrder(t *testing.T) {
	for _, kind := range []layout.Kind{layout.SPSC, layout.MPSC} {
		t.Run(kind.String(), func(t *testing.T) { shortWayKeepsTheCursorsInOrder(t, kind) })
	}
}

func shortWayKeepsTheCursorsInOrder(t *testing.T, kind layout.Kind) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 0))
		_, p, c := pair(t, kind, 64<<rng.IntN(4))
		buf := make([]byte, 4096)
		size := 8
		for range 3000 {
			if rng.IntN(8) == 0 {
				size = rng.IntN(300)
			}
			if err := p.TrySend(make([]byte, size)); err != nil {
				require.ErrorIs(t, err, ErrFull)
			}
			if rng.IntN(3) > 0 {
				_, err := take(c, rng.IntN(3), buf)
				if err != nil {
					require.ErrorIs(t, err, ErrEmpty)
				}
			}
			c.invariant()
			s := &c.short
			for _, until := range []uint64{s.until, s.drain} {
				last := until // of an SPSC ring it is where the last record ends
				if kind == layout.MPSC {
					last = until - 1 + s.slots
				}
				if int64(until-c.pos) > 0 {
					require.LessOrEqual(t, int64(last-c.mark), int64(0), "the segment says that all of it may be seen")
					require.Equal(t, c.pos&^(c.span-1), (last-1)&^(c.span-1), "one lap has one word")
				}
			}
		}
	}
}

// Looking at a ring that is empty leaves nothing undone for a call that may only look once.
func TestDryRingHasNoChoresLeft(t *testing.T) {
	for _, kind := range []layout.Kind{layout.SPSC, layout.MPSC} {
		dryWithoutChores(t, kind)
	}
}

func dryWithoutChores(t *testing.T, kind layout.Kind) {
	_, p, c := pair(t, kind, 8)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	msg := make([]byte, 40) // a few of them make chores due
	for range 20 {
		for range 4 {
			require.NoError(t, p.TrySend(msg))
		}
		_, err := c.TryDrain(0, func(Message) error { return nil })
		require.NoError(t, err)
		_, err = c.TryReceive(nil)
		require.ErrorIs(t, err, ErrEmpty)
		require.NoError(t, p.TrySend(msg))
		n, err := c.Drain(ended, 0, func(Message) error { return nil })
		require.NoError(t, err, "there is a message, and no loop to end")
		require.Equal(t, 1, n)
		_, err = c.TryReceive(nil)
		require.ErrorIs(t, err, ErrEmpty)
	}
}

// The message that ends a dryness goes the short way, so that a loop over TryReceive or TryNext is as
// quick to answer as Receive.
func TestShortWayBehindDryness(t *testing.T) {
	for _, kind := range []layout.Kind{layout.SPSC, layout.MPSC} {
		for way, look := range []func(*Consumer) error{
			func(c *Consumer) error { _, err := c.TryReceive(nil); return err },
			func(c *Consumer) error { _, err := c.TryNext(); return err },
		} {
			_, p, c := pair(t, kind, 64)
			long := 0
			for i := range 1000 {
				require.NoError(t, p.TrySend(make([]byte, 32)))
				_, err := take(c, way, make([]byte, 32))
				require.NoError(t, err)
				for range 1 + i%3 { // the first stores what was read
					require.ErrorIs(t, look(c), ErrEmpty)
				}
				if i%3 != 0 && int64(c.short.until-c.pos) <= 0 {
					long++
				}
			}
			require.Less(t, long, 200, "%v, way %d: of 666, where chores are due", kind, way)
		}
	}
}

// What is released while the ring is dry, in order or not, is released by the next look.
func TestReleaseBehindDryness(t *testing.T) {
	for _, kind := range []layout.Kind{layout.SPSC, layout.MPSC} {
		for _, first := range []int{0, 1} { // of two on loan
			v, p, c := pair(t, kind, 64)
			var loans [2]Message
			var ends [2]uint64
			for i := range loans {
				require.NoError(t, p.TrySend(make([]byte, 32)))
				m, err := c.TryNext()
				require.NoError(t, err)
				loans[i], ends[i] = m, c.pos
			}
			dry := func() {
				for range 3 {
					_, err := c.TryReceive(nil)
					require.ErrorIs(t, err, ErrEmpty)
				}
			}
			dry()
			require.Zero(t, v.Hot.ReadPos.Load())
			loans[first].Release()
			dry()
			require.Equal(t, ends[first], v.Hot.ReadPos.Load(), "%v", kind)
			loans[1].Release()
			dry()
			require.Equal(t, ends[1], v.Hot.ReadPos.Load(), "%v", kind)
		}
	}
}
