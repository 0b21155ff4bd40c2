package report

import (
	"fmt"
	"slices"

	"github.com/shmring/shmring/bench/internal/placement"
)

// Placements are what a run found out of how far apart the host had the processors.
type Placements struct {
	Gap     *placement.Gap `json:"gap"`            // between near and far; null: all probes were alike
	From    string         `json:"from,omitempty"` // whose gap it is, if not this run's
	Near    Seen           `json:"near"`
	Far     Seen           `json:"far"`
	Between int            `json:"between"` // probes that are of neither
	Dropped int            `json:"dropped"` // samples whose two probes do not say the same
}

// Seen is how often a placement was.
type Seen struct {
	Probes  int     `json:"probes"`
	Probe   float64 `json:"probe"` // their median, nanoseconds
	Samples int     `json:"samples"`
}

// Sort says of every round which placement it counts for, from all probes of the run. Where
// those are alike, known is the gap of an earlier run, from a file that is named, which tells
// which of the two the only placement is; without one it is called near.
func (r *Report) Sort(probes []float64, known *placement.Gap, from string) {
	s := &r.Placements
	*s = Placements{}
	gap, found := placement.Find(probes)
	switch {
	case found:
		s.Gap = &gap
	case known != nil:
		gap, s.Gap, s.From = *known, known, from
	}
	of := map[placement.Placement][]float64{}
	for _, p := range probes {
		of[gap.Say(p)] = append(of[gap.Say(p)], p)
	}
	s.Near, s.Far = seen(of[placement.Near]), seen(of[placement.Far])
	s.Between = len(of[placement.Neither])
	for _, c := range r.Cells {
		for i := range c.Rounds {
			x := &c.Rounds[i]
			x.Placement = gap.Of(x.Probe[0], x.Probe[1])
			switch {
			case c.Anywhere:
			case x.Placement == placement.Near:
				s.Near.Samples++
			case x.Placement == placement.Far:
				s.Far.Samples++
			default:
				s.Dropped++
			}
		}
	}
}

func seen(probes []float64) Seen {
	if len(probes) == 0 {
		return Seen{}
	}
	return Seen{Probes: len(probes), Probe: median(probes)}
}

// Of is what was seen of a placement.
func (s *Placements) Of(p placement.Placement) Seen {
	if p == placement.Far {
		return s.Far
	}
	return s.Near
}

// notSeen is what stands where a placement has no figures: they are never made up.
const notSeen = "not seen in this run"

// Lines tell it.
func (s *Placements) Lines() []string {
	var list []string
	for _, p := range placement.Both {
		if of := s.Of(p); of.Samples > 0 {
			list = append(list, fmt.Sprintf("%s: a line goes there and back in %s (median of %d probes), %d samples", p,
				ns(of.Probe), of.Probes, of.Samples))
		} else {
			list = append(list, fmt.Sprintf("%s: %s", p, notSeen))
		}
	}
	switch {
	case s.Gap == nil:
		list = append(list, "all probes of the run are alike, so there was one placement; by itself a run cannot tell "+
			"which, so it is called near (-gap-of FILE takes near and far from a run that saw both)")
	case s.From != "":
		list = append(list, fmt.Sprintf("all probes of the run are alike; by %s near ends at %s and far begins at %s", s.From,
			ns(s.Gap.Below), ns(s.Gap.Above)))
	default:
		list = append(list, fmt.Sprintf("the gap between the probes is from %s to %s, %d lie in it", ns(s.Gap.Below),
			ns(s.Gap.Above), s.Between))
	}
	return append(list, fmt.Sprintf("%d samples dropped: the probes before and after them do not say the same",
		s.Dropped))
}

// both writes something for each placement, one below the other.
func (r *Report) both(of func(p placement.Placement) string) string {
	text := ""
	for _, p := range placement.Both {
		name := map[placement.Placement]string{placement.Near: "Near", placement.Far: "Far"}[p]
		if r.Placements.Of(p).Samples == 0 {
			text += fmt.Sprintf("*%s*: %s.\n\n", name, notSeen)
			continue
		}
		text += fmt.Sprintf("*%s*:\n\n%s\n", name, of(p))
	}
	return text
}

// samples tells how many samples the figures of some cells are of.
func samples(cells []*Cell, p placement.Placement) string {
	var n []int
	for _, c := range cells {
		if f := c.In(p); f != nil {
			n = append(n, f.Samples)
		}
	}
	switch {
	case len(n) == 0:
		return ""
	case slices.Min(n) == slices.Max(n):
		return fmt.Sprintf("Samples of each figure: %d.\n", n[0])
	}
	return fmt.Sprintf("Samples of each figure: %d to %d.\n", slices.Min(n), slices.Max(n))
}
