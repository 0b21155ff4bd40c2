package ring_test

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// What Send does on a full ring is the handle's policy; the end of a stream waits in
// any case.
func TestFullPolicies(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		for _, full := range []ring.WhenFull{ring.WhenFullBlock, ring.WhenFullFail, ring.WhenFullDrop} {
			r := newRig(layout.Config{Slots: 8, SlotSize: 64})
			_, v, cfg := r.process()
			cfg.WhenFull, cfg.SendTimeout = full, time.Millisecond
			p, err := ring.NewProducer(v, cfg)
			require.NoError(t, err)
			c := r.consumer()
			ctx := soon(t)
			msg := eighth("kept")
			if r.cfg.Kind == layout.MPSC {
				msg = line("kept")
			}
			for range 8 {
				require.NoError(t, p.Send(ctx, msg))
			}
			err = p.Send(ctx, msg)
			n, batchErr := p.SendBatch(ctx, [][]byte{msg, {2}, {3}})
			require.Zero(t, n)
			_, claimErr := p.Claim(ctx, len(msg))
			switch full {
			case ring.WhenFullBlock:
				for _, err := range []error{err, batchErr, claimErr} {
					require.ErrorIs(t, err, os.ErrDeadlineExceeded)
					require.ErrorContains(t, err, "timeout")
				}
			case ring.WhenFullFail:
				for _, err := range []error{err, batchErr, claimErr} {
					require.Equal(t, ring.ErrFull, err)
				}
			case ring.WhenFullDrop:
				require.NoError(t, err)
				require.NoError(t, batchErr)
				require.Equal(t, ring.ErrFull, claimErr)
				require.EqualValues(t, 4, p.Stats().Dropped)
			}
			require.Positive(t, p.Stats().Full)
			require.ErrorIs(t, p.Send(ctx, make([]byte, p.MaxMessage()+1)), ring.ErrTooLarge, "is not dropped")

			ended := make(chan error, 1)
			go func() { ended <- p.CloseSend() }()
			for range 8 {
				buf := make([]byte, len(msg))
				n, err := c.Receive(ctx, buf)
				require.NoError(t, err)
				require.Equal(t, string(msg), string(buf[:n]))
			}
			_, err = c.Receive(ctx, nil)
			require.Error(t, err, "the end arrives")
			require.NoError(t, <-ended)
		}
	})
}

// A batch of which a part fits: the rest is dropped, and counted.
func TestDropRestOfBatch(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		_, v, cfg := r.process()
		cfg.WhenFull = ring.WhenFullDrop
		p, err := ring.NewProducer(v, cfg)
		require.NoError(t, err)
		large := make([]byte, 64) // one record each
		if r.cfg.Kind == layout.SPSC {
			large = eighth("")
		}
		n, err := p.SendBatch(soon(t), [][]byte{large, large, large, large, large, large, large, large, large, large})
		require.NoError(t, err)
		require.Equal(t, 8, n)
		require.EqualValues(t, 2, p.Stats().Dropped)
	})
}

// A handle stops spinning where that does not pay, and starts again when answers come
// quickly, even if its peer has stopped too.
func TestAdaptiveSpin(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		there, back := newRig(layout.Config{Slots: 8, SlotSize: 64}), newRig(layout.Config{Slots: 8, SlotSize: 64})
		there.spin, back.spin = 50*time.Microsecond, 50*time.Microsecond
		p1, c1, p2, c2 := there.producer(), there.consumer(), back.producer(), back.consumer()
		ctx := soon(t)
		buf := make([]byte, 8)
		for c1.Adaptive() > 100 || c2.Adaptive() > 100 {
			short, cancel := context.WithTimeout(ctx, 200*time.Microsecond)
			_, err := c1.Receive(short, buf)
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			_, err = c2.Receive(short, buf)
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			cancel()
		}
		spins := c1.Stats().Spins
		require.Positive(t, spins)
		for range 15 { // but for a probe now and then
			short, cancel := context.WithTimeout(ctx, 200*time.Microsecond)
			_, err := c1.Receive(short, buf)
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			cancel()
		}
		require.LessOrEqual(t, c1.Stats().Spins-spins, uint64(2), "it has stopped")

		var wg sync.WaitGroup
		stop := make(chan struct{})
		wg.Go(func() {
			buf := make([]byte, 8)
			for {
				n, err := c1.Receive(ctx, buf)
				if err != nil || n == 0 || p2.Send(ctx, buf[:n]) != nil {
					return
				}
			}
		})
		go func() {
			defer close(stop)
			for c1.Adaptive() < 900 || c2.Adaptive() < 900 {
				if p1.Send(ctx, []byte("ping")) != nil {
					return
				}
				if _, err := c2.Receive(ctx, buf); err != nil {
					return
				}
			}
		}()
		<-stop
		require.NoError(t, ctx.Err(), "both sides have to find back to spinning")
		require.NoError(t, p1.Send(ctx, nil))
		wg.Wait()
	})
}

// Sleeps grow while nothing happens, up to the cap, and time asleep is counted.
func TestSleepsGrow(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		_, v, cfg := r.process()
		cfg.FirstSleep, cfg.MaxSleep = time.Millisecond, time.Second
		c, err := ring.NewConsumer(v, cfg)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err = c.Receive(ctx, nil)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		s := c.Stats()
		// 8 of a millisecond, then each an eighth longer than the last: 40 to 300 ms.
		require.Less(t, s.Sleeps, uint64(60), "%+v", s)
		require.Greater(t, s.Asleep, 100*time.Millisecond)
		require.LessOrEqual(t, s.Asleep, 10*time.Second)
		require.Zero(t, s.TimeoutWakeups)
	})
}
