package shmring_test

import (
	"io"
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
// nothing else about it changes. Of a batch it is the last one.
func TestMeasureTimeInTheQueue(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Mode, o.Slots, o.MeasureEvery = shmring.ModeOpenOrCreate, 64, 1
		p, c := openProducer(t, &o), openConsumer(t, &o)
		require.Nil(t, looked(t, &o).Queueing)
		sends := sendsOf(t, p)
		v := c.View()
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
			func() error {
				require.False(t, v.Next(), "nobody measures there")
				v.Wait(soon(t))
				v.Release()
				return v.Err()
			},
		}
		n := 0
		for range 50 {
			for _, send := range sends {
				for _, receive := range receives {
					count, err := send()
					require.NoError(t, err)
					for left := count; left > 0; left-- {
						require.EqualValues(t, n, measuredIn(looked(t, &o)), "before the last")
						require.NoError(t, receive())
					}
					n++
				}
			}
		}
		q := looked(t, &o).Queueing
		require.NotNil(t, q)
		require.EqualValues(t, n, q.Count)
		require.Len(t, q.Buckets, 10)
	})
}

// sendsOf are the calls that send, and how many messages each has sent.
func sendsOf(t *testing.T, p *shmring.Producer) []func() (int, error) {
	return []func() (int, error){
		func() (int, error) { return 1, p.Send(soon(t), []byte("one")) },
		func() (int, error) { return 1, p.TrySendKind(make([]byte, 5000), 7) },
		func() (int, error) { return p.SendBatch(soon(t), [][]byte{{1}, {2}, {3}}) },
		func() (int, error) { return p.TrySendBatch([][]byte{{1}}) },
		func() (int, error) {
			claim, err := p.Claim(soon(t), 100)
			require.NoError(t, err)
			claim.Shorten(30)
			return 1, claim.Commit()
		},
		func() (int, error) {
			b, err := p.ClaimBatch(soon(t), 500)
			require.NoError(t, err)
			b.Append(5)
			b.Append(0)
			b.Append(70)
			return 3, b.Commit()
		},
	}
}

// measuredIn is how many were measured.
func measuredIn(r *shmring.RingState) uint64 {
	if r.Queueing == nil {
		return 0
	}
	return r.Queueing.Count
}

// Of every so many messages one is measured, however many a call sends, and a batch is cut off, or dropped,
// where it would be without that.
func TestMeasureBatches(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Mode, o.Slots, o.SlotSize, o.MaxMessage, o.MeasureEvery = shmring.ModeOpenOrCreate, 16, 64, 256, 4
		p, c := openProducer(t, &o), openConsumer(t, &o)
		for round := range uint64(20) {
			n, err := p.SendBatch(soon(t), [][]byte{{1}, {2}})
			require.NoError(t, err)
			require.Equal(t, 2, n)
			for want := range byte(2) {
				m, err := c.Next(soon(t))
				require.NoError(t, err)
				require.Equal(t, []byte{want + 1}, m.Bytes())
				m.Release()
			}
			require.Equal(t, (round+1)/2, measuredIn(looked(t, &o)))
		}
		require.NoError(t, p.Close())
		_, err := c.Receive(soon(t), nil)
		require.ErrorIs(t, err, io.EOF)

		many := make([][]byte, 40)
		for i := range many {
			many[i] = make([]byte, 56)
		}
		o.MeasureEvery, o.WhenFull = 1, shmring.WhenFullDrop
		p = openProducer(t, &o)
		n, err := p.TrySendBatch(many)
		require.ErrorIs(t, err, shmring.ErrFull)
		require.Greater(t, n, 7)
		more, err := p.SendBatch(soon(t), many)
		require.NoError(t, err)
		require.EqualValues(t, len(many)-more, p.Stats().Dropped)
		n += more
		long := [][]byte{{1}, make([]byte, 300)}
		_, err = c.TryDrain(0, func(shmring.Message) error { n--; return nil })
		require.NoError(t, err)
		for n > 0 {
			_, err = c.TryDrain(0, func(shmring.Message) error { n--; return nil })
			require.NoError(t, err)
		}
		sent, err := p.SendBatch(soon(t), long)
		require.ErrorAs(t, err, new(*shmring.SizeError))
		require.Equal(t, 1, sent)
		_, err = p.SendBatch(soon(t), nil)
		require.NoError(t, err)
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
		var err error
		for range 1 << 12 {
			if err = p.TrySend([]byte("x")); err != nil {
				break
			}
		}
		require.ErrorIs(t, err, shmring.ErrFull)
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
		o.Mode, o.Slots, o.MaxMessage = shmring.ModeOpenOrCreate, 64, 1024
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
			_, err := c.Receive(soon(t), make([]byte, 256))
			require.NoError(t, err)
		}
		slot := make([]byte, 248) // takes a slot, of an SPSC ring as much of the area
		for range 40 {            // so that the producer asks while 30 wait
			require.NoError(t, p.Send(soon(t), slot))
		}
		for range 10 {
			take()
		}
		for range 30 {
			if err := p.TrySend(slot); err != nil {
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
