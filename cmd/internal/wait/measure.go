package wait

import (
	"context"
	"time"

	"github.com/shmring/shmring/cmd/internal/roundtrip"
	"github.com/shmring/shmring/cmd/internal/workers"
)

// sampled is what was measured of one way. Slices have an element for each round.
type sampled struct {
	way
	roundTrips []*roundtrip.Times
	free       []*roundtrip.Times // of those that may run anywhere
	firsts     [][]int64
	sends      []float64 // µs of processor time a message at the low rate
	receives   []float64
	idle       *result
}

// as is the job in one role.
func (j job) as(role string, cpu int) *job {
	j.Role, j.CPU = role, cpu
	return &j
}

// base is what all jobs of a measurement that takes so long have in common.
func (t *sampled) base(c *workers.Setup, long time.Duration) job {
	return job{
		Job: workers.Job{Timeout: long + workers.Slack}, Dir: c.Dir, Ring: t.String(), Back: t.String() + "-back",
		Wait: t.doorbell.Value, Policy: t.policy.Value,
	}
}

func (t *sampled) measureRoundTrips(ctx context.Context, c *workers.Setup, m *measurement) error {
	var err error
	t.roundTrips, err = t.roundTripsOn(ctx, c, m, c.CPUs, t.roundTrips)
	return err
}

// measureFree is of fresh processes in each round, which the system puts where it likes.
func (t *sampled) measureFree(ctx context.Context, c *workers.Setup, m *measurement) error {
	var err error
	t.free, err = t.roundTripsOn(ctx, c, m, [2]int{-1, -1}, t.free)
	return err
}

func (t *sampled) roundTripsOn(ctx context.Context, c *workers.Setup, m *measurement, cpus [2]int,
	rounds []*roundtrip.Times) ([]*roundtrip.Times, error) {
	base := t.base(c, m.roundTrip)
	base.For = m.roundTrip
	results, err := workers.Run[result](ctx, c, base.as("echo", cpus[1]), base.as("ping", cpus[0]))
	if err == nil {
		rounds = append(rounds, results[1].RoundTrips)
	}
	return rounds, err
}

// paced runs a consumer and a producer that sends messages so far apart.
func (t *sampled) paced(ctx context.Context, c *workers.Setup, gap time.Duration,
	count int) (received, sent *result, err error) {
	base := t.base(c, gap*time.Duration(count))
	base.Gap, base.Count = gap, count
	results, err := workers.Run[result](ctx, c, base.as("receive", c.CPUs[1]), base.as("send", c.CPUs[0]))
	return results[0], results[1], err
}

func (t *sampled) measureFirst(ctx context.Context, c *workers.Setup, m *measurement) error {
	received, _, err := t.paced(ctx, c, silence, m.plan.firsts)
	if err == nil {
		t.firsts = append(t.firsts, received.Samples)
	}
	return err
}

func (t *sampled) measureLow(ctx context.Context, c *workers.Setup, m *measurement) error {
	received, sent, err := t.paced(ctx, c, time.Second/lowRate, m.lows)
	if err == nil {
		t.sends = append(t.sends, each(sent, m.lows))
		t.receives = append(t.receives, each(received, m.lows))
	}
	return err
}

func each(r *result, messages int) float64 {
	return float64(r.CPU.Nanoseconds()) / 1e3 / float64(messages)
}

func measureBare(ctx context.Context, c *workers.Setup, m *measurement) error {
	samples, err := m.baseline.run(ctx, c, silence, m.firsts)
	m.bare = append(m.bare, samples)
	return err
}

func measurePacing(ctx context.Context, c *workers.Setup, m *measurement) error {
	gap := time.Second / lowRate
	j := job{Job: workers.Job{Timeout: gap*time.Duration(m.lows) + workers.Slack}, Gap: gap, Count: m.lows}
	results, err := workers.Run[result](ctx, c, j.as("pace", c.CPUs[0]))
	m.pacing = append(m.pacing, each(results[0], m.lows))
	return err
}

// measureIdle blocks the consumers of some ways side by side.
func (m *measurement) measureIdle(ctx context.Context, c *workers.Setup, lead, long time.Duration,
	samples ...*sampled) error {
	var jobs []*job
	for _, t := range samples {
		base := t.base(c, lead+long)
		base.Lead, base.For = lead, lead+long
		jobs = append(jobs, base.as("idle", c.CPUs[1]), base.as("hold", c.CPUs[0]))
	}
	results, err := workers.Run[result](ctx, c, jobs...)
	for i, t := range samples {
		t.idle = results[2*i]
	}
	return err
}
