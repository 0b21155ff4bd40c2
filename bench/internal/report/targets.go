package report

import (
	"fmt"
	"math"
	"slices"

	"github.com/shmring/shmring/bench/internal/machine"
	"github.com/shmring/shmring/bench/internal/placement"
)

// Target is one thing that the library set out to reach.
type Target struct {
	Work     string    `json:"work"`
	Target   string    `json:"target"`
	Verdicts []Verdict `json:"verdicts"` // of near and far; of memory one
}

// Verdict is how far a target is reached in one placement.
type Verdict struct {
	Placement placement.Placement `json:"placement"` // empty: it does not matter
	Limit     float64             `json:"limit"`
	Measured  *float64            `json:"measured"` // null: see Detail
	// Ratio is how much more than the limit was measured, or how much less where more is
	// better: up to 1 the target is met.
	Ratio   *float64 `json:"ratio"`
	Met     *bool    `json:"met"` // null: could not be measured
	Samples int      `json:"samples"`
	Detail  string   `json:"detail"`
}

const mib = 1 << 20

// Judge fills in the targets.
func (r *Report) Judge() {
	j := judge{r: r, place: r.main()}
	j.speed()
	j.rivalry()
	j.producers()
	for _, k := range []struct {
		name string
		all  []string
	}{{"pipe", []string{"pipe", "pipe-sys"}}, {"UDS", []string{"unix", "unix-sys"}}, {"TCP", []string{"tcp"}}} {
		name := k.name
		j.inverse("against "+name+", 32 B", "≥ 20 × messages per second", 20, 32, each("stream", k.all), our("stream",
			"batch-1"))
		j.inverse("against "+name+", RTT 32 B", "≥ 100 × lower RTT when spinning", 100, 32, each("rtt", k.all), our("rtt"))
	}
	j.atMost("blocked both sides, RTT 32 B", "≤ 1.1 × a C futex ping-pong", 1.1, 32, our("blocked"), []who{{"blocked",
		"futex"}})
	j.absolute("memory: resident", "segment + < 2 MiB per process", "resident", 2, mib, "MiB beyond the segment")
	j.absolute("memory: attach", "< 1 ms", "attach", 1, 1e6, "ms")
	j.absolute("memory: create of 64 MiB", "< 30 ms", "create", 30, 1e6, "ms")
	r.Targets = j.list
}

// speed is the table of nanoseconds, near and far.
func (j *judge) speed() {
	for _, s := range []struct {
		label     string
		cell      who
		size      int
		near, far float64
	}{
		{"stream 8 B", who{"stream", "shmring"}, 8, 7.5, 18},
		{"stream 32 B", who{"stream", "shmring"}, 32, 8.5, 16},
		{"stream 48 B", who{"stream", "shmring"}, 48, 11, 16},
		{"stream 248 B", who{"stream", "shmring"}, 248, 15, 65},
		{"stream 1016 B", who{"stream", "shmring"}, 1016, 26, 185},
		{"in place 8 B", who{"stream", "shmring-zc"}, 8, 12, 23},
		{"in place 1016 B", who{"stream", "shmring-zc"}, 1016, 30, 180},
		{"batch of 64 × 8 B, views", who{"batch-64", "shmring-zc"}, 8, 4.5, 7.5},
		{"mixed sizes", who{"mixed", "shmring"}, 0, 26, 95},
		{"round trip 1016 B", who{"rtt", "shmring"}, 1016, 255, 1000},
		{"MPSC 8 B, one producer", who{"stream", "shmring-mpsc"}, 8, 14, 30},
		{"MPSC 32 B, one producer", who{"stream", "shmring-mpsc"}, 32, 14, 30},
		{"MPSC 248 B, one producer", who{"stream", "shmring-mpsc"}, 248, 25, 80},
		{"MPSC 1016 B, one producer", who{"stream", "shmring-mpsc"}, 1016, 35, 250},
	} {
		j.nanoseconds(s.label, s.cell, s.size, s.near, s.far)
	}
	for _, size := range []int{8, 32, 64} {
		j.judge(Target{Work: fmt.Sprintf("round trip %d B", size), Target: "≤ 1.08 × raw cache lines near, 1.0 × far"},
			size, our("rtt"), []who{{"rtt", "raw-pingpong"}}, limits{placement.Near: 1.08, placement.Far: 1}, false)
	}
	for _, size := range []int{4096, 65536} {
		j.judge(Target{Work: fmt.Sprintf("stream %d B", size), Target: "far ≤ 1.1 × raw C"}, size, our("stream"),
			[]who{{"stream", "raw-c"}}, limits{placement.Far: 1.1}, false)
	}
	for _, size := range []int{8, 1016} {
		j.atMost(fmt.Sprintf("in place %d B, against copying", size), "≤ 1.0 × copying", 1, size,
			[]who{{"stream", "shmring-zc"}}, our("stream"))
	}
	for _, w := range []string{"stream", "rtt"} {
		j.atMost("TryReceive in a loop, "+w+" 32 B", "≤ 1.05 × Receive", 1.05, 32, []who{{w, "shmring-try"}}, our(w))
	}
	for _, n := range []int{2, 4} {
		for _, size := range []int{8, 32} {
			j.atMost(fmt.Sprintf("MPSC %d B, %d producers", size, n), "≤ 1.2 × one producer", 1.2, size,
				[]who{{fmt.Sprintf("mpsc-%d", n), "shmring-mpsc"}}, []who{{"mpsc-1", "shmring-mpsc"}})
		}
	}
}

