package bench

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/host"
	"github.com/shmring/shmring/cmd/internal/quantile"
	"github.com/shmring/shmring/cmd/internal/roundtrip"
	"github.com/shmring/shmring/cmd/internal/workers"
)

// What is measured over.
const (
	overRing   = "ring"
	overSocket = "socket"
)

// sampled is what was measured over one of them by messages of one size. Slices have an
// element for each round.
type sampled struct {
	over      string
	size      int
	producers int // of the stream; 0: none is measured
	stream    []float64
	measured  uint64
	trips     []*roundtrip.Times
}

// measurement is one run of the command.
type measurement struct {
	*report
	*config
	dir     string
	rounds  int
	each    time.Duration // one stream, or round trips
	samples []*sampled
	begin   host.Times
}

const (
	// starting is about what it takes to start the processes of a step and open the rings.
	starting = 40 * time.Millisecond
	// wanted is how long a step measures if there is time for many rounds.
	wanted = 100 * time.Millisecond
	// least is how long a step measures if there is not.
	least = 10 * time.Millisecond
	// fewestRounds and mostRounds: less has no middle, more tells nothing new.
	fewestRounds, mostRounds = 3, 15
)

func newMeasurement(c *config, s *workers.Setup, r *report) *measurement {
	m := &measurement{report: r, config: c, dir: s.Dir}
	for _, size := range c.sizes {
		m.samples = append(m.samples, &sampled{over: overRing, size: size, producers: c.producers})
		if !c.noSocket && size > 0 { // nothing comes of writing nothing into a socket
			one := &sampled{over: overSocket, size: size}
			if c.producers == 1 {
				one.producers = 1
			}
			m.samples = append(m.samples, one)
		}
	}
	steps := 0
	for _, t := range m.samples {
		steps += 1 + min(1, t.producers)
	}
	m.rounds = min(max(int(c.long/(time.Duration(steps)*(wanted+starting))), fewestRounds), mostRounds)
	m.each = max(c.long/time.Duration(steps*m.rounds)-starting, least)
	r.describe(c, m.rounds)
	m.begin = host.Spent()
	return m
}

func (m *measurement) steps() []workers.Step {
	var steps []workers.Step
	add := func(what string, round int, t *sampled, f func(context.Context, *workers.Setup, *sampled) error) {
		name := fmt.Sprintf("%s of %d bytes over a %s, round %d", what, t.size, t.over, round+1)
		steps = append(steps, workers.Step{Name: name, Run: func(ctx context.Context, c *workers.Setup) error {
			if err := f(ctx, c, t); err != nil {
				return err
			}
			m.sum()
			return nil
		}})
	}
	for round := range m.rounds {
		// Each round begins elsewhere, so that none always comes right behind the same.
		for i := range m.samples {
			t := m.samples[(i+round)%len(m.samples)]
			if t.producers > 0 {
				add("stream", round, t, m.measureStream)
			}
			add("round trips", round, t, m.measureTrips)
		}
	}
	return steps
}

// as is the job in one role.
func (j job) as(role string, cpu int) *job {
	j.Role, j.CPU = role, cpu
	return &j
}

// cpu is where the producer of a number stays, or, behind all, the consumer; −1: anywhere.
func (m *measurement) cpu(i int) int {
	if m.pins == nil {
		return -1
	}
	return m.pins[i]
}

// base is what all jobs of a step have in common.
func (m *measurement) base(t *sampled) job {
	return job{Job: workers.Job{Timeout: m.each + workers.Slack}, Ring: ringOf(m.ring.Options, m.dir), Name: "there",
		Back: "back", Size: t.size, Producers: t.producers, For: m.each}
}

func (m *measurement) measureStream(ctx context.Context, c *workers.Setup, t *sampled) error {
	base := m.base(t)
	jobs := []*job{base.as(receiving, m.cpu(m.producers))}
	for i := range t.producers {
		jobs = append(jobs, base.as(sending, m.cpu(i)))
	}
	results, err := m.run(ctx, c, t, jobs)
	if err != nil {
		return err
	}
	var sent uint64
	for _, s := range results[1:] {
		sent += s.Sent.Messages
	}
	got := results[0].Rate
	if got.Received != sent {
		return fmt.Errorf("%w: %d messages sent, %d received", cli.ErrVerify, sent, got.Received)
	}
	t.stream = append(t.stream, got.NsPerMessage)
	t.measured += got.Measured
	return nil
}

func (m *measurement) measureTrips(ctx context.Context, c *workers.Setup, t *sampled) error {
	base := m.base(t)
	results, err := m.run(ctx, c, t,
		[]*job{base.as(echoing, m.cpu(m.producers)), base.as(pinging, m.cpu(0))})
	if err == nil {
		t.trips = append(t.trips, results[1].Trips)
	}
	return err
}

// run runs the jobs of a step, the consumer's first, over what is measured.
func (m *measurement) run(ctx context.Context, c *workers.Setup, t *sampled, jobs []*job) ([]*result, error) {
	if t.over == overSocket {
		ends, err := socketPair()
		if err != nil {
			return nil, err
		}
		for i, j := range jobs {
			defer ends[i].Close()
			j.Role, j.Files = bySocket+j.Role, []*os.File{ends[i]}
		}
	}
	results, err := workers.Run[result](ctx, c, jobs...)
	if err != nil {
		return nil, err
	}
	m.RanOn.Consumer.Add(results[0].Ran)
	for _, r := range results[1:] {
		m.RanOn.Producers.Add(r.Ran)
	}
	return results, nil
}

// sum puts what has been measured so far into the report.
func (m *measurement) sum() {
	m.Streams, m.Trips = m.Streams[:0], m.Trips[:0]
	beside := map[int]*sampled{}
	for _, t := range m.samples {
		if t.over == overSocket {
			beside[t.size] = t
		}
	}
	for _, t := range m.samples {
		var streams, trips []float64 // those of the socket, to compare with
		if s := beside[t.size]; s != nil && t.over == overRing {
			streams, trips = s.stream, medians(s.trips)
		}
		if ns := quantile.SpreadOf(t.stream); ns.Median > 0 {
			m.Streams = append(m.Streams, rate{
				Over: t.over, Size: t.size, Producers: t.producers, NsPerMsg: ns, MsgsPerS: 1e9 / ns.Median,
				BytesPerS: 1e9 / ns.Median * float64(t.size), Messages: t.measured, Times: times(streams, t.stream),
			})
		}
		if len(t.trips) > 0 {
			m.Trips = append(m.Trips, tripsOf(t, trips))
		}
	}
	m.Machine.LoadAfter = host.Load()
	m.Machine.Others, m.Machine.Stolen = m.begin.Beside(host.Spent())
	m.Warnings = m.warnings(&m.Machine)
}
