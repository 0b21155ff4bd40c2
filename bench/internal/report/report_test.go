package report

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/bench/internal/machine"
	"github.com/shmring/shmring/bench/internal/work"
)

// synthetic is a report whose round i of a cell has the value that f gives.
func synthetic(f func(c *Cell, round int) float64) *Report {
	r := &Report{Version: Version, Settings: Settings{Pinned: true, Rounds: 6}, Machine: machine.Machine{
		Model: "a processor", Cores: 2, Processors: 2, Places: []machine.Place{{Name: machine.Pinned, CPUs: []int{1, 0}},
			{Name: machine.Free}},
	}}
	add := func(w string, size int, transport, group, place string) {
		c := &Cell{Work: w, Size: size, Transport: transport, Group: group, Where: "processes", Place: place, Unit: "ns/msg"}
		for i := range 6 {
			v := f(c, i)
			c.Rounds = append(c.Rounds, Round{Round: i + 1, Value: v, P50: v, P90: v, P99: v, P999: v, Max: v,
				Bytes: float64(size), Shares: 1.5})
		}
		c.Finish(group == "shmring")
		r.Cells = append(r.Cells, c)
	}
	for _, size := range []int{8, 32, 48, 248, 1016, 65528, mib} {
		for _, w := range []string{"rtt", "blocked", "stream", "batch-1", "batch-64"} {
			add(w, size, "shmring", "shmring", machine.Pinned)
			add(w, size, "shmring-mpsc", "shmring", machine.Pinned)
			add(w, size, "boost-spsc", "C++", machine.Pinned)
		}
		for _, t := range []string{"pipe", "pipe-sys", "unix", "unix-sys", "tcp"} {
			add("stream", size, t, "kernel", machine.Pinned)
			add("rtt", size, t, "kernel", machine.Pinned)
		}
		add("stream", size, "raw-copy-4", "limit", machine.Pinned)
	}
	add("rtt", 32, "raw-pingpong", "limit", machine.Pinned)
	add("blocked", 32, "futex", "limit", machine.Pinned)
	for _, n := range Crowd {
		add(fmt.Sprintf("mpsc-%d", n), 32, "shmring-mpsc", "shmring", machine.Pinned)
	}
	for _, w := range []string{"resident", "attach", "create"} {
		add(w, 0, "shmring", "shmring", machine.Free)
	}
	r.Judge()
	return r
}

// lines of the table, by the works they begin with, and how many targets each
// has.
var lines = map[string]int{
	"RTT 32 B": 2, "streaming 8 B": 1, "streaming 32 B": 1, "streaming 48 B": 1, "streaming 248 B": 1,
	"streaming 1016 B":  1,
	"streaming 65528 B": 1, "streaming 1048576 B": 1, "batches of 64, 8 B": 2, "batches of 64, 32 B": 1,
	"batches of 64, 48 B": 1,
	"MPSC, one producer":  5, "MPSC, 4 producers, more than cores": 2, "MPSC, 8 producers, more than cores": 2,
	"against pipe": 2, "against UDS": 2, "against TCP": 2, "blocked": 1, "memory": 3,
}

func TestEveryTargetIsThere(t *testing.T) {
	for name, r := range map[string]*Report{
		"all measured": synthetic(func(*Cell, int) float64 { return 100 }),
		"nothing measured": {Settings: Settings{Pinned: true}, Machine: machine.Machine{Cores: 2},
			Absent: []Absent{{"boost-spsc", "g++ is not installed", "g++"}}},
	} {
		r.Judge()
		total := 0
		for prefix, want := range lines {
			total += want
			got := 0
			for _, target := range r.Targets {
				if strings.HasPrefix(target.Work, prefix) {
					got++
				}
			}
			require.Equal(t, want, got, "%s: %s", name, prefix)
		}
		require.Len(t, r.Targets, total)
		for _, target := range r.Targets {
			require.NotEmpty(t, target.Target)
			require.NotEmpty(t, target.Detail, target.Work)
			require.Equal(t, name == "all measured", target.Met != nil, target.Work)
			require.Equal(t, target.Met == nil, target.Measured == nil, target.Work)
		}
	}
}

func TestVerdicts(t *testing.T) {
	r := synthetic(func(c *Cell, round int) float64 {
		base := 100.0
		if round%2 == 1 {
			base = 900 // the machine changes its mind: ratios within rounds do not notice
		}
		switch {
		case c.Work == "rtt" && c.Transport == "raw-pingpong":
			return base / 2
		case c.Work == "stream" && c.Size == 32 && c.Group == "C++":
			return base * 10
		case c.Work == "batch-1" && c.Size == 32 && c.Group == "C++":
			return base * 4
		}
		return base
	})
	find := func(work, target string) Target {
		for _, x := range r.Targets {
			if strings.HasPrefix(x.Work, work) && strings.Contains(x.Target, target) {
				return x
			}
		}
		t.Fatalf("no target %s %s", work, target)
		return Target{}
	}
	x := find("RTT 32 B", "raw")
	require.InDelta(t, 2, *x.Measured, 1e-9)
	require.False(t, *x.Met)
	x = find("streaming 32 B", "C++") // the better of the rival's two ways
	require.InDelta(t, 0.25, *x.Measured, 1e-9)
	require.True(t, *x.Met)
	require.Contains(t, x.Detail, "batch-1/32/boost-spsc")
	x = find("MPSC, 8 producers", "shares")
	require.InDelta(t, 1.5, *x.Measured, 1e-9)
}