// rivalry is how the ring compares with the limits of the machine and with C++.
func (j *judge) rivalry() {
	raw := []who{{"rtt", "raw-pingpong"}}
	j.atMost("RTT 32 B, spinning, mean per trip", "≤ 1.10 × raw cache-line ping-pong", 1.10, 32, our("rtt"), raw)
	j.atMost("RTT 32 B, spinning, mean per trip", "≤ 0.85 × the best C++ rival", 0.85, 32, our("rtt"), j.rivals("rtt"))
	boost := []who{{"stream", "boost-spsc"}, {"batch-1", "boost-spsc"}}
	all := j.rivals("stream", "batch-1")
	for _, s := range []struct {
		size      int
		whose     string
		rivals    []who
		near, far float64
	}{
		{8, "boost's", boost, 0.5, 0.5},
		{32, "the best C++ rival's", all, 0.6, 0.6},
		{48, "the best C++ rival's", all, 0.6, 0.6},
		{248, "the best C++ rival's", all, 0.75, 0.75},
		{1016, "the best C++ rival's", all, 0.7, 0.9},
	} {
		j.judge(Target{Work: fmt.Sprintf("streaming %d B, one publish each", s.size),
			Target: fmt.Sprintf("≤ %g × %s ns/msg near, %g × far", s.near, s.whose, s.far)}, s.size,
			our("stream", "batch-1"), s.rivals, limits{placement.Near: s.near, placement.Far: s.far}, false)
	}
	for _, size := range []int{65528, mib} {
		j.inverse(fmt.Sprintf("streaming %d B", size), "≥ 0.9 × raw cross-core copy bandwidth", 0.9, size,
			each("stream", []string{"raw-copy-4", "raw-copy-2m", "raw-loop-4", "raw-loop-2m"}), our("stream", "batch-1"))
	}
	for _, size := range []int{8, 32, 48} {
		j.atMost(fmt.Sprintf("batches of 64, %d B", size), "≤ 0.35 × single publish", 0.35, size, our("batch-64"),
			our("stream", "batch-1"))
	}
	j.inverse("batches of 64, 8 B", "≥ 1.5 × the best C++ rival's messages per second", 1.5, 8, j.rivals("stream",
		"batch-1", "batch-64"), our("batch-64"))
}

