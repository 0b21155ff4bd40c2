package report

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/shmring/shmring/bench/internal/placement"
	"github.com/shmring/shmring/bench/internal/work"
)

// quantile of sorted values, between neighbours where it falls there.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	return quantile(s, 0.5)
}

// pico is the unit of the histograms: rates are fractions of a nanosecond.
const pico = 1000

// histogram holds times in picoseconds to three digits.
func histogram(times map[int64]int64) *hdrhistogram.Histogram {
	h := hdrhistogram.New(1, 100e12, 3)
	for v, n := range times {
		h.RecordValues(min(max(v, 1), 100e12), n)
	}
	return h
}

// addTimes adds those of a worker.
func addTimes(into map[int64]int64, r *work.Result) {
	per := int64(max(1, r.Per))
	for _, t := range r.Times {
		into[t[0]*pico/per] += t[1]
	}
}

// meanTrip is the mean per trip of the block in the middle: blocks in which a process was
// interrupted do not touch it, and the clock's grain is divided by the block's trips.
func meanTrip(results []work.Result) (float64, bool) {
	times := map[int64]int64{}
	for _, r := range results {
		for _, t := range r.BlockTimes {
			times[t[0]*pico/int64(max(1, r.Block))] += t[1]
		}
	}
	if len(times) == 0 {
		return 0, false
	}
	return float64(histogram(times).ValueAtQuantile(50)) / pico, true
}

// ErrTooShort: a sample was over before anything of it was measured.
var ErrTooShort = errors.New("nothing was measured")

// Add takes the results of one round in: of the receiver, then of the senders; probes are those
// before and after. The error tells that the time was too short to measure anything.
func (c *Cell) Add(round int, probes [2]float64, results []work.Result) error {
	out := Round{Round: round, Probe: probes}
	times := map[int64]int64{}
	var cpu, switches int64
	var mallocs, sent uint64
	for i, r := range results {
		addTimes(times, &r)
		cpu += r.CPUNs
		switches += r.Switches
		mallocs += r.Mallocs
		if i > 0 {
			sent += r.Messages
		}
	}
	recv := &results[0]
	h := histogram(times)
	trip, inBlocks := meanTrip(results)
	switch {
	case len(recv.Numbers) > 0:
		out.Value, sent = recv.Numbers[0], 1
	case inBlocks:
		out.Value = trip
	case recv.WindowMessages > 0:
		out.Value = float64(recv.WindowNs) / float64(recv.WindowMessages)
		out.Bytes = float64(recv.WindowBytes) / float64(recv.WindowMessages)
	case len(results) > 1 && results[1].WindowMessages > 0: // trips of a peer that has no blocks
		out.Value = float64(results[1].WindowNs) / float64(results[1].WindowMessages)
	default:
		out.Value = float64(h.ValueAtQuantile(50)) / pico
	}
	at := func(q float64) float64 { return float64(h.ValueAtQuantile(q)) / pico }
	if len(recv.Numbers) == 0 && out.Value <= 0 {
		return fmt.Errorf("%v: %w in round %d: %d messages are too few, -scale makes it longer", c.Key(), ErrTooShort,
			round, sent)
	}
	out.P50, out.P90, out.P99, out.P999, out.Max = at(50), at(90), at(99), at(99.9), at(100)
	if len(recv.Shares) > 1 {
		out.Shares = float64(slices.Max(recv.Shares)) / float64(max(1, slices.Min(recv.Shares)))
	}
	out.Messages = sent
	n := float64(max(1, sent))
	out.CPU = float64(cpu) / 1e9 / n * 1e6
	out.Switches = float64(switches) / n
	out.Allocs = float64(mallocs) / n
	c.Rounds = append(c.Rounds, out)
	return nil
}

// Finish computes what is over all rounds of each placement; Sort comes before it.
func (c *Cell) Finish(inGo bool) {
	of := map[placement.Placement][]Round{}
	for _, x := range c.Rounds {
		of[x.Placement] = append(of[x.Placement], x)
	}
	if c.Anywhere {
		c.All = figures(c.Rounds, inGo)
		return
	}
	c.Near, c.Far = figures(of[placement.Near], inGo), figures(of[placement.Far], inGo)
	c.Dropped = len(of[placement.Neither])
}

// figures are those of some rounds; nil for none.
func figures(rounds []Round, inGo bool) *Figures {
	if len(rounds) == 0 {
		return nil
	}
	all := func(f func(Round) float64) []float64 {
		var s []float64
		for _, r := range rounds {
			s = append(s, f(r))
		}
		slices.Sort(s)
		return s
	}
	f := &Figures{Samples: len(rounds)}
	values := all(func(r Round) float64 { return r.Value })
	f.Q1, f.Median, f.Q3 = quantile(values, 0.25), quantile(values, 0.5), quantile(values, 0.75)
	// Medians, so that rounds count alike: a fast one has more messages than a slow one.
	f.P50 = median(all(func(r Round) float64 { return r.P50 }))
	f.P90 = median(all(func(r Round) float64 { return r.P90 }))
	f.P99 = median(all(func(r Round) float64 { return r.P99 }))
	f.P999 = median(all(func(r Round) float64 { return r.P999 }))
	f.Max = slices.Max(all(func(r Round) float64 { return r.Max }))
	if bytes := median(all(func(r Round) float64 { return r.Bytes })); bytes > 0 {
		f.MsgsPerS = 1e9 / f.Median
		f.BytesPerS = f.MsgsPerS * bytes
	}
	f.CPU = median(all(func(r Round) float64 { return r.CPU }))
	f.Switches = median(all(func(r Round) float64 { return r.Switches }))
	f.Shares = median(all(func(r Round) float64 { return r.Shares }))
	if inGo {
		allocs := median(all(func(r Round) float64 { return r.Allocs }))
		f.Allocs = &allocs
	}
	return f
}

// fewPairs is how many rounds have to have both cells in a placement, for their ratios to count:
// a placement that is seldom seen is seldom that of two samples of one round.
const fewPairs = 3

// ratio is how many times as long a takes as b in a placement: the median of the ratios within
// rounds, or, where fewer than fewPairs rounds have both, the ratio of the medians; pairs are
// the former, sorted. It is not a number if one has no figures there.
func ratio(a, b *Cell, p placement.Placement) (v float64, pairs []float64) {
	if pairs = ratios(a, b, p); len(pairs) >= fewPairs {
		slices.Sort(pairs)
		return quantile(pairs, 0.5), pairs
	}
	if a.In(p) == nil || b.In(p) == nil || b.In(p).Median <= 0 {
		return math.NaN(), nil
	}
	return a.In(p).Median / b.In(p).Median, nil
}

// ratios of two cells within the rounds that both have in one placement.
func ratios(a, b *Cell, p placement.Placement) []float64 {
	by := map[int]float64{}
	for _, r := range b.Rounds {
		if r.Placement == p {
			by[r.Round] = r.Value
		}
	}
	var list []float64
	for _, r := range a.Rounds {
		if v, ok := by[r.Round]; ok && v > 0 && r.Placement == p {
			list = append(list, r.Value/v)
		}
	}
	return list
}
