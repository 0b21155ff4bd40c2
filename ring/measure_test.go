package ring_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// measuring is a ring, and what makes processes of it that measure, by a clock that the test sets.
func measuring(t *testing.T, kind layout.Kind, now *uint64) (produce func() (front *ring.Producer, whole *producer),
	c *ring.Consumer, v *layout.View) {
	r := newRig(t, memories[0], layout.Config{Kind: kind, Slots: 16, SlotSize: 64})
	clock := func() uint64 { return *now }
	produce = func() (front *ring.Producer, whole *producer) {
		h, v, cfg := r.process()
		cfg.Now, cfg.MeasureEvery = clock, 1
		p, err := ring.NewProducer(v, cfg)
		require.NoError(t, err)
		return p.Measured(), &producer{p, h, v}
	}
	_, v, cfg := r.process()
	cfg.Now = clock
	whole, err := ring.NewConsumer(v, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { whole.Close() })
	return produce, whole.Measured(), v
}

// A stamp whose record was never published is not taken for that of the record that comes to end there;
// that of a record that waits stays when another producer comes.
func TestStampOfTheDead(t *testing.T) {
	const unit = layout.StampUnit
	for _, kind := range []layout.Kind{layout.SPSC, layout.MPSC} {
		now := uint64(unit)
		produce, c, v := measuring(t, kind, &now)
		p, whole := produce()
		buf := make([]byte, 8)
		for range 40 { // some laps of slots
			require.NoError(t, p.TrySend(buf))
			_, err := c.TryReceive(buf)
			require.NoError(t, err)
		}
		require.Zero(t, v.Hot.Stamp.Load())
		counts, sum := ring.LookAtQueueing(v)
		require.EqualValues(t, 40, counts[0])
		require.Zero(t, sum)

		require.NoError(t, p.TrySend(buf)) // waits
		waits := v.Hot.Stamp.Load()
		require.True(t, waits.Present())
		whole.leave()
		p, whole = produce()
		require.Equal(t, waits, v.Hot.Stamp.Load())
		now += 1000 * unit
		take(t, c, buf)
		counts, sum = ring.LookAtQueueing(v)
		require.EqualValues(t, 1000*unit, sum)
		require.EqualValues(t, 1, counts[4], "%v", counts)

		if kind == layout.MPSC {
			continue // there the dead one's claim is passed over
		}
		require.NoError(t, p.TrySend(buf))
		end := waits // of the record behind, whose producer is killed before it is published
		take(t, c, buf)
		v.Hot.Stamp.Store(layout.PackStamp(uint64(end)>>1+2*2, now))
		whole.die()
		p, _ = produce()
		require.Zero(t, v.Hot.Stamp.Load())
		now += 1000 * unit
		require.NoError(t, p.TrySend(buf))
		take(t, c, buf)
		_, sum = ring.LookAtQueueing(v)
		require.EqualValues(t, 1000*unit, sum)
	}
}

// take takes the next message, past what there is to tell.
func take(t *testing.T, c *ring.Consumer, buf []byte) {
	t.Helper()
	for range 4 {
		if _, err := c.TryReceive(buf); err == nil {
			return
		}
	}
	require.Fail(t, "no message")
}
