package report

import (
	"fmt"
	"math"
	"slices"

	"github.com/HdrHistogram/hdrhistogram-go"

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

// Add takes the results of one round in: of the receiver, then of the senders. The error
// tells that the time was too short to measure anything.
func (c *Cell) Add(round int, results []work.Result) error {
	out := Round{Round: round}
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
	switch {
	case len(recv.Numbers) > 0:
		out.Value, sent = recv.Numbers[0], 1
	case recv.WindowMessages > 0:
		out.Value = float64(recv.WindowNs) / float64(recv.WindowMessages)
		out.Bytes = float64(recv.WindowBytes) / float64(recv.WindowMessages)
	default:
		out.Value = float64(h.ValueAtQuantile(50)) / pico
	}
	at := func(q float64) float64 { return float64(h.ValueAtQuantile(q)) / pico }
	if len(recv.Numbers) == 0 && out.Value <= 0 {
		return fmt.Errorf("%v: nothing was measured in round %d: %d messages are too few, -scale makes it longer", c.Key(),
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

// Finish computes what is over all rounds.
func (c *Cell) Finish(inGo bool) {
	if len(c.Rounds) == 0 {
		return
	}
	all := func(f func(Round) float64) []float64 {
		var s []float64
		for _, r := range c.Rounds {
			s = append(s, f(r))
		}
		slices.Sort(s)
		return s
	}
	values := all(func(r Round) float64 { return r.Value })
	c.Q1, c.Median, c.Q3 = quantile(values, 0.25), quantile(values, 0.5), quantile(values, 0.75)
	// Medians, so that rounds count alike: a fast one has more messages than a slow one.
	c.P50 = median(all(func(r Round) float64 { return r.P50 }))
	c.P90 = median(all(func(r Round) float64 { return r.P90 }))
	c.P99 = median(all(func(r Round) float64 { return r.P99 }))
	c.P999 = median(all(func(r Round) float64 { return r.P999 }))
	c.Max = slices.Max(all(func(r Round) float64 { return r.Max }))
	if bytes := median(all(func(r Round) float64 { return r.Bytes })); bytes > 0 {
		c.MsgsPerS = 1e9 / c.Median
		c.BytesPerS = c.MsgsPerS * bytes
	}
	c.CPU = median(all(func(r Round) float64 { return r.CPU }))
	c.Switches = median(all(func(r Round) float64 { return r.Switches }))
	c.Shares = median(all(func(r Round) float64 { return r.Shares }))
	if inGo {
		allocs := median(all(func(r Round) float64 { return r.Allocs }))
		c.Allocs = &allocs
	}
}

// ratios of two cells within the rounds that both have.
func ratios(a, b *Cell) []float64 {
	by := map[int]float64{}
	for _, r := range b.Rounds {
		by[r.Round] = r.Value
	}
	var list []float64
	for _, r := range a.Rounds {
		if v, ok := by[r.Round]; ok && v > 0 {
			list = append(list, r.Value/v)
		}
	}
	return list
}