func TestJSON(t *testing.T) {
	r := synthetic(func(*Cell, int) float64 { return 100 })
	path := filepath.Join(t.TempDir(), "r.json")
	require.NoError(t, r.Write(path))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	var raw map[string]any
	require.NoError(t, json.Unmarshal(data, &raw))
	for _, key := range []string{"version", "begun", "seconds", "settings", "machine", "absent", "cells", "targets"} {
		require.Contains(t, raw, key)
	}
	for key := range map[string]bool{"work": true, "target": true, "measured": true, "met": true, "detail": true} {
		require.Contains(t, raw["targets"].([]any)[0], key)
	}
	for _, key := range []string{"work", "size", "transport", "place", "rounds", "median", "q1", "q3", "p50", "p90",
		"p99", "p99_9", "max",
		"cpu_s_per_million", "syscalls_per_message", "allocs_per_message"} {
		require.Contains(t, raw["cells"].([]any)[0], key)
	}
	again, err := Read(path)
	require.NoError(t, err)
	require.Equal(t, r.Targets, again.Targets)
	again.Version++
	require.NoError(t, again.Write(path))
	_, err = Read(path)
	require.ErrorContains(t, err, "want 1")
}

func TestCompare(t *testing.T) {
	jitter := []float64{0, 1, 2, 3, 4, 5}
	old := synthetic(func(_ *Cell, i int) float64 { return 100 + jitter[i] })
	now := synthetic(func(c *Cell, i int) float64 {
		if c.Work == "stream" && c.Transport == "shmring" {
			return 80 + jitter[i]
		}
		return 100 + jitter[5-i]
	})
	changes := Compare(old, now)
	require.Len(t, changes, len(old.Cells))
	for _, c := range changes {
		faster := c.Key.Work == "stream" && c.Key.Transport == "shmring"
		require.Equal(t, faster, c.Sure, c.Key)
		if faster {
			require.InDelta(t, -0.195, c.Delta(), 0.01)
			require.Less(t, c.P, 0.05)
		}
	}
	text := CompareText(old, now)
	require.Contains(t, text, "-19.")
	require.Contains(t, text, "~")
	require.Contains(t, text, "geomean")
}

func TestPageAndPlots(t *testing.T) {
	dir := t.TempDir()
	r := synthetic(func(c *Cell, _ int) float64 {
		if c.Transport == "boost-spsc" && c.Work == "batch-64" && c.Size == 8 {
			return 25
		}
		return 100
	})
	path := filepath.Join(dir, "page.md")
	require.NoError(t, r.Plot(filepath.Join(dir, "plots")))
	require.NoError(t, r.Page(path, filepath.Join(dir, "plots")))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	page := string(data)
	for _, part := range []string{"## How to choose", "## Method", "## Targets", "## Where others win", "a processor",
		"](plots/rtt-percentiles.svg)",
		"| batch-64 | 8 B | pinned | boost-spsc | 25.0 ns | shmring | 100 ns | 4.00× |"} {
		require.Contains(t, page, part)
	}
	require.NotContains(t, page, "<no value>")
	for _, name := range []string{"rtt-percentiles", "blocked-percentiles", "stream-messages", "stream-bytes", "mpsc"} {
		for _, ext := range []string{".svg", ".png"} {
			require.FileExists(t, filepath.Join(dir, "plots", name+ext))
		}
	}
}

func TestAdd(t *testing.T) {
	c := &Cell{}
	require.ErrorContains(t, c.Add(1, []work.Result{{}, {Messages: 3}}), "3 messages are too few")
	require.NoError(t, c.Add(1, []work.Result{
		{Messages: 110, WindowMessages: 100, WindowNs: 5000, WindowBytes: 3200, Shares: []uint64{60, 40},
			Times: [][2]int64{{3200, 9}, {64000, 1}}, Per: 64, CPUNs: 6000},
		{Messages: 70, CPUNs: 2500}, {Messages: 40, CPUNs: 2500, Mallocs: 11},
	}))
	c.Finish(true)
	require.InDelta(t, 50, c.Median, 1e-9)
	require.InDelta(t, 50, c.P50, 0.1)
	require.InDelta(t, 1000, c.Max, 1)
	require.InDelta(t, 1.5, c.Shares, 1e-9)
	require.InDelta(t, 0.1, *c.Allocs, 1e-9)
	require.InDelta(t, 0.1, c.CPU, 1e-9) // 11 µs for 110 messages
	require.InDelta(t, 2e7, c.MsgsPerS, 1)
	require.InDelta(t, 6.4e8, c.BytesPerS, 1)
}
