package shmring_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

// looked is a ring as it is seen from outside.
func looked(t *testing.T, o *shmring.Options) *shmring.RingState {
	t.Helper()
	s, err := shmring.Inspect(soon(t), "r", &shmring.InspectOptions{Dir: o.Dir})
	require.NoError(t, err)
	require.NoError(t, s.Err)
	return s.Ring
}

// Where both sides measure, each message that is due is counted once, whichever calls it goes through, and
// nothing else about it changes.
func TestMeasureTimeInTheQueue(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Mode, o.Slots, o.MeasureEvery = shmring.ModeOpenOrCreate, 64, 1
		p, c := openProducer(t, &o), openConsumer(t, &o)
		require.Nil(t, looked(t, &o).Queueing)
		sends := []func() error{
			func() error { return p.Send(soon(t), []byte("one")) },
			func() error { return p.TrySendKind(make([]byte, 5000), 7) },
			func() error {
				claim, err := p.Claim(soon(t), 100)
				require.NoError(t, err)
				return claim.Commit()
			},
		}
		receives := []func() error{
			func() error { _, err := c.Receive(soon(t), make([]byte, 8192)); return err },
			func() error {
				m, err := c.Next(soon(t))
				m.Release()
				return err
			},
			func() error {
				_, err := c.TryDrain(1, func(shmring.Message) error { return nil })
				return err
			},
		}
		n := 0
		for range 50 {
			for _, send := range sends {
				for _, receive := range receives {
					require.NoError(t, send())
					require.NoError(t, receive())
					n++
				}
			}
		}
		q := looked(t, &o).Queueing
		require.NotNil(t, q)
		require.EqualValues(t, n, q.Count)
		require.Len(t, q.Buckets, 10)

		_, err := p.SendBatch(soon(t), [][]byte{{1}, {2}})
		require.NoError(t, err)
		for range 2 {
			require.NoError(t, receives[0]())
		}
		require.EqualValues(t, n, looked(t, &o).Queueing.Count, "batches are not measured")
	})
}

// One stamp is on its way at a time, also if it waits for long, and one that nobody looked for is
// taken back when its message has passed.
func TestOneStampAtATime(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Mode, o.Slots, o.MeasureEvery = shmring.ModeOpenOrCreate, 64, 1
		p, c := openProducer(t, &o), openConsumer(t, &o)
		send := func() { require.NoError(t, p.Send(soon(t), []byte("x"))) }
		take := func() {
			_, err := c.Receive(soon(t), make([]byte, 8))
			require.NoError(t, err)
		}
		send()
		send()
		begin := time.Now()
		for time.Since(begin) < 5*time.Millisecond {
			require.NoError(t, p.Check())
		}
		take()
		take()
		q := looked(t, &o).Queueing
		require.EqualValues(t, 1, q.Count)
		require.GreaterOrEqual(t, q.Sum, 5*time.Millisecond)
		for i, b := range q.Buckets {
			holds := (b.Max == 0 || q.Sum <= b.Max) && (i == 0 || q.Sum > q.Buckets[i-1].Max)
			require.Equal(t, holds, b.Count == 1, "%v in %v", q.Sum, q.Buckets)
		}

		require.NoError(t, c.Close())
		o.MeasureEvery = 0
		c = openConsumer(t, &o)
		send()
		take()
		require.NoError(t, c.Close())
		o.MeasureEvery = 1
		c = openConsumer(t, &o)
		for range 2 {
			send()
			take()
		}
		require.EqualValues(t, 2, looked(t, &o).Queueing.Count)
	})
}

// A producer that measures waits, drops and refuses like one that does not.
func TestMeasuringChangesNothing(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Mode, o.Slots, o.MeasureEvery = shmring.ModeOpenOrCreate, 8, 1
		o.WhenFull = shmring.WhenFullDrop
		p := openProducer(t, &o)
		require.ErrorAs(t, p.Send(soon(t), make([]byte, 1<<20)), new(*shmring.SizeError))
		for range 8 {
			require.NoError(t, p.Send(soon(t), []byte("x")))
		}
		require.ErrorIs(t, p.TrySend([]byte("x")), shmring.ErrFull)
		require.NoError(t, p.Send(soon(t), []byte("x")))
		require.EqualValues(t, 1, p.Stats().Dropped)
		require.NoError(t, p.CloseSend())
		require.ErrorIs(t, p.Send(soon(t), []byte("x")), shmring.ErrEnded)
		require.NoError(t, p.Close())
		require.ErrorIs(t, p.Send(soon(t), []byte("x")), shmring.ErrClosed)

		o.Mode, o.WhenFull, o.SendTimeout = shmring.ModeOpenOnly, shmring.WhenFullBlock, time.Millisecond
		p = openProducer(t, &o)
		require.ErrorIs(t, p.Send(soon(t), []byte("x")), os.ErrDeadlineExceeded)
	})
}

// The ring keeps how full it was, when its users have moved something, and what they are called.
func TestParticipantsSayMore(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Mode, o.Slots = shmring.ModeOpenOrCreate, 64
		begin := time.Now()
		p := openProducer(t, &o)
		o.Label = "the consumer of TestParticipantsSayMore"
		c := openConsumer(t, &o)
		r := looked(t, &o)
		require.Equal(t, o.Label[:32], r.Peers[0].Label)
		require.Equal(t, filepath.Base(os.Args[0]), r.Peers[1].Label)
		require.Zero(t, r.Peers[0].Progress)
		require.Zero(t, r.Produced.HighWater)

		take := func() {
			_, err := c.Receive(soon(t), make([]byte, 8))
			require.NoError(t, err)
		}
		for range 40 { // so that the producer asks while 30 wait
			require.NoError(t, p.Send(soon(t), []byte("x")))
		}
		for range 10 {
			take()
		}
		for range 30 {
			if err := p.TrySend([]byte("x")); err != nil {
				require.ErrorIs(t, err, shmring.ErrFull)
				break
			}
		}
		r = looked(t, &o)
		require.Greater(t, r.Produced.HighWater, uint64(50))
		require.LessOrEqual(t, r.Produced.HighWater, uint64(64))
		require.Equal(t, r.Produced.HighWater, p.Stats().HighWater)
		isSince(t, r.Peers[1].Progress, begin)

		require.NoError(t, c.Close())
		c = openConsumer(t, &o)
		require.Zero(t, looked(t, &o).Peers[0].Progress, "that of another")
		for range 20 {
			take()
		}
		ctx := soon(t)
		for { // until it would sleep
			n, err := c.TryDrain(0, func(shmring.Message) error { return nil })
			if err != nil {
				require.ErrorIs(t, err, shmring.ErrEmpty)
				break
			}
			require.NotZero(t, n)
			require.NoError(t, ctx.Err())
		}
		require.NoError(t, c.Check())
		isSince(t, looked(t, &o).Peers[0].Progress, begin)
	})
}

func isSince(t *testing.T, at, begin time.Time) {
	t.Helper()
	require.False(t, at.Before(begin), "%v is before %v", at, begin)
	require.False(t, at.After(time.Now()))
}
