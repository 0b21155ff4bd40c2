package ring_test

import (
	"context"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// Whoever waits for a peer on the same processor does not spin, for the peer could not answer;
// whoever waits for one elsewhere does.
func TestNoSpinningBesideThePeer(t *testing.T) {
	var cpu atomic.Int64
	t.Cleanup(ring.FakeCPU(func() int { return int(cpu.Load()) }))
	each(t, func(t *testing.T, rig func(layout.Config) *rig) {
		r := rig(layout.Config{Slots: 8})
		r.spin = 50 * time.Microsecond
		p, c := r.producer(), r.consumer()
		for p.TrySend(nil) == nil {
		}
		// spins tells whether a wait of either side begins with spinning.
		spins := func(producer bool, on int64) bool {
			cpu.Store(on)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
			defer cancel()
			var err error
			stats := c.Stats
			if producer {
				stats = p.Stats
			}
			before := stats().Spins
			if producer {
				err = p.Send(ctx, nil)
			} else {
				_, err = c.Receive(ctx, make([]byte, 8))
			}
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			return stats().Spins > before
		}
		require.True(t, spins(true, 3), "nobody knows yet where the consumer is")
		for err := error(nil); err == nil; {
			_, err = c.TryDrain(0, func(ring.Message) error { return nil })
		}
		require.False(t, spins(false, 3), "the producer has waited here")
		require.False(t, spins(false, 3))
		require.True(t, spins(false, 4))
		for p.TrySend(nil) == nil {
		}
		require.False(t, spins(true, 4), "the consumer has waited here")
		require.True(t, spins(true, 5))

		// Who wakes a sleeper says where it is, too.
		for err := error(nil); err == nil; {
			_, err = c.TryDrain(0, func(ring.Message) error { return nil })
		}
		cpu.Store(7)
		c.view.Hot.DataBell.Or(layout.BellSleeper)
		require.NoError(t, p.TrySend(nil))
		receive(t, c)
		require.False(t, spins(false, 7))
		p.leave()
		require.True(t, spins(false, 7), "nobody is there who could be here")
	})
}

// Two that share a processor try to be moved apart, ever more seldom, and anew when they were
// apart in between.
func TestSharingAProcessorIsGivenUpSeldom(t *testing.T) {
	var cpu atomic.Int64
	t.Cleanup(ring.FakeCPU(func() int { return int(cpu.Load()) }))
	each(t, func(t *testing.T, rig func(layout.Config) *rig) {
		cpu.Store(1)
		r := rig(layout.Config{Slots: 8})
		r.spin = time.Microsecond
		p, c := r.producer(), r.consumer()
		for p.TrySend(nil) == nil {
		}
		wait := func() {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Microsecond)
			defer cancel()
			require.ErrorIs(t, p.Send(ctx, nil), os.ErrDeadlineExceeded)
		}
		c.view.Participants[layout.ConsumerIndex].CPU.Store(2) // 1 + 1
		for range 64 + 2 {
			wait()
		}
		require.Equal(t, 128, p.MoveAfter())
		for range 128 {
			wait()
		}
		require.Equal(t, 256, p.MoveAfter())
		cpu.Store(2)
		wait()
		require.Equal(t, 64, p.MoveAfter())
	})
}
