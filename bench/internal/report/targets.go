package report

import (
	"fmt"
	"math"
	"slices"

	"github.com/shmring/shmring/bench/internal/machine"
)

// Target is one thing that the library set out to reach.
type Target struct {
	Work     string   `json:"work"`
	Target   string   `json:"target"`
	Measured *float64 `json:"measured"` // null: see Detail
	Met      *bool    `json:"met"`      // null: could not be measured
	Detail   string   `json:"detail"`
}

const mib = 1 << 20

// Judge fills in the targets.
func (r *Report) Judge() {
	j := judge{r: r, place: machine.Pinned}
	if !r.Settings.Pinned || r.Machine.Place(machine.Pinned) == nil {
		j.place = machine.Free
	}
	raw := []who{{"rtt", "raw-pingpong"}}
	j.atMost("RTT 32 B, spinning, p50", "≤ 1.10 × raw cache-line ping-pong", 1.10, 32, our("rtt"), raw)
	j.atMost("RTT 32 B, spinning, p50", "≤ 0.85 × the best C++ rival", 0.85, 32, our("rtt"), j.rivals("rtt"))
	for _, size := range []int{8, 32, 48, 248, 1016} {
		limit := 0.9
		if size > 48 {
			limit = 0.5
		}
		j.atMost(fmt.Sprintf("streaming %d B, one publish each", size), fmt.Sprintf("≤ %.1f × the best C++ rival's ns/msg",
			limit), limit, size,
			our("stream", "batch-1"), j.rivals("stream", "batch-1"))
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

// best is the cell with the lowest median; nil: none was measured.
func (j *judge) best(size int, of []who) *Cell {
	var best *Cell
	for _, w := range of {
		if c := j.r.Find(w.work, size, w.transport, j.place); c != nil && (best == nil || c.Median < best.Median) {
			best = c
		}
	}
	return best
}

// atMost judges the ratio of the best of a to the best of b.
func (j *judge) atMost(work, target string, limit float64, size int, a, b []who) {
	j.ratio(work, target, size, a, b, func(v float64) bool { return v <= limit })
}

// inverse judges how many times faster b is than a.
func (j *judge) inverse(work, target string, limit float64, size int, a, b []who) {
	j.ratio(work, target, size, a, b, func(v float64) bool { return v >= limit })
}

func (j *judge) ratio(work, target string, size int, a, b []who, met func(float64) bool) {
	t := Target{Work: work, Target: target}
	ca, cb := j.best(size, a), j.best(size, b)
	switch {
	case ca == nil:
		t.Detail = j.missing(a)
	case cb == nil:
		t.Detail = j.missing(b)
	default:
		all := ratios(ca, cb)
		slices.Sort(all)
		v := quantile(all, 0.5)
		if math.IsNaN(v) {
			t.Detail = fmt.Sprintf("no round has both %s and %s", ca.Key(), cb.Key())
			break
		}
		ok := met(v)
		t.Measured, t.Met = &v, &ok
		t.Detail = fmt.Sprintf("%s %s by %s %s; in %d rounds, quartiles %.2f to %.2f",
			ca.Key(), ns(ca.Median), cb.Key(), ns(cb.Median), len(all), quantile(all, 0.25), quantile(all, 0.75))
	}
	j.list = append(j.list, t)
}

func (j *judge) missing(of []who) string {
	if len(of) == 0 {
		return "no C++ rival was measured: " + j.absence("")
	}
	return fmt.Sprintf("%s by %s was not measured: %s", of[0].work, of[0].transport, j.absence(of[0].transport))
}

func (j *judge) absence(transport string) string {
	for _, a := range j.r.Absent {
		if a.Transport == transport || transport == "" {
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
	if c := j.r.Find(fmt.Sprintf("mpsc-%d", n), 32, "shmring-mpsc", j.place); c != nil {
		v, ok := c.Shares, c.Shares <= 2
		t.Measured, t.Met = &v, &ok
		t.Detail = "the busiest producer's messages by the laziest's, median of the rounds"
	} else {
		t.Detail = j.missing([]who{{fmt.Sprintf("mpsc-%d", n), "shmring-mpsc"}})
	}
	j.list = append(j.list, t)
}

func (j *judge) absolute(work, target, cell string, limit, unit float64, name string) {
	t := Target{Work: work, Target: target}
	if c := j.r.Find(cell, 0, "shmring", machine.Free); c != nil {
		v := c.Median / unit
		ok := v < limit
		t.Measured, t.Met = &v, &ok
		t.Detail = fmt.Sprintf("%s, median of %d rounds, quartiles %.3f to %.3f", name, len(c.Rounds), c.Q1/unit, c.Q3/unit)
	} else {
		t.Detail = j.missing([]who{{cell, "shmring"}})
	}
	j.list = append(j.list, t)
}
