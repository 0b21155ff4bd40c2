package demo

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/workers"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == ChildCommand {
		os.Exit(RunChild(context.Background(), os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// deadline bounds every test here; none should come near it.
const deadline = 30 * time.Second

func newSetup(t *testing.T) (context.Context, *workers.Setup, job) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	t.Cleanup(cancel)
	c := &workers.Setup{Executable: os.Args[0], Child: ChildCommand, Dir: t.TempDir()}
	t.Cleanup(func() { require.NoError(t, workers.RemoveRings(c.Dir)) })
	return ctx, c, job{
		Job: workers.Job{Timeout: deadline}, Dir: c.Dir, Ring: "r", Back: "back", Kind: shmring.KindSPSC, Size: 64,
		Producers: 1, For: 10 * time.Millisecond,
	}
}

func TestVerifiedStream(t *testing.T) {
	ctx, c, j := newSetup(t)
	results, err := workers.Run[result](ctx, c, j.as("verify", -1), j.as("stream-load", -1))
	require.NoError(t, err)
	require.Equal(t, results[1].Messages, results[0].Messages)
	require.Positive(t, results[0].Messages)
}

func TestDamageMakesTheWorkersFail(t *testing.T) {
	ctx, c, j := newSetup(t)
	p, err := shmring.OpenProducer(ctx, j.Ring, j.options())
	require.NoError(t, err)
	require.NoError(t, p.TrySend(make([]byte, 64)))
	require.NoError(t, p.Close())
	_, err = workers.Run[result](ctx, c, j.as("verify", -1), j.as("stream-load", -1))
	require.ErrorIs(t, err, cli.ErrVerify)
	require.ErrorContains(t, err, "message of 64 bytes")
	require.Equal(t, cli.Corrupt, cli.Code(err))
}

func TestMessageOfWrongSizeMakesAMeasurementFail(t *testing.T) {
	ctx, c, j := newSetup(t)
	small := j
	small.Size = 63
	_, err := workers.Run[result](ctx, c, j.as("count", -1), small.as("stream", -1))
	require.ErrorIs(t, err, cli.ErrVerify)
}

func TestOneThatHangsIsNamed(t *testing.T) {
	ctx, c, j := newSetup(t)
	j.Timeout = 50 * time.Millisecond
	_, err := workers.Run[result](ctx, c, j.as("verify", -1)) // and nobody sends
	require.ErrorContains(t, err, `process "verify"`)
	require.ErrorContains(t, err, "deadline exceeded after 0 messages of 0 streams")
}

func TestOneThatFailsEndsTheOthers(t *testing.T) {
	ctx, c, j := newSetup(t)
	_, err := workers.Run[result](ctx, c, j.as("echo", -1), j.as("no such role", -1)) // echo would wait for ever
	require.ErrorContains(t, err, `unknown role "no such role"`)
	require.NoError(t, ctx.Err())
}

func TestRoundTrips(t *testing.T) {
	for _, asleep := range []bool{false, true} {
		ctx, c, j := newSetup(t)
		j.Asleep = asleep
		results, err := workers.Run[result](ctx, c, j.as("echo", -1), j.as("ping", -1))
		require.NoError(t, err)
		trips := results[1].Trips
		require.Positive(t, trips.Count)
		require.LessOrEqual(t, trips.P50, trips.P90)
		require.LessOrEqual(t, trips.P99, trips.P999)
		require.LessOrEqual(t, trips.P999, trips.Max)
	}
}
