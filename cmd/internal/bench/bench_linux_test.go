package bench

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/host"
	"github.com/shmring/shmring/cmd/internal/quantile"
	"github.com/shmring/shmring/cmd/internal/roundtrip"
	"github.com/shmring/shmring/cmd/internal/workers"
	"github.com/shmring/shmring/internal/pin"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == ChildCommand {
		os.Exit(RunChild(context.Background(), os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// deadline bounds every test here; none should come near it.
const deadline = 30 * time.Second

// parsed is what a command line asks for.
func parsed(t *testing.T, args string) *config {
	t.Helper()
	c := &config{}
	f := cli.NewFlags("bench", Summary, Help)
	c.register(f)
	code := cli.Execute(t.Context(), f.Command(func(_ context.Context, _ []string, usage error) int {
		require.NoError(t, usage)
		return cli.OK
	}), strings.Fields(args), os.Stdout, os.Stderr)
	require.Equal(t, cli.OK, code)
	return c
}

// newRun is a measurement that a test makes step by step.
func newRun(t *testing.T, args string) (context.Context, *workers.Setup, *measurement) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	s := &workers.Setup{Executable: os.Args[0], Child: ChildCommand, Dir: t.TempDir(), CPUs: [2]int{-1, -1}}
	t.Cleanup(func() { require.NoError(t, workers.RemoveRings(s.Dir)) })
	c := parsed(t, args)
	require.NoError(t, c.check())
	return ctx, s, newMeasurement(c, s, &report{})
}

func TestEverythingIsMeasured(t *testing.T) {
	for _, args := range []string{
		"-for 300ms -size 8", "-for 300ms -size 0,1,100K -no-socket", "-for 200ms -size 64 -kind mpsc -producers 3",
		"-for 200ms -slots 8 -slot-size 0 -size 48 -wait sleep",
		fmt.Sprintf("-for 200ms -size 32 -doorbell poll -pin %d,%[1]d", pin.CPUs()[0]),
	} {
		t.Run(args, func(t *testing.T) {
			ctx, s, m := newRun(t, args)
			for _, step := range m.steps() {
				require.NoError(t, step.Run(ctx, s), step.Name)
				require.NoError(t, workers.RemoveRings(s.Dir))
			}
			require.Len(t, m.Trips, len(m.samples))
			for _, one := range m.Trips {
				require.GreaterOrEqual(t, one.Count, int64(fewest*m.rounds))
				require.Positive(t, one.P50.Lowest)
				require.LessOrEqual(t, one.P50.Median, one.P99.Median)
				require.LessOrEqual(t, one.P99.Highest, float64(one.Max))
				require.Equal(t, one.Over == overRing && !m.noSocket, one.Times > 0)
			}
			for _, one := range m.Streams {
				require.Positive(t, one.Messages)
				require.Positive(t, one.NsPerMsg.Lowest)
				require.LessOrEqual(t, one.NsPerMsg.Lowest, one.NsPerMsg.Median)
				require.LessOrEqual(t, one.NsPerMsg.Median, one.NsPerMsg.Highest)
				require.InEpsilon(t, 1e9, one.MsgsPerS*one.NsPerMsg.Median, 1e-6)
			}
			require.NotEmpty(t, m.RanOn.Producers)
			require.NotEmpty(t, m.RanOn.Consumer)
			left, err := os.ReadDir(s.Dir)
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

// Each round has every measurement, and begins elsewhere than the one before.
func TestRounds(t *testing.T) {
	for args, want := range map[string][2]int{ // rounds, and steps in each
		"": {7 - 2, 12}, "-no-socket": {11, 6}, "-for 1ns": {fewestRounds, 12}, "-for 1h": {mostRounds, 12},
		"-kind mpsc -producers 2 -size 8": {mostRounds, 3}, "-size 0 -for 1s": {3, 2},
	} {
		_, _, m := newRun(t, args)
		require.Equal(t, want[0], m.rounds, args)
		require.GreaterOrEqual(t, m.each, least)
		steps := m.steps()
		require.Len(t, steps, want[0]*want[1], args)
		seen, firsts := map[string]int{}, map[string]bool{}
		for i, s := range steps {
			what, _, _ := strings.Cut(s.Name, ", round")
			seen[what]++
			if i%want[1] == 0 && i/want[1] < len(m.samples) {
				require.False(t, firsts[what], "%s begins two rounds", what)
				firsts[what] = true
			}
		}
		require.Len(t, seen, want[1])
		for what, n := range seen {
			require.Equal(t, m.rounds, n, what)
		}
	}
	_, _, m := newRun(t, "-for 1m")
	planned := time.Duration(m.rounds*12) * (m.each + starting)
	require.InDelta(t, time.Minute, planned, float64(time.Second))
}

// What arrives has to be what was sent.
func TestLossIsFound(t *testing.T) {
	ctx, s, m := newRun(t, "-size 8 -kind mpsc")
	t1 := m.samples[0]
	p, err := shmring.OpenProducer(ctx, "there", ringOf(m.ring.Options, s.Dir).options())
	require.NoError(t, err)
	require.NoError(t, p.TrySend(make([]byte, 8)))
	require.NoError(t, p.Close())
	m.each = least
	err = m.measureStream(ctx, s, t1)
	require.ErrorIs(t, err, cli.ErrVerify)
	require.Equal(t, cli.Corrupt, cli.Code(err))
	require.Empty(t, t1.stream)
}

func TestMessageOfAnotherSizeIsFound(t *testing.T) {
	ctx, s, m := newRun(t, "-size 8")
	m.each = least
	base := m.base(m.samples[0])
	base.Timeout = time.Second
	other := base
	other.Size = 9
	_, err := workers.Run[result](ctx, s, base.as(receiving, -1), other.as(sending, -1))
	require.ErrorIs(t, err, cli.ErrVerify)
	_, err = m.run(ctx, s, m.samples[1], []*job{base.as(echoing, -1), other.as(pinging, -1)})
	require.ErrorContains(t, err, "deadline exceeded", "eight bytes come back of nine")
}

func TestRatiosAreMadeWithinRounds(t *testing.T) {
	require.Equal(t, 2.0, times([]float64{10, 200, 3000, 7}, []float64{5, 100, 1000}))
	require.Zero(t, times(nil, []float64{1}))
	require.Zero(t, times([]float64{1}, []float64{0}))
	_, _, m := newRun(t, "-size 8")
	for i, t := range m.samples {
		t.stream = []float64{10 * float64(i+1), 20 * float64(i+1), 5 * float64(i+1)}
		t.trips = []*roundtrip.Times{
			{Count: 1, P50: 100 * int64(i+1), P99: 5, Max: 7}, {Count: 2, P50: 300 * int64(i+1), P99: 4, Max: 6},
		}
	}
	m.sum()
	require.Equal(t, rate{overRing, 8, 1, quantile.Spread{Median: 10, Lowest: 5, Highest: 20}, 1e8, 8e8, 0, 2},
		m.Streams[0])
	require.Equal(t, quantile.Spread{Median: 20, Lowest: 10, Highest: 40}, m.Streams[1].NsPerMsg)
	require.Zero(t, m.Streams[1].Times)
	require.Equal(t, trips{overRing, 8, quantile.Spread{Median: 100, Lowest: 100, Highest: 300},
		quantile.Spread{Median: 4, Lowest: 4, Highest: 5}, 7, 3, 2}, m.Trips[0])
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		args string
		m    machine
		want []string
	}{
		{"", machine{Processors: 2}, nil},
		{"", machine{Processors: 1}, []string{"one processor"}},
		{"-kind mpsc -producers 3", machine{Processors: 2}, []string{"4 processes share 2 processors"}},
		{"", machine{Processors: 8, Quota: 1.5}, []string{"the control group allows 1.5 processors"}},
		{"", machine{Processors: 8, Quota: 2}, nil},
		{"-pin 0,0", machine{Processors: 2}, []string{"several processes on processor 0"}},
		{"", machine{Processors: 2, Others: 4, Stolen: 3}, []string{"others took 7 %"}},
		{"", machine{Processors: 1, Quota: 1, Others: 50}, []string{"others took", "one processor", "control group"}},
	} {
		got := parsed(t, c.args).warnings(&c.m)
		require.NotNil(t, got, "an empty list in JSON")
		require.Len(t, got, len(c.want), c.args)
		for i, text := range c.want {
			require.Contains(t, got[i], text)
		}
	}
}

func TestProducersArePinned(t *testing.T) {
	cpus := pin.CPUs()
	a, b := cpus[0], cpus[len(cpus)-1]
	c := parsed(t, fmt.Sprintf("-kind mpsc -producers 3 -pin %d,%d", a, b))
	require.NoError(t, c.check())
	require.Equal(t, []int{a, a, a, b}, c.pins)
	c = parsed(t, fmt.Sprintf("-pin %d,100000", a))
	require.ErrorContains(t, c.check(), "-pin: processor 100000: this process may run on [")
	require.Equal(t, cli.Failed, cli.Code(c.check()))
}

func TestTableOfNothing(t *testing.T) {
	var text strings.Builder
	r := report{RanOn: ranOn{host.Places{0: 1}, host.Places{1: 1}}, Warnings: []string{"mind this"}}
	r.Machine.Virtual = true
	require.NoError(t, r.Print(&text))
	for _, want := range []string{"warning: mind this\n", "producers 0; consumer 1\n", "-pin keeps them",
		"the spread shows it"} {
		require.Contains(t, text.String(), want)
	}
	r.Pinned, r.Machine.Virtual = []int{0, 1}, false
	text.Reset()
	require.NoError(t, r.Print(&text))
	require.NotContains(t, text.String(), "-pin keeps them")
	require.NotContains(t, text.String(), "the spread shows it")
}
