package report

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/bench/internal/machine"
	"github.com/shmring/shmring/bench/internal/placement"
	"github.com/shmring/shmring/bench/internal/work"
)

// probes of the placements that synthetic rounds are of.
var probes = map[placement.Placement]float64{placement.Near: 130, placement.Far: 500}

// rounds of a placement in a synthetic report.
const rounds = 6

// synthetic is a report whose round i of a cell has the value that f gives, in each of the
// placements that were seen.
func synthetic(f func(c *Cell, p placement.Placement, round int) float64, seen ...placement.Placement) *Report {
	r := &Report{Version: Version, Settings: Settings{Pinned: true, Rounds: rounds}, Machine: machine.Machine{
		Model: "a processor", Cores: 2, Processors: 2, Places: []machine.Place{{Name: machine.Pinned, CPUs: []int{1, 0}},
			{Name: machine.Taskset, CPUs: []int{1, 0}, Born: true}, {Name: machine.Free}},
	}}
	var all []float64
	add := func(w string, size int, transport, group, place string) {
		c := &Cell{Work: w, Size: size, Transport: transport, Group: group, Where: "processes", Place: place, Unit: "ns/msg",
			Anywhere: size == 0 && w != "mixed"}
		for k, p := range seen {
			for i := range rounds {
				v := f(c, p, i)
				probe := [2]float64{probes[p], probes[p] + float64(i)}
				c.Rounds = append(c.Rounds, Round{Round: k*rounds + i + 1, Probe: probe, Value: v,
					P50: v, P90: v, P99: v, P999: v, Max: v, Bytes: float64(size), Shares: 1.5})
				all = append(all, probes[p], probes[p]+float64(i))
			}
		}
		r.Cells = append(r.Cells, c)
	}
	pinned := machine.Pinned
	for _, size := range []int{8, 32, 48, 64, 248, 1016, 4096, 65528, 65536, mib} {
		for _, w := range []string{"rtt", "blocked", "stream", "batch-1", "batch-64"} {
			add(w, size, "shmring", "shmring", pinned)
			add(w, size, "shmring-mpsc", "shmring", pinned)
			add(w, size, "boost-spsc", "C++", pinned)
			add(w, size, "raw-c", "limit", pinned)
		}
		for _, t := range []string{"pipe", "pipe-sys", "unix", "unix-sys", "tcp"} {
			add("stream", size, t, "kernel", pinned)
			add("rtt", size, t, "kernel", pinned)
		}
		add("stream", size, "shmring-zc", "shmring", pinned)
		add("batch-64", size, "shmring-zc", "shmring", pinned)
		add("stream", size, "shmring-try", "shmring", pinned)
		add("rtt", size, "shmring-try", "shmring", pinned)
		add("stream", size, "raw-copy-4", "limit", pinned)
		add("rtt", size, "raw-pingpong", "limit", pinned)
	}
	add("mixed", 0, "shmring", "shmring", pinned)
	add("blocked", 32, "futex", "limit", pinned)
	for _, n := range Crowd {
		for _, size := range []int{8, 32} {
			add(fmt.Sprintf("mpsc-%d", n), size, "shmring-mpsc", "shmring", pinned)
		}
	}
	for _, place := range []string{machine.Taskset, machine.Free} {
		add("rtt", 32, "shmring-default", "shmring", place)
		add("stream", 32, "shmring-default", "shmring", place)
	}
	for _, w := range []string{"resident", "attach", "create"} {
		add(w, 0, "shmring", "shmring", machine.Free)
	}
	r.finish(all)
	return r
}

// finish is what a run does at its end.
func (r *Report) finish(all []float64) {
	r.Sort(all, nil, "")
	for _, c := range r.Cells {
		c.Finish(c.Group == "shmring")
	}
	r.Judge()
}

// alike gives all the same value.
func alike(v float64) func(*Cell, placement.Placement, int) float64 {
	return func(*Cell, placement.Placement, int) float64 { return v }
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
	"stream 8 B": 1, "stream 32 B": 1, "stream 48 B": 1, "stream 248 B": 1, "stream 1016 B": 1, "stream 4096 B": 1,
	"stream 65536 B": 1, "in place 8 B": 2, "in place 1016 B": 2, "batch of 64": 1, "mixed sizes": 1,
	"round trip 8 B": 1, "round trip 32 B": 1, "round trip 64 B": 1, "round trip 1016 B": 1,
	"MPSC 8 B": 3, "MPSC 32 B": 3, "MPSC 248 B": 1, "MPSC 1016 B": 1, "TryReceive in a loop": 2,
}

