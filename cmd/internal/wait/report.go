package wait

import (
	"slices"

	"github.com/shmring/shmring/cmd/internal/quantile"
	"github.com/shmring/shmring/cmd/internal/roundtrip"
	"github.com/shmring/shmring/cmd/internal/workers"
)

// report is what -json prints.
type report struct {
	workers.Outcome
	Rounds    int       `json:"rounds"`
	IdleAfter float64   `json:"idle_after_s"` // how long a consumer that sleeps had waited before
	IdleFor   float64   `json:"idle_for_s"`
	Baseline  bare      `json:"baseline"`
	Pacing    float64   `json:"pacing_cpu_s_per_million"`
	Ways      []found   `json:"ways"`
	Skipped   []skipped `json:"skipped"`
}

type bare struct {
	By    string `json:"by"`
	First times  `json:"first"`
}

type skipped struct {
	Doorbell string `json:"doorbell"`
	Reason   string `json:"reason"`
}

// found is what one way costs and gives.
type found struct {
	Doorbell   string  `json:"doorbell"`
	Policy     string  `json:"policy"`
	RoundTrip  times   `json:"round_trip"`
	Free       times   `json:"round_trip_not_pinned"`
	First      times   `json:"first"` // after a silence, one way
	ToBaseline float64 `json:"first_p50_to_baseline"`
	IdleCPU    float64 `json:"idle_cpu_percent"`
	IdleSleeps float64 `json:"idle_sleeps_per_s"`
	SendCPU    float64 `json:"producer_cpu_s_per_million"` // at the low rate, with its pacing
	ReceiveCPU float64 `json:"consumer_cpu_s_per_million"`
}

// times are percentiles in nanoseconds. One for which there are too few samples is 0.
type times struct {
	Count int64 `json:"count"`
	P50   int64 `json:"p50_ns"`
	P90   int64 `json:"p90_ns,omitempty"`
	P99   int64 `json:"p99_ns,omitempty"`
}

// As many samples a percentile needs: one that is above it.
const (
	enoughP90 = 10
	enoughP99 = 100
)

// sum puts what has been measured so far into the report.
func (m *measurement) sum() {
	m.Baseline.First = percentiles(m.bare)
	m.Pacing = quantile.Median(m.pacing)
	m.Ways = m.Ways[:0]
	for _, t := range m.samples {
		f := found{
			Doorbell: t.doorbell.Word, Policy: t.policy.Word,
			RoundTrip: overRounds(t.roundTrips), Free: overRounds(t.free),
			First: percentiles(t.firsts), ToBaseline: ratio(t.firsts, m.bare),
			SendCPU: quantile.Median(t.sends), ReceiveCPU: quantile.Median(t.receives),
		}
		if t.idle != nil && t.idle.Took > 0 {
			f.IdleCPU = 100 * t.idle.CPU.Seconds() / t.idle.Took.Seconds()
			f.IdleSleeps = float64(t.idle.Sleeps) / t.idle.Took.Seconds()
		}
		m.Ways = append(m.Ways, f)
	}
}

// percentiles is of all rounds' samples together.
func percentiles(rounds [][]int64) times {
	all := slices.Sorted(slices.Values(slices.Concat(rounds...)))
	t := times{Count: int64(len(all)), P50: quantile.Of(all, 50)}
	if len(all) >= enoughP90 {
		t.P90 = quantile.Of(all, 90)
	}
	if len(all) >= enoughP99 {
		t.P99 = quantile.Of(all, 99)
	}
	return t
}

// overRounds has the medians of the rounds' percentiles.
func overRounds(rounds []*roundtrip.Times) times {
	var t times
	var p50, p99 []int64
	for _, r := range rounds {
		t.Count += r.Count
		p50 = append(p50, r.P50)
		if r.Count >= enoughP99 {
			p99 = append(p99, r.P99)
		}
	}
	t.P50 = quantile.Median(p50)
	if 2*len(p99) > len(rounds) {
		t.P99 = quantile.Median(p99)
	}
	return t
}

// ratio is the median of the ratios of the rounds' medians; 0 if there are none.
func ratio(of, to [][]int64) float64 {
	var each []float64
	for i := range min(len(of), len(to)) {
		if to := quantile.Median(to[i]); to > 0 {
			each = append(each, float64(quantile.Median(of[i]))/float64(to))
		}
	}
	return quantile.Median(each)
}