// producers is what many producers cost, and how they share.
func (j *judge) producers() {
	for _, size := range []int{8, 32, 48, 248, 1016} {
		limit := 1.25
		if size > 48 {
			limit = 1.5
		}
		j.atMost(fmt.Sprintf("MPSC, one producer, %d B", size), fmt.Sprintf("≤ %.2f × SPSC", limit), limit, size,
			[]who{{"stream", "shmring-mpsc"}}, []who{{"stream", "shmring"}})
	}
	for _, n := range j.crowds() {
		work := fmt.Sprintf("mpsc-%d", n)
		j.inverse(fmt.Sprintf("MPSC, %d producers, more than cores", n), "total ≥ 0.5 × one producer", 0.5, 32,
			[]who{{"mpsc-1", "shmring-mpsc"}}, []who{{work, "shmring-mpsc"}})
		j.shares(n)
	}
}

// who is a work by a transport.
type who struct{ work, transport string }

func our(works ...string) []who {
	var list []who
	for _, w := range works {
		list = append(list, who{w, "shmring"})
	}
	return list
}

func each(work string, transports []string) []who {
	var list []who
	for _, t := range transports {
		list = append(list, who{work, t})
	}
	return list
}

// limits are those of the placements that a target is about.
type limits map[placement.Placement]float64

// judge collects targets.
type judge struct {
	r     *Report
	place string
	list  []Target
}

// rivals are those in C and C++ that were measured in a work.
func (j *judge) rivals(works ...string) []who {
	var list []who
	for _, c := range j.r.Cells {
		w := who{c.Work, c.Transport}
		if c.Group == "C++" && slices.Contains(works, c.Work) && !slices.Contains(list, w) {
			list = append(list, w)
		}
	}
	return list
}

// best is the cell with the lowest median in a placement; nil: none has one.
func (j *judge) best(size int, of []who, p placement.Placement) *Cell {
	var best *Cell
	for _, w := range of {
		c := j.r.Find(w.work, size, w.transport, j.place)
		if c != nil && c.In(p) != nil && (best == nil || c.In(p).Median < best.In(p).Median) {
			best = c
		}
	}
	return best
}

// atMost judges the ratio of the best of a to the best of b.
func (j *judge) atMost(work, target string, limit float64, size int, a, b []who) {
	j.judge(Target{Work: work, Target: target}, size, a, b, limits{placement.Near: limit, placement.Far: limit}, false)
}

// inverse judges how many times faster b is than a.
func (j *judge) inverse(work, target string, limit float64, size int, a, b []who) {
	j.judge(Target{Work: work, Target: target}, size, a, b, limits{placement.Near: limit, placement.Far: limit}, true)
}

// judge adds a target about a ratio; more is better where inverse says so.
func (j *judge) judge(t Target, size int, a, b []who, by limits, inverse bool) {
	for _, p := range placement.Both {
		limit, asked := by[p]
		if !asked {
			continue
		}
		v := Verdict{Placement: p, Limit: limit}
		ca, cb := j.best(size, a, p), j.best(size, b, p)
		switch {
		case ca == nil:
			v.Detail = j.missing(a, size, p)
		case cb == nil:
			v.Detail = j.missing(b, size, p)
		default:
			j.compare(&v, ca, cb, inverse)
		}
		t.Verdicts = append(t.Verdicts, v)
	}
	j.list = append(j.list, t)
}

// compare fills in a verdict about two cells.
func (j *judge) compare(v *Verdict, a, b *Cell, inverse bool) {
	m, pairs := ratio(a, b, v.Placement)
	if math.IsNaN(m) {
		v.Detail = fmt.Sprintf("%s and %s have no figures %s", a.Key(), b.Key(), v.Placement)
		return
	}
	fa, fb := a.In(v.Placement), b.In(v.Placement)
	v.settle(m, inverse)
	v.Samples = len(pairs)
	v.Detail = fmt.Sprintf("%s %s by %s %s; ", a.Key(), ns(fa.Median), b.Key(), ns(fb.Median))
	if pairs == nil {
		v.Samples = min(fa.Samples, fb.Samples)
		v.Detail += fmt.Sprintf("of medians: fewer than %d rounds have both %s", fewPairs, v.Placement)
		return
	}
	v.Detail += fmt.Sprintf("in %d rounds, quartiles %.2f to %.2f", len(pairs), quantile(pairs, 0.25),
		quantile(pairs, 0.75))
}

