package tool

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

// What is sent after the purge has begun stays, unseen.
func TestDrainStopsAtTheEnd(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	o := &shmring.Options{Dir: t.TempDir(), Mode: shmring.ModeOpenOrCreate, Doorbell: shmring.DoorbellFutex}
	p, err := shmring.OpenProducer(ctx, "r", o)
	require.NoError(t, err)
	defer p.Close()
	require.NoError(t, p.Send(ctx, []byte("a")))
	_, err = p.SendBatch(ctx, [][]byte{[]byte("b"), []byte("c")})
	require.NoError(t, err)
	c, err := shmring.OpenConsumer(ctx, "r", o)
	require.NoError(t, err)
	r := purged{Name: "r"}
	before, err := shmring.Inspect(ctx, "r", &shmring.InspectOptions{Dir: o.Dir})
	require.NoError(t, err)
	require.NoError(t, p.Send(ctx, []byte("later")))
	require.NoError(t, drain(ctx, c, *before.Ring, &r))
	require.Equal(t, purged{Name: "r", Messages: 3, Bytes: 3}, r)
	require.NoError(t, c.Close())

	o.Delivery = shmring.DeliveryAtMostOnce
	c, err = shmring.OpenConsumer(ctx, "r", o)
	require.NoError(t, err)
	defer c.Close()
	m, err := c.Next(ctx)
	require.NoError(t, err)
	require.Equal(t, "later", string(m.Bytes()))
}

// What lies behind a claim that is open cannot be taken, and that is said.
func TestDrainStopsAtAClaim(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	o := &shmring.Options{Dir: t.TempDir(), Kind: shmring.KindMPSC, Doorbell: shmring.DoorbellFutex}
	p, err := shmring.OpenProducer(ctx, "r", o)
	require.NoError(t, err)
	defer p.Close()
	claim, err := p.Claim(ctx, 1)
	require.NoError(t, err)
	require.NoError(t, p.Send(ctx, []byte("a")))
	c, err := shmring.OpenConsumer(ctx, "r", o)
	require.NoError(t, err)
	defer c.Close()
	before, err := shmring.Inspect(ctx, "r", &shmring.InspectOptions{Dir: o.Dir})
	require.NoError(t, err)
	r := purged{Name: "r"}
	require.ErrorContains(t, drain(ctx, c, *before.Ring, &r), "1 messages stay: the claim at 0 of pid")
	require.Zero(t, r.Messages)
	require.NoError(t, claim.Commit())
	require.NoError(t, p.Send(ctx, []byte("later")))
	require.NoError(t, drain(ctx, c, *before.Ring, &r))
	require.Equal(t, 2, r.Messages, "with that which was claimed")
}
