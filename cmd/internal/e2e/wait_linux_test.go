package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/cmd/internal/cli"
)

// doorbells are those that work; a new one is added here.
const doorbells = "futex sysv poll"

var policies = []string{"balanced", "sleep", "spin", "park"}

// A ring has the doorbell that its creator asked for, and moves everything with each
// policy.
func TestDoorbellsAndPolicies(t *testing.T) {
	for _, bell := range strings.Fields(doorbells) {
		for _, policy := range policies {
			t.Run(bell+"/"+policy, func(t *testing.T) {
				dir := ringDir(t)
				q := consumer(t, dir, "-verify -json -doorbell "+bell+" -wait "+policy)
				p := producer(t, dir, "-generate 2000 -slots 64 -doorbell "+bell+" -wait "+policy)
				require.Equal(t, bell, watch(t, dir).view.Config.Doorbell.String())
				p.ends(0)
				q.ends(0)
				require.EqualValues(t, 2000, q.totals().Messages)
				if policy == "spin" {
					require.Zero(t, q.totals().Sleeps)
					require.Zero(t, q.totals().Asleep)
				}
			})
		}
	}
}

func TestSleepsAreCounted(t *testing.T) {
	dir := ringDir(t)
	q := consumer(t, dir, "-json -create -wait sleep -max-sleep 1ms")
	watch(t, dir).hasConsumer()
	p := producer(t, dir, "-json -generate 5 -rate 100")
	p.ends(0)
	q.ends(0)
	require.Positive(t, q.totals().Sleeps)
	require.Positive(t, q.totals().Asleep)
	require.Positive(t, p.totals().Wakes)
}

// Who insists on a doorbell gets no other.
func TestRingWithAnotherDoorbellIsRefused(t *testing.T) {
	all := strings.Fields(doorbells)
	for i, bell := range all {
		dir := ringDir(t)
		producer(t, dir, "-doorbell "+bell, stdin(strings.NewReader(""))).ends(0)
		for _, other := range append(all[:i:i], all[i+1:]...) {
			q := consumer(t, dir, "-doorbell "+other)
			q.ends(cli.Failed)
			require.Contains(t, q.stderr.String(), fmt.Sprintf("ring has doorbell %s, options ask for %s", bell, other))
		}
	}
}

func TestWait(t *testing.T) {
	dir := ringDir(t)
	p := start(t, dir, "shmring", []string{"wait", "-for", "1s"})
	p.ends(0)
	require.Empty(t, p.stderr.String())
	for _, want := range []string{"doorbell", "sleeps/s", "bare  futex", "Options.SpinFor"} {
		require.Contains(t, strings.Join(strings.Fields(p.stdout.String()), "  "), want)
	}
	requireNothingLeft(t, dir)
}

func TestWaitForMachines(t *testing.T) {
	dir := ringDir(t)
	p := start(t, base, "shmring", []string{"wait", "-for", "1s", "-json", "-no-pin", "-dir", dir})
	p.ends(0)
	type times struct {
		Count int64
		P50   int64 `json:"p50_ns"`
		P90   int64 `json:"p90_ns"`
		P99   int64 `json:"p99_ns"`
	}
	var r struct {
		OK       bool
		Pinned   []int
		Rounds   int
		Baseline struct {
			By    string
			First times
		}
		Ways []struct {
			Doorbell, Policy string
			Trip             times   `json:"round_trip"`
			First            times   `json:"first"`
			Ratio            float64 `json:"first_p50_to_baseline"`
			IdleCPU          float64 `json:"idle_cpu_percent"`
			IdleSleeps       float64 `json:"idle_sleeps_per_s"`
			Send             float64 `json:"producer_cpu_s_per_million"`
			Receive          float64 `json:"consumer_cpu_s_per_million"`
		}
		Skipped []struct{ Doorbell, Reason string }
	}
	require.NoError(t, json.Unmarshal([]byte(p.stdout.String()), &r))
	require.True(t, r.OK)
	require.Empty(t, r.Pinned)
	require.Equal(t, 1, r.Rounds)
	require.NotEmpty(t, r.Baseline.By)
	met := map[string]int{}
	for _, w := range r.Ways {
		met[w.Doorbell]++
		require.Contains(t, policies, w.Policy)
		require.Positive(t, w.Trip.Count)
		require.Positive(t, w.Trip.P50)
		require.Positive(t, w.First.Count)
		require.Positive(t, w.First.P50)
		require.Zero(t, w.First.P99, "too few samples")
		require.Positive(t, w.IdleCPU)
		require.Positive(t, w.Send)
		require.Positive(t, w.Receive)
		if w.Policy == "spin" {
			require.Zero(t, w.IdleSleeps)
		} else {
			require.Positive(t, w.IdleSleeps)
		}
	}
	for _, s := range r.Skipped {
		met[s.Doorbell] = 3
		if s.Doorbell == "futex" {
			met[s.Doorbell]++ // park
		}
		require.NotEmpty(t, s.Reason)
	}
	require.Equal(t, map[string]int{"futex": 4, "sysv": 3, "poll": 3}, met)
	requireNothingLeft(t, dir)
}

func TestInterruptedWaitLeavesNothing(t *testing.T) {
	dir := ringDir(t)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	p := start(t, dir, "shmring", []string{"wait"})
	eventually(t, "children", func() bool { return len(processesWith(t, dir)) >= 2 })
	p.signal(os.Interrupt)
	p.ends(1)
	require.Contains(t, p.stderr.String(), "interrupted")
	requireNothingLeft(t, dir)
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestKilledWaitTakesItsProcessesAlong(t *testing.T) {
	dir := ringDir(t)
	p := start(t, dir, "shmring", []string{"wait"})
	eventually(t, "children", func() bool { return len(processesWith(t, dir)) >= 2 })
	p.kill()
	eventually(t, "end of the children", func() bool { return len(processesWith(t, dir)) == 0 })
}
