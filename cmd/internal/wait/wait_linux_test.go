package wait

import (
	"context"
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/roundtrip"
	"github.com/shmring/shmring/cmd/internal/workers"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == ChildCommand {
		os.Exit(RunChild(context.Background(), os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func newSetup(t *testing.T) *workers.Setup {
	c := &workers.Setup{Executable: os.Args[0], Child: ChildCommand, Dir: t.TempDir(), CPUs: [2]int{-1, -1}}
	t.Cleanup(func() { require.NoError(t, workers.RemoveRings(c.Dir)) })
	return c
}

func TestBaseline(t *testing.T) {
	const count, silence = 5, 2 * time.Millisecond
	compiled := newBaseline(t.Context())
	defer compiled.close()
	for _, y := range []*baseline{compiled, {by: "Go"}} {
		t.Run(y.by, func(t *testing.T) {
			c := newSetup(t)
			samples, err := y.run(t.Context(), c, silence, count)
			require.NoError(t, err)
			require.LessOrEqual(t, len(samples), count)
			for _, s := range samples {
				require.Positive(t, s)
			}
		})
	}
}

func TestWithoutCompilerTheBaselineIsGo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	y := newBaseline(t.Context())
	require.Nil(t, y.program)
	require.Contains(t, y.by, "Go system calls, for want of C: ")
	require.Contains(t, y.by, "not found")
}

func TestCompilerThatFails(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	require.NoError(t, os.WriteFile(dir+"/"+compiler, []byte("#!/bin/sh\necho no headers >&2\nexit 1\n"), 0o700))
	t.Setenv("TMPDIR", dir+"/tmp")
	require.NoError(t, os.Mkdir(dir+"/tmp", 0o700))
	y := newBaseline(t.Context())
	require.Nil(t, y.program)
	require.Contains(t, y.by, "no headers")
	left, err := os.ReadDir(dir + "/tmp")
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestPercentilesNeedSamples(t *testing.T) {
	var hundred []int64
	for i := range int64(enoughP99) {
		hundred = append(hundred, enoughP99-i)
	}
	require.Equal(t, times{100, 50, 90, 99}, percentiles([][]int64{hundred[:30], nil, hundred[30:]}))
	require.Equal(t, times{99, 51, 91, 0}, percentiles([][]int64{hundred[:99]}), "too few for p99: 2 to 100")
	require.Equal(t, times{Count: 1, P50: 100}, percentiles([][]int64{hundred[:1]}))
	require.Zero(t, percentiles(nil))
}

func TestRatiosAreMadeWithinRounds(t *testing.T) {
	of, to := [][]int64{{10}, {200}, {3000}, {7}}, [][]int64{{5}, {100}, {1000}, {}}
	require.Equal(t, 2.0, ratio(of, to), "of 2, 2 and 3; the last has no baseline")
	require.Zero(t, ratio(nil, to))
}

func TestPercentilesOfTripsAreMediansOverRounds(t *testing.T) {
	rounds := []*roundtrip.Times{
		{Count: 500, P50: 3, P99: 9},
		{Count: 100, P50: 1, P99: 5},
		{Count: 99, P50: 2, P99: 50},
	}
	require.Equal(t, times{Count: 699, P50: 2, P99: 5}, overRounds(rounds))
	require.Equal(t, times{Count: 198, P50: 2}, overRounds([]*roundtrip.Times{rounds[2], rounds[2]}))
}

func TestPlanHasSeveralRounds(t *testing.T) {
	here, _, err := ways(t.Context(), t.TempDir())
	require.NoError(t, err)
	require.NotEmpty(t, here)
	var everywhere []way
	for _, d := range cli.Doorbells {
		everywhere = append(everywhere, waysOf(d)...)
	}
	for _, many := range [][]way{here, everywhere} {
		for _, long := range []time.Duration{full, quick} {
			p := newPlan(long, many)
			require.Greater(t, p.rounds, 1)
			require.GreaterOrEqual(t, p.rounds*p.firsts, enoughP90)
		}
		require.Equal(t, 1, newPlan(time.Nanosecond, many).rounds)
	}
}

func TestTableOfNothing(t *testing.T) {
	r := report{Ways: []found{{Doorbell: "futex", Policy: "sleep"}}}
	require.NoError(t, r.Print(io.Discard))
	require.Equal(t, "-", show(0))
}