func TestEveryTargetIsThere(t *testing.T) {
	for name, r := range map[string]*Report{
		"all measured": synthetic(alike(100), placement.Near, placement.Far),
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
			wanted := 2
			switch {
			case strings.HasPrefix(target.Work, "memory"), strings.Contains(target.Target, "far ≤ 1.1 × raw C"):
				wanted = 1
			}
			require.Len(t, target.Verdicts, wanted, target.Work)
			for _, v := range target.Verdicts {
				require.NotEmpty(t, v.Detail, target.Work)
				require.Positive(t, v.Limit, target.Work)
				require.Equal(t, name == "all measured", v.Met != nil, target.Work)
				require.Equal(t, v.Met == nil, v.Measured == nil, target.Work)
				require.Equal(t, v.Met == nil, v.Ratio == nil, target.Work)
				if v.Met != nil {
					require.Equal(t, *v.Met, *v.Ratio <= 1, target.Work)
					require.Equal(t, v.Placement == placement.Neither, wanted == 1 && v.Placement != placement.Far)
				}
			}
		}
	}
}

// A placement that did not occur has no figures anywhere, and that is said.
func TestOnePlacementIsMissing(t *testing.T) {
	r := synthetic(alike(100), placement.Near)
	require.Nil(t, r.Placements.Gap)
	require.Positive(t, r.Placements.Near.Samples)
	require.Zero(t, r.Placements.Far)
	for _, c := range r.Cells {
		require.Nil(t, c.Far, c.Key())
		require.Equal(t, c.Anywhere, c.Near == nil, c.Key())
		require.Equal(t, c.Anywhere, c.All != nil, c.Key())
	}
	for _, target := range r.Targets {
		for _, v := range target.Verdicts {
			require.Equal(t, v.Placement == placement.Far, v.Measured == nil, target.Work)
			if v.Placement == placement.Far {
				require.Equal(t, "not seen in this run", v.Detail, target.Work)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "page.md")
	require.NoError(t, r.Page(path, ""))
	page, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, want := range []string{
		"far: not seen in this run", "*Far*: not seen in this run.", "| not seen in this run | – |",
		"by itself a run cannot tell which",
	} {
		require.Contains(t, string(page), want)
	}
	require.Contains(t, Summary(r), "far: not seen in this run")
	require.Regexp(t, `stream 8 B +≤ 7.5 ns near, 18 ns far +100  13.33 MISSED +not seen\n`, Summary(r))
}

// By the gap of an earlier run the only placement is the one that it is.
func TestAnEarlierRunTellsWhichPlacementItWas(t *testing.T) {
	r := synthetic(alike(100), placement.Far)
	require.Positive(t, r.Placements.Near.Samples, "with one placement only, all is in one column")
	var all []float64
	for _, c := range r.Cells {
		for _, x := range c.Rounds {
			all = append(all, x.Probe[:]...)
		}
	}
	r.Sort(all, &placement.Gap{Below: 140, Above: 480}, "old.json")
	for _, c := range r.Cells {
		c.Finish(true)
		require.Nil(t, c.Near, c.Key())
		require.Equal(t, c.Anywhere, c.Far == nil, c.Key())
	}
	require.Zero(t, r.Placements.Near)
	require.Contains(t, strings.Join(r.Placements.Lines(), "\n"), "by old.json near ends at 140 ns")
}

// What counts for neither placement is dropped, counted, and in no figure.
func TestSamplesAreDropped(t *testing.T) {
	r := synthetic(alike(100), placement.Near, placement.Far)
	var c *Cell
	for _, x := range r.Cells {
		if x.Work == "stream" && x.Size == 32 && x.Transport == "shmring" {
			c = x
		}
	}
	c.Rounds[0].Probe, c.Rounds[0].Value = [2]float64{130, 500}, 1e9      // moved meanwhile
	c.Rounds[1].Probe, c.Rounds[1].Value = [2]float64{250, 250}, 1e9      // of neither
	c.Rounds[rounds].Probe[0], c.Rounds[rounds].Value = probes["near"], 1 // moved the other way
	var all []float64
	for _, x := range r.Cells {
		for _, y := range x.Rounds {
			all = append(all, y.Probe[:]...)
		}
	}
	r.finish(all)
	require.Equal(t, 3, r.Placements.Dropped)
	require.Equal(t, 3, c.Dropped)
	require.Equal(t, rounds-2, c.Near.Samples)
	require.Equal(t, rounds-1, c.Far.Samples)
	require.InDelta(t, 100, c.Near.Median, 1e-9)
	require.InDelta(t, 100, c.Far.Q1, 1e-9)
	require.InDelta(t, 100, c.Near.Max, 1e-9)
	require.Contains(t, Summary(r), "3 samples dropped")
	samples := 0
	for _, x := range r.Cells {
		if !x.Anywhere {
			samples += len(x.Rounds)
		}
	}
	require.Equal(t, samples, r.Placements.Near.Samples+r.Placements.Far.Samples+r.Placements.Dropped)
}

func TestVerdicts(t *testing.T) {
	r := synthetic(func(c *Cell, p placement.Placement, round int) float64 {
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
		case c.Work == "stream" && c.Transport == "raw-c" && c.Size == 4096:
			return map[placement.Placement]float64{placement.Near: base, placement.Far: base / 1.2}[p]
		case c.Work == "stream" && c.Transport == "shmring" && c.Size == 8:
			return map[placement.Placement]float64{placement.Near: 15, placement.Far: 9}[p]
		}
		return base
	}, placement.Near, placement.Far)
	find := func(work, target string, p placement.Placement) Verdict {
		for _, x := range r.Targets {
			if strings.HasPrefix(x.Work, work) && strings.Contains(x.Target, target) {
				for _, v := range x.Verdicts {
					if v.Placement == p {
						return v
					}
				}
			}
		}
		t.Fatalf("no target %s %s %s", work, target, p)
		return Verdict{}
	}
	x := find("RTT 32 B", "raw", placement.Near)
	require.InDelta(t, 2, *x.Measured, 1e-9)
	require.False(t, *x.Met)
	require.InDelta(t, 2/1.1, *x.Ratio, 1e-9)
	require.Equal(t, rounds, x.Samples, "those of one placement only")
	x = find("streaming 32 B", "C++", placement.Far) // the better of the rival's two ways
	require.InDelta(t, 0.25, *x.Measured, 1e-9)
	require.True(t, *x.Met)
	require.Contains(t, x.Detail, "batch-1/32/boost-spsc")
	x = find("MPSC, 8 producers", "shares", placement.Near)
	require.InDelta(t, 1.5, *x.Measured, 1e-9)
	// Near and far have figures and limits of their own.
	x = find("stream 8 B", "7.5 ns near", placement.Near)
	require.InDelta(t, 15, *x.Measured, 1e-9)
	require.InDelta(t, 2, *x.Ratio, 1e-9)
	require.False(t, *x.Met)
	x = find("stream 8 B", "18 ns far", placement.Far)
	require.InDelta(t, 0.5, *x.Ratio, 1e-9)
	require.True(t, *x.Met)
	x = find("stream 4096 B", "raw C", placement.Far)
	require.InDelta(t, 1.2, *x.Measured, 1e-9)
	require.False(t, *x.Met)
	x = find("against pipe", "20", placement.Near) // more is better: a twentieth of what is wanted
	require.InDelta(t, 20, *x.Ratio, 1e-9)
	table := r.TargetTable()
	require.Contains(t, table, "| stream 8 B | ≤ 7.5 ns near, 18 ns far | **15.0** | **2.00** | 9.00 | 0.50 |")
	require.Contains(t, table, "| stream 4096 B | far ≤ 1.1 × raw C |  |  | **1.20** | **1.09** |")
	require.Contains(t, r.Price(), "| stream, 4096 B | 500 ns | 500 ns | 1.00 (6) | 500 ns | 417 ns | 1.20 (6) |")
}

func TestJSON(t *testing.T) {
	r := synthetic(alike(100), placement.Near, placement.Far)
	path := filepath.Join(t.TempDir(), "r.json")
	require.NoError(t, r.Write(path))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	var raw map[string]any
	require.NoError(t, json.Unmarshal(data, &raw))
	for _, key := range []string{"version", "begun", "seconds", "settings", "machine", "placements", "absent", "cells",
		"targets"} {
		require.Contains(t, raw, key)
	}
	target := raw["targets"].([]any)[0].(map[string]any)
	for _, key := range []string{"work", "target", "verdicts"} {
		require.Contains(t, target, key)
	}
	for _, key := range []string{"placement", "limit", "measured", "ratio", "met", "samples", "detail"} {
		require.Contains(t, target["verdicts"].([]any)[1], key)
	}
	cell := raw["cells"].([]any)[0].(map[string]any)
	for _, key := range []string{"work", "size", "transport", "place", "rounds", "near", "far", "dropped",
		"syscalls_per_message"} {
		require.Contains(t, cell, key)
	}
	for _, key := range []string{"samples", "median", "q1", "q3", "p50", "p90", "p99", "p99_9", "max",
		"cpu_s_per_million", "allocs_per_message"} {
		require.Contains(t, cell["near"], key)
		require.Contains(t, cell["far"], key)
	}
	for _, key := range []string{"round", "probe", "placement", "value"} {
		require.Contains(t, cell["rounds"].([]any)[0], key)
	}
	for _, key := range []string{"gap", "near", "far", "between", "dropped"} {
		require.Contains(t, raw["placements"], key)
	}
	again, err := Read(path)
	require.NoError(t, err)
	require.Equal(t, r.Targets, again.Targets)
	again.Version++
	require.NoError(t, again.Write(path))
	_, err = Read(path)
	require.ErrorContains(t, err, "want 2")
}

func TestCompare(t *testing.T) {
	jitter := []float64{0, 1, 2, 3, 4, 5}
	old := synthetic(func(_ *Cell, _ placement.Placement, i int) float64 { return 100 + jitter[i] }, placement.Near,
		placement.Far)
	now := synthetic(func(c *Cell, p placement.Placement, i int) float64 {
		if c.Work == "stream" && c.Transport == "shmring" && p == placement.Far {
			return 80 + jitter[i]
		}
		return 100 + jitter[5-i]
	}, placement.Near, placement.Far)
	changes := Compare(old, now)
	anywhere := 0
	for _, c := range old.Cells {
		if c.Anywhere {
			anywhere++
		}
	}
	require.Len(t, changes, 2*len(old.Cells)-anywhere)
	for _, c := range changes {
		faster := c.Key.Work == "stream" && c.Key.Transport == "shmring" && c.Placement == placement.Far
		require.Equal(t, faster, c.Sure, "%v %s", c.Key, c.Placement)
		if faster {
			require.InDelta(t, -0.195, c.Delta(), 0.01)
			require.Less(t, c.P, 0.05)
		}
	}
	text := CompareText(old, now)
	require.Contains(t, text, "-19.")
	require.Contains(t, text, "~")
	require.Contains(t, text, "geomean")
	require.NotContains(t, text, "Not the same placement")
	// What only one of the two has seen is not compared, and one name for two placements is noticed.
	far := synthetic(alike(100), placement.Far) // by itself it calls them near
	require.Contains(t, CompareText(old, far), "Not the same placement: of near a line went there and back in 130 ns")
	for _, c := range Compare(synthetic(alike(100), placement.Near), now) {
		require.NotEqual(t, placement.Far, c.Placement)
	}
}

func TestPageAndPlots(t *testing.T) {
	dir := t.TempDir()
	r := synthetic(func(c *Cell, p placement.Placement, _ int) float64 {
		if c.Transport == "boost-spsc" && c.Work == "batch-64" && c.Size == 8 && p == placement.Far {
			return 25
		}
		return 100
	}, placement.Near, placement.Far)
	r.Peers = []PeerInfo{{"peer-x", "somebody's ring", "processes"}}
	path := filepath.Join(dir, "page.md")
	require.NoError(t, r.Plot(filepath.Join(dir, "plots")))
	require.NoError(t, r.Page(path, filepath.Join(dir, "plots")))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	page := string(data)
	for _, part := range []string{"## How to choose", "## Method", "## Targets", "## Where others win", "a processor",
		"](plots/rtt-percentiles-near.svg)", "](plots/rtt-percentiles-far.svg)",
		"| batch-64 | 8 B | pinned | far | boost-spsc | 25.0 ns | shmring | 100 ns | 4.00× |",
		"## Default options",
		"| shmring-default | rtt | taskset | 100 ns | 100 ns | 100 ns | 6 | 100 ns | 100 ns | 100 ns | 6 |",
		"| shmring-default | stream | free |", "What the guarantees cost", "| rtt, 32 B | 100 ns | 100 ns | 1.00 (6) |",
		"| peer-x | peer | somebody's ring | processes |", "Samples of each figure: 6.",
		"the gap between the probes is from 135 ns to 500 ns"} {
		require.Contains(t, page, part)
	}
	require.NotContains(t, page, "<no value>")
	require.NotContains(t, page, "| batch-64 | 8 B | pinned | near |")
	for _, name := range []string{"rtt-percentiles", "blocked-percentiles", "stream-messages", "stream-bytes", "mpsc"} {
		for _, p := range placement.Both {
			for _, ext := range []string{".svg", ".png"} {
				require.FileExists(t, filepath.Join(dir, "plots", name+"-"+string(p)+ext))
			}
		}
	}
}

func TestAdd(t *testing.T) {
	c := &Cell{}
	require.ErrorContains(t, c.Add(1, [2]float64{}, []work.Result{{}, {Messages: 3}}), "3 messages are too few")
	require.NoError(t, c.Add(1, [2]float64{}, []work.Result{
		{Messages: 110, WindowMessages: 100, WindowNs: 5000, WindowBytes: 3200, Shares: []uint64{60, 40},
			Times: [][2]int64{{3200, 9}, {64000, 1}}, Per: 64, CPUNs: 6000},
		{Messages: 70, CPUNs: 2500}, {Messages: 40, CPUNs: 2500, Mallocs: 11},
	}))
	c.Rounds[0].Placement = placement.Near
	c.Finish(true)
	require.Nil(t, c.Far)
	f := c.Near
	require.InDelta(t, 50, f.Median, 1e-9)
	require.InDelta(t, 50, f.P50, 0.1)
	require.InDelta(t, 1000, f.Max, 1)
	require.InDelta(t, 1.5, f.Shares, 1e-9)
	require.InDelta(t, 0.1, *f.Allocs, 1e-9)
	require.InDelta(t, 0.1, f.CPU, 1e-9) // 11 µs for 110 messages
	require.InDelta(t, 2e7, f.MsgsPerS, 1)
	require.InDelta(t, 6.4e8, f.BytesPerS, 1)
}

// The figure of round trips is a mean that the grain of the clock does not show in: trips of
// 123.4 ns that are timed one by one are of 120 or 130 where it ticks every 10 ns.
func TestMeanTrip(t *testing.T) {
	c := &Cell{Unit: "ns/trip"}
	require.NoError(t, c.Add(1, [2]float64{}, []work.Result{{Role: "echo", Messages: 96}, {Role: "ping", Messages: 96,
		Times: [][2]int64{{120, 21}, {130, 11}}, BlockTimes: [][2]int64{{3940, 2}, {3950, 3}, {900000, 1}}, Block: 32}}))
	require.InDelta(t, 3950.0/32, c.Rounds[0].Value, 0.2)
	require.InDelta(t, 120, c.Rounds[0].P50, 0.5)
	// A peer without blocks: its time by its trips.
	require.NoError(t, c.Add(2, [2]float64{}, []work.Result{{Messages: 96},
		{Messages: 96, WindowMessages: 80, WindowNs: 9872}}))
	require.InDelta(t, 123.4, c.Rounds[1].Value, 1e-9)
}

// A ratio is of two samples of one round only if both were of one placement.
func TestRatiosAreOfOnePlacement(t *testing.T) {
	cell := func(value float64, of ...placement.Placement) *Cell {
		c := &Cell{}
		for i, p := range of {
			c.Rounds = append(c.Rounds, Round{Round: i + 1, Placement: p, Value: value})
		}
		return c
	}
	a := cell(30, placement.Near, placement.Near, placement.Far, placement.Neither, placement.Far)
	b := cell(10, placement.Near, placement.Far, placement.Near, placement.Neither, placement.Far)
	require.Equal(t, []float64{3}, ratios(a, b, placement.Near))
	require.Equal(t, []float64{3}, ratios(a, b, placement.Far))
	require.Empty(t, ratios(a, cell(10), placement.Near))
	// Where few rounds have both, it is the ratio of the medians; where there are none, none.
	a.Finish(true)
	b.Finish(true)
	v, pairs := ratio(a, b, placement.Far)
	require.InDelta(t, 3, v, 1e-9)
	require.Nil(t, pairs)
	b.Rounds[4].Value = 1 // the only pair would be 30; the far ones of b are 10 and 1
	b.Finish(true)
	v, _ = ratio(a, b, placement.Far)
	require.InDelta(t, 30/5.5, v, 1e-9)
	v, _ = ratio(a, cell(10), placement.Near)
	require.True(t, math.IsNaN(v))
}
