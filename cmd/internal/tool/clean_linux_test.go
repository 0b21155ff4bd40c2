package tool

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

// What was sent after the purge had begun stays.
func TestDrainStopsAtTheEnd(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	o := &shmring.Options{Dir: t.TempDir(), Mode: shmring.ModeOpenOrCreate, Doorbell: shmring.DoorbellFutex}
	p, err := shmring.OpenProducer(ctx, "r", o)
	require.NoError(t, err)
	defer p.Close()
	for _, text := range []string{"a", "b", "c"} {
		require.NoError(t, p.Send(ctx, []byte(text)))
	}
	c, err := shmring.OpenConsumer(ctx, "r", o)
	require.NoError(t, err)
	defer c.Close()
	var r purged
	require.NoError(t, drain(ctx, c, shmring.Position{Record: 2}, &r))
	require.Equal(t, purged{Messages: 2, Bytes: 2}, r)
	m, err := c.Next(ctx)
	require.NoError(t, err)
	require.Equal(t, "c", string(m.Bytes()))
	m.Release()
	require.NoError(t, drain(ctx, c, shmring.Position{Record: 9}, &r))
	require.Equal(t, 2, r.Messages)
}
