package wait

import (
	"context"
	"time"

	"github.com/shmring/shmring/cmd/internal/workers"
)

const (
	silence = 20 * time.Millisecond // before a first message
	lowRate = 1000                  // messages a second
)

// plan says how long each part takes, and how often.
type plan struct {
	rounds    int
	roundTrip time.Duration
	firsts    int // first messages in a round
	lows      int // messages of the low rate in a round

	lead, idle time.Duration // of those that sleep, all at the same time
	busyLead   time.Duration // of those that do not, one after the other
	busy       time.Duration
}

// starting is about what it takes to start the processes of a step and open the rings.
const starting = 40 * time.Millisecond

// newPlan fills about so much time.
func newPlan(long time.Duration, all []way) plan {
	p := plan{
		roundTrip: 60 * time.Millisecond, firsts: 30, lows: 300,
		lead: 2 * time.Second, idle: 5 * time.Second, busyLead: 50 * time.Millisecond, busy: 300 * time.Millisecond,
	}
	if long < 30*time.Second {
		p.roundTrip, p.firsts, p.lows = 25*time.Millisecond, 8, 100
		p.lead, p.idle, p.busy = long/20, long/8, 100*time.Millisecond
	}
	left := long - p.lead - p.idle - starting
	for _, w := range all {
		if !w.sleeps() {
			left -= p.busyLead + p.busy + starting
		}
	}
	firsts := time.Duration(p.firsts)*silence + starting
	lows := time.Duration(p.lows)*time.Second/lowRate + starting
	each := 2*(p.roundTrip+starting) + firsts + lows
	p.rounds = max(1, int(left/(time.Duration(len(all))*each+firsts+lows)))
	return p
}

// plan finds out what can be measured and makes the steps that do it.
func (r *report) plan(ctx context.Context, c *workers.Setup, long time.Duration) ([]workers.Step, error) {
	all, not, err := ways(ctx, c.Dir)
	if err != nil {
		return nil, err
	}
	m := &measurement{report: r, plan: newPlan(long, all), baseline: newBaseline(ctx)}
	for _, w := range all {
		m.samples = append(m.samples, &sampled{way: w})
	}
	r.Skipped, r.Rounds, r.Baseline.By = not, m.rounds, m.baseline.by
	r.IdleAfter, r.IdleFor = m.lead.Seconds(), m.idle.Seconds()
	return m.steps(), nil
}

// measurement is one run of the command.
type measurement struct {
	*report
	plan
	baseline *baseline
	samples  []*sampled
	bare     [][]int64 // the baseline's samples, by round
	pacing   []float64 // µs of processor time a message, by round
}

func (m *measurement) steps() []workers.Step {
	var steps []workers.Step
	for round := range m.rounds {
		// Each round begins elsewhere, so that none always comes right behind the same.
		shift := round % len(m.samples)
		ways := append(append([]*sampled(nil), m.samples[shift:]...), m.samples[:shift]...)
		for _, t := range ways {
			steps = append(steps, m.step("round trips "+t.String(), t.measureRoundTrips),
				m.step("round trips, not pinned, "+t.String(), t.measureFree))
		}
		for i, t := range ways {
			if i == len(ways)/2 {
				steps = append(steps, m.step("baseline", measureBare))
			}
			steps = append(steps, m.step("after silence "+t.String(), t.measureFirst))
		}
		steps = append(steps, m.step("pacing", measurePacing))
		for _, t := range ways {
			steps = append(steps, m.step("low rate "+t.String(), t.measureLow))
		}
	}
	var sleeping []*sampled
	for _, t := range m.samples {
		if t.sleeps() {
			sleeping = append(sleeping, t)
			continue
		}
		steps = append(
			steps,
			m.step("idle "+t.String(), func(ctx context.Context, c *workers.Setup, m *measurement) error {
				return m.measureIdle(ctx, c, m.busyLead, m.busy, t)
			}),
		)
	}
	return append(steps, m.step("idle", func(ctx context.Context, c *workers.Setup, m *measurement) error {
		return m.measureIdle(ctx, c, m.lead, m.idle, sleeping...)
	}))
}

// step keeps the report up to date.
func (m *measurement) step(name string, f func(context.Context, *workers.Setup, *measurement) error) workers.Step {
	return workers.Step{Name: name, Run: func(ctx context.Context, c *workers.Setup) error {
		if err := f(ctx, c, m); err != nil {
			return err
		}
		m.sum()
		return nil
	}}
}
