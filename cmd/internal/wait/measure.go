package wait

import (
	"context"
	"time"

	"github.com/shmring/shmring/cmd/internal/crew"
	"github.com/shmring/shmring/cmd/internal/trip"
)

// tally is what was measured of one way. Slices have an element for each round.
type tally struct {
	way
	trips    []*trip.Times
	firsts   [][]int64
	sends    []float64 // µs of processor time a message at the low rate
	receives []float64
	idle     *result
}

// as is the job in one role.
func (j job) as(role string, cpu int) *job {
	j.Role, j.CPU = role, cpu
	return &j
}

// base is what all jobs of a measurement that takes so long have in common.
func (t *tally) base(c *crew.Crew, long time.Duration) job {
	return job{
		Job: crew.Job{Timeout: long + crew.Slack}, Dir: c.Dir, Ring: t.String(), Back: t.String() + "-back",
		Wait: t.doorbell.Value, Policy: t.policy.Value,
	}
}

func (t *tally) measureTrips(ctx context.Context, c *crew.Crew, m *measurement) error {
	base := t.base(c, m.trip)
	base.For = m.trip
	results, err := crew.Run[result](ctx, c, base.as("echo", c.CPUs[1]), base.as("ping", c.CPUs[0]))
	if err == nil {
		t.trips = append(t.trips, results[1].Trips)
	}
	return err
}

// paced runs a consumer and a producer that sends messages so far apart.
func (t *tally) paced(ctx context.Context, c *crew.Crew, gap time.Duration, count int) (heard, told *result, err error) {
	base := t.base(c, gap*time.Duration(count))
	base.Gap, base.Count = gap, count
	results, err := crew.Run[result](ctx, c, base.as("hear", c.CPUs[1]), base.as("tell", c.CPUs[0]))
	return results[0], results[1], err
}

func (t *tally) measureFirst(ctx context.Context, c *crew.Crew, m *measurement) error {
	heard, _, err := t.paced(ctx, c, silence, m.plan.firsts)
	if err == nil {
		t.firsts = append(t.firsts, heard.Samples)
	}
	return err
}

func (t *tally) measureLow(ctx context.Context, c *crew.Crew, m *measurement) error {
	heard, told, err := t.paced(ctx, c, time.Second/lowRate, m.lows)
	if err == nil {
		t.sends = append(t.sends, each(told, m.lows))
		t.receives = append(t.receives, each(heard, m.lows))
	}
	return err
}

func each(r *result, messages int) float64 {
	return float64(r.CPU.Nanoseconds()) / 1e3 / float64(messages)
}

func measureBare(ctx context.Context, c *crew.Crew, m *measurement) error {
	samples, err := m.yardstick.run(ctx, c, silence, m.firsts)
	m.bare = append(m.bare, samples)
	return err
}

func measurePacing(ctx context.Context, c *crew.Crew, m *measurement) error {
	gap := time.Second / lowRate
	j := job{Job: crew.Job{Timeout: gap*time.Duration(m.lows) + crew.Slack}, Gap: gap, Count: m.lows}
	results, err := crew.Run[result](ctx, c, j.as("pace", c.CPUs[0]))
	m.pacing = append(m.pacing, each(results[0], m.lows))
	return err
}

// measureIdle blocks the consumers of some ways side by side.
func (m *measurement) measureIdle(ctx context.Context, c *crew.Crew, settle, long time.Duration, tallies ...*tally) error {
	var jobs []*job
	for _, t := range tallies {
		base := t.base(c, settle+long)
		base.Settle, base.For = settle, settle+long
		jobs = append(jobs, base.as("idle", c.CPUs[1]), base.as("hold", c.CPUs[0]))
	}
	results, err := crew.Run[result](ctx, c, jobs...)
	for i, t := range tallies {
		t.idle = results[2*i]
	}
	return err
}