// settle takes a measured value down.
func (v *Verdict) settle(measured float64, inverse bool) {
	ratio := measured / v.Limit
	if inverse {
		ratio = v.Limit / measured
	}
	met := ratio <= 1
	v.Measured, v.Ratio, v.Met = &measured, &ratio, &met
}

// nanoseconds adds a target about the figure of one cell.
func (j *judge) nanoseconds(label string, of who, size int, near, far float64) {
	t := Target{Work: label, Target: fmt.Sprintf("≤ %g ns near, %g ns far", near, far)}
	for _, v := range []Verdict{{Placement: placement.Near, Limit: near}, {Placement: placement.Far, Limit: far}} {
		if c := j.best(size, []who{of}, v.Placement); c != nil {
			f := c.In(v.Placement)
			v.Samples = f.Samples
			v.settle(f.Median, false)
			v.Detail = fmt.Sprintf("%s, median of %d samples, quartiles %s to %s", c.Key(), f.Samples, ns(f.Q1), ns(f.Q3))
		} else {
			v.Detail = j.missing([]who{of}, size, v.Placement)
		}
		t.Verdicts = append(t.Verdicts, v)
	}
	j.list = append(j.list, t)
}

// missing tells why there is no figure.
func (j *judge) missing(of []who, size int, p placement.Placement) string {
	if len(of) == 0 {
		return "no C++ rival was measured: " + j.absence("")
	}
	for _, w := range of {
		if j.r.Find(w.work, size, w.transport, j.place) == nil {
			continue
		}
		if j.r.Placements.Of(p).Samples == 0 {
			return notSeen
		}
		return fmt.Sprintf("no sample of %s by %s was %s", w.work, w.transport, p)
	}
	return fmt.Sprintf("%s by %s was not measured: %s", of[0].work, of[0].transport, j.absence(of[0].transport))
}

// absence is why a transport was not measured, or, without a name, the first that could be
// installed.
func (j *judge) absence(transport string) string {
	for _, a := range j.r.Absent {
		if a.Transport == transport || transport == "" && a.Package != "" {
			return a.Reason
		}
	}
	return "not part of this run"
}

// crowds are the numbers of producers that are more than the cores.
func (j *judge) crowds() []int {
	var list []int
	for _, n := range Crowd {
		if n > j.r.Machine.Cores {
			list = append(list, n)
		}
	}
	if len(list) == 0 {
		list = Crowd[len(Crowd)-1:]
	}
	return list
}

// Crowd is how many producers are tried at once on every machine.
var Crowd = []int{1, 2, 4, 8}

func (j *judge) shares(n int) {
	t := Target{Work: fmt.Sprintf("MPSC, %d producers, more than cores", n), Target: "shares within 2× of each other"}
	of := []who{{fmt.Sprintf("mpsc-%d", n), "shmring-mpsc"}}
	for _, p := range placement.Both {
		v := Verdict{Placement: p, Limit: 2}
		if c := j.best(32, of, p); c != nil {
			v.Samples = c.In(p).Samples
			v.settle(c.In(p).Shares, false)
			v.Detail = "the busiest producer's messages by the laziest's, median of the rounds"
		} else {
			v.Detail = j.missing(of, 32, p)
		}
		t.Verdicts = append(t.Verdicts, v)
	}
	j.list = append(j.list, t)
}

// absolute adds a target that the placement has no part in.
func (j *judge) absolute(work, target, cell string, limit, unit float64, name string) {
	v := Verdict{Limit: limit}
	if c := j.r.Find(cell, 0, "shmring", machine.Free); c != nil && c.All != nil {
		v.Samples = c.All.Samples
		v.settle(c.All.Median/unit, false)
		v.Detail = fmt.Sprintf("%s, median of %d rounds, quartiles %.3f to %.3f", name, c.All.Samples, c.All.Q1/unit,
			c.All.Q3/unit)
	} else {
		v.Detail = fmt.Sprintf("%s was not measured: %s", cell, j.absence("shmring"))
	}
	j.list = append(j.list, Target{Work: work, Target: target, Verdicts: []Verdict{v}})
}
