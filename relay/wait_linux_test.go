package relay

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

// An Out that waits for its ring leaves the processor to the connection: it does not busy-wait, unless it is told to.
func TestOutDoesNotSpin(t *testing.T) {
	for name, c := range map[string]struct {
		o     shmring.Options
		spins bool
	}{
		"by default": {shmring.Options{}, false},
		"as told":    {shmring.Options{SpinFor: shmring.DefaultSpinFor}, true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			nc, _, _ := served(ctx, t, jetstream.StreamConfig{Name: "R", Subjects: []string{"shmring.R", "shmring.R.>"}})
			o := OutOptions{Common: Common{Ring: c.o}}
			o.Ring.Dir = t.TempDir()
			p, err := shmring.OpenProducer(ctx, "R", &o.Ring)
			require.NoError(t, err)
			defer p.Close()
			out, err := NewOut(nc, "R", &o)
			require.NoError(t, err)
			run, stop := context.WithCancel(ctx)
			done := make(chan error, 1)
			go func() { done <- out.Run(run) }()
			for i := range uint64(100) {
				require.NoError(t, p.Send(ctx, []byte("one")))
				for out.Stats().Messages <= i {
					require.NoError(t, ctx.Err())
					time.Sleep(100 * time.Microsecond)
				}
			}
			s := out.ring.Stats()
			stop()
			require.NoError(t, <-done)
			require.Equal(t, c.spins, s.Spins > 0, "%d of %d waits", s.Spins, s.Sleeps)
		})
	}
}
