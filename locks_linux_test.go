package shmring_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

// A ring says by which kind of locks its users tell who lives, and all of them use it.
func TestLocksOfARing(t *testing.T) {
	for text, other := range map[string]string{"flock": "ofd", "ofd": "flock"} {
		t.Run(text, func(t *testing.T) {
			o := &shmring.Options{Dir: ringDir(t)}
			t.Setenv(shm.EnvLocks, text)
			p, err := shmring.OpenProducer(t.Context(), "r", o)
			require.NoError(t, err)
			defer p.Close()
			require.Equal(t, text, p.Info().Locks)
			raw, err := os.ReadFile(p.Info().Path)
			require.NoError(t, err)
			view, err := layout.Parse(raw)
			require.NoError(t, err)
			require.Equal(t, text == "flock", view.Config.Incompat == layout.FlockLocks)

			t.Setenv(shm.EnvLocks, other)
			_, err = shmring.OpenConsumer(t.Context(), "r", o)
			require.ErrorIs(t, err, shmring.ErrUnsupported)
			require.ErrorIs(t, err, shm.ErrUnsupported)
			require.ErrorContains(t, err, "its users lock by "+text+", and this process was told "+other)
			_, err = shmring.Recover(t.Context(), "r", at(o.Dir))
			require.ErrorIs(t, err, shm.ErrUnsupported)

			t.Setenv(shm.EnvLocks, "") // whatever the ring says
			c, err := shmring.OpenConsumer(t.Context(), "r", o)
			require.NoError(t, err)
			defer c.Close()
			require.Equal(t, text, c.Info().Locks)
			_, err = shmring.OpenProducer(t.Context(), "r", o)
			require.ErrorIs(t, err, shmring.ErrBusy)
			_, err = shmring.Recover(t.Context(), "r", at(o.Dir))
			require.ErrorIs(t, err, shmring.ErrBusy)
			require.ErrorIs(t, shmring.Remove(soon(t), "r", at(o.Dir)), shmring.ErrBusy)

			require.NoError(t, p.Close())
			require.NoError(t, c.Close())
			_, err = shmring.Recover(t.Context(), "r", at(o.Dir))
			require.NoError(t, err)
			require.NoError(t, shmring.Remove(soon(t), "r", at(o.Dir)))
			left, err := os.ReadDir(o.Dir)
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}
