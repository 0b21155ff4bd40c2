// Package placement tells how far apart the host keeps the two processors that a run is
// pinned to. A virtual machine's processors are moved about by its host: for a second
// they share a cache, for the next they do not, and a line's way there and back takes four
// times as long. A figure is of one of these placements, or it means nothing.
//
// A Probe measures that way for some milliseconds, before and after every sample. When the
// run is over, Find looks for a gap between all its probes, and Gap.Of says what a sample
// between two of them is of.
package placement

import (
	"math"
	"slices"
)

// Placement is where the host has the two processors while something is measured.
type Placement string

const (
	Near    Placement = "near" // also all there is, where a run saw one placement only
	Far     Placement = "far"
	Neither Placement = "" // it changed meanwhile, or a probe is between the two
)

// Both are the two that samples count for, in the order in which they are shown.
var Both = []Placement{Near, Far}

const (
	// apart is how many times longer than another a round trip is that is of another
	// placement: what disturbs the lower fifth of its blocks does less.
	apart = 1.5
	// strays is the share of probes that may lie inside the gap: the host moved the
	// processors in the middle of them.
	strays = 0.01
)

// Gap is between the probes of the near placement and those of the far one, in
// nanoseconds per round trip. The zero value is no gap: there was one placement.
type Gap struct {
	Below float64 `json:"below"` // the slowest of the near
	Above float64 `json:"above"` // the quickest of the far
}

// Find returns the widest gap between the probes of a run, by ratio. It counts if
//
//   - its upper end is at least half as much again as its lower end, and farther from it
//     than the upper quartile of either side is from the lower one,
//   - each side has at least two probes, and one in a hundred of all,
//   - at most one in a hundred of all lies in it.
//
// There is no number of nanoseconds in this, so that any machine has its own near and far,
// and one whose probes are all alike has no gap.
func Find(probes []float64) (gap Gap, found bool) {
	v := slices.Sorted(slices.Values(probes))
	n := len(v)
	fewest := max(2, (n+99)/100)
	within := int(strays * float64(n))
	widest := 0.0
	for i := fewest - 1; i < n; i++ {
		for j := i + 1; j <= min(i+1+within, n-fewest); j++ {
			wide := math.Log(v[j] / v[i])
			if v[j] >= apart*v[i] && wide > widest && wide > spread(v[:i+1]) && wide > spread(v[j:]) {
				widest, gap, found = wide, Gap{v[i], v[j]}, true
			}
		}
	}
	return gap, found
}

// spread is the ratio of the quartiles, as a logarithm.
func spread(sorted []float64) float64 {
	at := func(q float64) float64 { return sorted[int(q*float64(len(sorted)-1)+0.5)] }
	return math.Log(at(0.75) / at(0.25))
}

// Unlike tells that two round trips are not of the same placement.
func Unlike(a, b float64) bool { return max(a, b) > apart*min(a, b) }

// Of is what a sample counts for: a placement if the probes before it and after it both
// say so. The middle third of the gap, by ratio, is of neither. Without a gap all samples
// are of one placement, which is called near, but for those whose two probes are apart.
func (g Gap) Of(before, after float64) Placement {
	if g == (Gap{}) {
		if Unlike(before, after) {
			return Neither
		}
		return Near
	}
	if a := g.one(before); a == g.one(after) {
		return a
	}
	return Neither
}

// one is what a probe says.
func (g Gap) one(probe float64) Placement {
	third := math.Pow(g.Above/g.Below, 1.0/3)
	switch {
	case probe <= g.Below*third:
		return Near
	case probe >= g.Above/third:
		return Far
	}
	return Neither
}

// Say is what a single probe says of its own; all are near where there is no gap.
func (g Gap) Say(probe float64) Placement { return g.Of(probe, probe) }
