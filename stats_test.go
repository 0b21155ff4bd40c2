package shmring_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

// Stats are of this moment, and stay when the handle is closed.
func TestStats(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Mode, o.Slots = shmring.ModeOpenOrCreate, 64
		p, c := openProducer(t, &o), openConsumer(t, &o)
		for range 10 {
			require.NoError(t, p.Send(soon(t), []byte("12345")))
			_, err := c.Receive(soon(t), make([]byte, 8))
			require.NoError(t, err)
		}
		_, err := p.SendBatch(soon(t), [][]byte{{1}, {2}, {3}})
		require.NoError(t, err)
		n, err := c.Drain(soon(t), 2, func(shmring.Message) error { return nil })
		require.NoError(t, err)
		require.Equal(t, 2, n)
		got := c.Stats()
		require.EqualValues(t, 12, got.Messages)
		require.EqualValues(t, 52, got.Bytes)
		require.NoError(t, c.Close())
		require.Equal(t, got.Messages, c.Stats().Messages)
		require.Equal(t, got.Bytes, c.Stats().Bytes)
		require.EqualValues(t, 12, p.Stats().Messages)
		p.CountDropped(3)
		full := p.Stats()
		require.EqualValues(t, 3, full.Dropped)
		require.NoError(t, p.Close())
		require.Equal(t, full, p.Stats())

		again := openConsumer(t, &o)
		require.Zero(t, again.Stats().Messages, "what others have counted is theirs")
	})
}
