package relay

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

// An Out that waits for its ring leaves the processor to the connection.
func TestOutDoesNotSpin(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	nc, _, _ := served(ctx, t, jetstream.StreamConfig{Name: "R", Subjects: []string{"shmring.R", "shmring.R.>"}})
	o := OutOptions{}
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
		require.Eventually(t, func() bool { return out.Stats().Messages > i }, time.Minute, 100*time.Microsecond)
	}
	s := out.ring.Stats()
	stop()
	require.NoError(t, <-done)
	require.Zero(t, s.Spins, "of %d waits", s.Sleeps)
	require.NotZero(t, s.Sleeps)
}

// What somebody has chosen is kept.
func TestWaitsAsTold(t *testing.T) {
	for _, ring := range []shmring.Options{
		{SpinFor: shmring.DefaultSpinFor}, {WaitPolicy: shmring.WaitSleep}, {WaitPolicy: shmring.WaitSpin},
		{WaitPolicy: shmring.WaitPark},
	} {
		out, err := (&OutOptions{Common: Common{Ring: ring}}).orDefault("r")
		require.NoError(t, err)
		require.Equal(t, ring.WaitPolicy, out.Ring.WaitPolicy)
		in, err := (&InOptions{Common: Common{Ring: ring}}).orDefault("r")
		require.NoError(t, err)
		require.Equal(t, ring.WaitPolicy, in.Ring.WaitPolicy)
	}
}

// A name that would come back as another from the server would make a relay a stranger to its own stream.
func TestOriginComesBack(t *testing.T) {
	for _, name := range []string{" a", "a ", "a\nb", "a\rb", "\ta"} {
		_, err := (&OutOptions{Origin: name}).orDefault("r")
		require.ErrorContains(t, err, "Origin", "%q", name)
	}
	_, err := (&OutOptions{Origin: "a b  c"}).orDefault("r")
	require.NoError(t, err)
}
