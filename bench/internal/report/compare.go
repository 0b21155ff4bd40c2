package report

import (
	"fmt"
	"math"
	"strings"

	"golang.org/x/perf/benchmath"

	"github.com/shmring/shmring/bench/internal/placement"
)

// alpha is below which p a difference counts.
const alpha = 0.05

// Change is what became of a cell.
type Change struct {
	Key       Key
	Placement placement.Placement // empty: it does not matter
	Unit      string
	Old, New  float64 // medians
	P         float64 // of the two being the same, by Mann and Whitney
	Sure      bool    // p is below 0.05
	N         [2]int  // rounds
}

// Delta is the change of the median.
func (c Change) Delta() float64 { return c.New/c.Old - 1 }

// Compare finds what changed in the cells that both reports have, in the placements that both
// have seen.
func Compare(old, now *Report) []Change {
	var list []Change
	for _, c := range now.Cells {
		o := old.Find(c.Work, c.Size, c.Transport, c.Place)
		if o == nil {
			continue
		}
		for _, p := range placement.Both {
			if c.Anywhere {
				p = placement.Neither
			}
			was, is := roundValues(o, p), roundValues(c, p)
			if len(was) == 0 || len(is) == 0 {
				continue
			}
			thresholds := &benchmath.Thresholds{CompareAlpha: alpha}
			a, b := benchmath.NewSample(was, thresholds), benchmath.NewSample(is, thresholds)
			cmp := benchmath.AssumeNothing.Compare(a, b)
			list = append(list, Change{
				Key: c.Key(), Placement: p, Unit: c.Unit, Old: median(a.Values), New: median(b.Values),
				P: cmp.P, Sure: cmp.P < alpha, N: [2]int{cmp.N1, cmp.N2},
			})
			if c.Anywhere {
				break
			}
		}
	}
	return list
}

// roundValues are those of a placement; of a cell that can be anywhere, all.
func roundValues(c *Cell, p placement.Placement) []float64 {
	var v []float64
	for _, r := range c.Rounds {
		if c.Anywhere || r.Placement == p {
			v = append(v, r.Value)
		}
	}
	return v
}

// otherPlacements tells where what two runs call by one name is not the same.
func otherPlacements(old, now *Report) string {
	text := ""
	for _, p := range placement.Both {
		a, b := old.Placements.Of(p).Probe, now.Placements.Of(p).Probe
		if a > 0 && b > 0 && placement.Unlike(a, b) {
			text += fmt.Sprintf("Not the same placement: of %s a line went there and back in %s, now in %s. "+
				"A run that saw one placement only cannot tell which: -gap-of.\n", p, ns(a), ns(b))
		}
	}
	return text
}

// CompareText is the comparison for people, as benchstat has it.
func CompareText(old, now *Report) string {
	var b strings.Builder
	changes := Compare(old, now)
	if old.Machine.Model != now.Machine.Model || old.Machine.Kernel != now.Machine.Kernel ||
		old.Machine.Processors != now.Machine.Processors {
		fmt.Fprintf(&b, "Not the same machine: %s, %s, %d processors; now %s, %s, %d.\n", old.Machine.Model,
			old.Machine.Kernel, old.Machine.Processors,
			now.Machine.Model, now.Machine.Kernel, now.Machine.Processors)
	}
	b.WriteString(otherPlacements(old, now))
	fmt.Fprintf(&b, "%-44s %-5s %-11s %12s %12s %9s\n", "cell", "", "unit", "old", "new", "delta")
	product, n := 0.0, 0
	fewest := math.MaxInt
	for _, c := range changes {
		delta := "~"
		if c.Sure {
			delta = fmt.Sprintf("%+.1f%%", 100*c.Delta())
		}
		fmt.Fprintf(&b, "%-44s %-5s %-11s %12s %12s %9s  (p=%.3f n=%d+%d)\n", c.Key, c.Placement, c.Unit,
			digits(c.Old), digits(c.New), delta, c.P, c.N[0], c.N[1])
		if c.Old > 0 && c.New > 0 {
			product += math.Log(c.New / c.Old)
			n++
		}
		fewest = min(fewest, c.N[0], c.N[1])
	}
	if n > 0 {
		fmt.Fprintf(&b, "%-44s %-5s %-11s %12s %12s %+8.1f%%\n", "geomean", "", "", "", "",
			100*(math.Exp(product/float64(n))-1))
	}
	if n > 0 && fewest < 4 {
		fmt.Fprintf(&b, "With fewer than 4 rounds on each side nothing can be told apart: -rounds.\n")
	}
	fmt.Fprintf(&b, "%d figures in both reports; ~ is a change that chance explains (p ≥ %.2f)\n", len(changes), alpha)
	return b.String()
}
