package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDemo(t *testing.T) {
	dir := ringDir(t)
	p := start(t, dir, "shmring", []string{"demo", "-quick"})
	p.ends(0)
	out := strings.Split(strings.TrimSuffix(p.stdout.String(), "\n"), "\n")
	require.Equal(t, "OK", out[len(out)-1])
	require.Contains(t, p.stdout.String(), "ns/msg")
	require.Empty(t, p.stderr.String())
	requireNothingLeft(t, dir)
}

func TestDemoForMachines(t *testing.T) {
	dir := ringDir(t)
	p := start(t, base, "shmring", []string{"demo", "-quick", "-json", "-no-pin", "-dir", dir})
	p.ends(0)
	var r struct {
		OK      bool
		Streams []struct {
			Ring      string
			Size      int
			Nanos     float64 `json:"ns_per_msg"`
			Messages  uint64
			Producers int
		}
		Verified []struct{ Messages uint64 }
		Trips    []struct {
			P50 int64 `json:"p50_ns"`
			Max int64 `json:"max_ns"`
		} `json:"round_trips"`
	}
	require.NoError(t, json.Unmarshal([]byte(p.stdout.String()), &r))
	require.True(t, r.OK)
	require.Len(t, r.Streams, 14)
	require.Len(t, r.Verified, 14)
	require.Len(t, r.Trips, 2)
	for _, s := range r.Streams {
		require.Positive(t, s.Nanos)
		require.Positive(t, s.Messages)
	}
	for _, trip := range r.Trips {
		require.Positive(t, trip.P50)
		require.GreaterOrEqual(t, trip.Max, trip.P50)
	}
	requireNothingLeft(t, dir)
}

func TestInterruptedDemoLeavesNothing(t *testing.T) {
	dir := ringDir(t)
	p := start(t, dir, "shmring", []string{"demo"})
	eventually(t, "children", func() bool { return len(processesWith(t, dir)) >= 2 })
	p.signal(os.Interrupt)
	p.ends(1)
	require.Contains(t, p.stderr.String(), "interrupted")
	requireNothingLeft(t, dir)
}

// The processes of a demo that was killed end by themselves.
func TestKilledDemoTakesItsProcessesAlong(t *testing.T) {
	dir := ringDir(t)
	p := start(t, dir, "shmring", []string{"demo"})
	eventually(t, "children", func() bool { return len(processesWith(t, dir)) >= 2 })
	p.kill()
	eventually(t, "end of the children", func() bool { return len(processesWith(t, dir)) == 0 })
}

func TestDemoFailsLoudly(t *testing.T) {
	dir := ringDir(t)
	p := start(t, dir, "shmring", []string{"demo", "-dir", dir + "/missing"})
	p.ends(1)
	require.Contains(t, p.stderr.String(), "no such file or directory")

	// Workers that cannot open their rings.
	p = start(
		t,
		dir,
		"shmring",
		[]string{
			"demo-child",
			`{"role":"verify","ring":"r","dir":"` + dir + `/missing","kind":1,"cpu":-1,"timeout":1000000000}`,
		},
	)
	p.ends(1)
	require.NotContains(t, p.stdout.String(), "OK")
}

func requireNothingLeft(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
	require.Empty(t, processesWith(t, dir))
}
