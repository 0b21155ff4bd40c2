package suite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/shmring/shmring/bench/internal/machine"
	"github.com/shmring/shmring/bench/internal/placement"
	"github.com/shmring/shmring/bench/internal/report"
	"github.com/shmring/shmring/bench/internal/rival"
	"github.com/shmring/shmring/bench/internal/runner"
	"github.com/shmring/shmring/bench/internal/work"
)

// Progress is told how far a run is.
type Progress interface {
	Begin(steps int)
	Step(what string)
}

// Budgets of time: a run begins no round that would end later.
const (
	quickBudget = 300 * time.Second
	fullBudget  = 26 * time.Minute
	mostRounds  = 40
)

// List prints the names of what would be measured.
func List(s Settings) []string {
	m := machine.Describe()
	var names []string
	for _, j := range plan(s, &m) {
		names = append(names, j.cell.Key().String())
	}
	return names
}

// Run measures.
func Run(ctx context.Context, s Settings, executable string, show Progress) (r *report.Report, err error) {
	begin := time.Now()
	m := machine.Describe()
	r = &report.Report{
		Version: report.Version, Begun: begin.UTC().Format(time.RFC3339), Machine: m,
		Settings: report.Settings{Quick: s.Quick, Pinned: s.Pin, Seed: s.Seed, Commit: machine.Commit()},
	}
	if s.Run != nil {
		r.Settings.Run = s.Run.String()
	}
	c, err := runner.New(executable, s.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	jobs := plan(s, &m)
	if len(jobs) == 0 {
		return nil, fmt.Errorf("nothing to measure: -list shows what -run can choose from")
	}
	jobs, err = build(ctx, c, jobs, r, show)
	if err != nil {
		return nil, err
	}
	for _, j := range jobs {
		r.Cells = append(r.Cells, j.cell)
	}
	for _, t := range s.Peers {
		r.Peers = append(r.Peers, report.PeerInfo{Name: t.Name, About: t.About, Where: t.Where})
	}
	for _, b := range s.BadPeers {
		r.Absent = append(r.Absent, report.Absent{Transport: b.Name, Reason: b.Reason})
	}
	probe, err := placement.New(m.Pair())
	if err != nil {
		return nil, err
	}
	defer probe.Close()
	steal, all := machine.Steal()
	run := &measuring{c: c, s: s, jobs: jobs, r: r, show: show, begin: begin, probe: probe}
	if err := run.rounds(ctx); err != nil {
		return nil, err
	}
	r.Sort(run.probes, s.Known, s.KnownFrom)
	steal2, all2 := machine.Steal()
	r.Steal = float64(steal2-steal) / float64(max(1, all2-all))
	if !s.Quick {
		if err := countSyscalls(ctx, c, jobs, r, show); err != nil {
			return nil, err
		}
	}
	for _, j := range jobs {
		j.cell.Finish(j.transport.Program == nil && j.transport.Group != runner.Peer)
	}
	r.Judge()
	r.Seconds = time.Since(begin).Seconds()
	return r, nil
}

// build makes the programs of the rivals, and leaves out what cannot be had.
func build(ctx context.Context, c *runner.Runner, jobs []*job, r *report.Report, show Progress) ([]*job, error) {
	wanted := map[*runner.Transport]bool{}
	for _, j := range jobs {
		wanted[j.transport] = true
	}
	show.Begin(len(wanted))
	gone := map[*runner.Transport]error{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	limit := make(chan struct{}, 2)
	for t := range wanted {
		wg.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			err := c.Build(ctx, t)
			mu.Lock()
			defer mu.Unlock()
			show.Step("compiling " + t.Name)
			if err != nil {
				gone[t] = err
			}
		})
	}
	wg.Wait()
	for _, t := range runner.Transports {
		err := gone[t]
		if t.Absent != "" {
			err = &rival.AbsentError{Reason: t.Absent}
		}
		var absent *rival.AbsentError
		switch {
		case errors.As(err, &absent):
			r.Absent = append(r.Absent, report.Absent{Transport: t.Name, Reason: absent.Reason, Package: absent.Package})
		case err != nil:
			return nil, err
		}
	}
	var left []*job
	for _, j := range jobs {
		if gone[j.transport] == nil {
			left = append(left, j)
		}
	}
	return left, nil
}

// measuring is a run while it measures.
type measuring struct {
	c      *runner.Runner
	s      Settings
	jobs   []*job
	r      *report.Report
	show   Progress
	begin  time.Time
	probe  *placement.Probe
	probes []float64 // in the order in which they were taken
}

// rounds measures every job once per round, each time in another order, so that what
// the machine does meanwhile hits all alike. Between two samples there is a probe, which is
// behind the one and before the other.
func (m *measuring) rounds(ctx context.Context) error {
	dice := rand.New(rand.NewPCG(m.s.Seed, 1))
	budget, most := fullBudget, mostRounds
	if m.s.Quick {
		budget = quickBudget
	}
	if m.s.Rounds > 0 {
		budget, most = 1<<62, m.s.Rounds
	}
	// A round nobody looks at: caches of files, page tables, the clock of the processor.
	for _, j := range m.jobs[:min(len(m.jobs), 8)] {
		_, _ = m.c.Run(ctx, j.transport, j.job, j.cpus)
	}
	m.take()
	for round := 1; round <= most; round++ {
		m.show.Begin(len(m.jobs))
		roundBegan := time.Now()
		for _, i := range dice.Perm(len(m.jobs)) {
			j := m.jobs[i]
			m.show.Step(fmt.Sprintf("round %d: %v", round, j.cell.Key()))
			if err := m.sample(ctx, j, round); err != nil {
				return err
			}
		}
		m.r.Settings.Rounds = round
		if time.Since(m.begin)+time.Since(roundBegan) > budget {
			break
		}
	}
	return nil
}

// take takes a probe.
func (m *measuring) take() float64 {
	v := m.probe.Measure()
	m.probes = append(m.probes, v)
	return v
}

// givenUp is how often a job may fail.
const givenUp = 2

// sample measures a job once, between two probes. What fails is noted in its cell; the error
// is that of ctx.
func (m *measuring) sample(ctx context.Context, j *job, round int) error {
	if j.fails >= givenUp {
		return nil
	}
	var err error
	// Where others take the processors, one side may have got none until the other was through.
	for try, longer := 0, j.job; try < 3; try++ {
		before := m.probes[len(m.probes)-1]
		var results []work.Result
		results, err = m.c.Run(ctx, j.transport, longer, j.cpus)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		after := m.take()
		if err == nil {
			err = j.cell.Add(round, [2]float64{before, after}, results)
		}
		if !errors.Is(err, report.ErrTooShort) {
			break
		}
		longer.For *= 2
	}
	if err == nil {
		return nil
	}
	j.fails++
	j.cell.Error = err.Error()
	var hang *runner.HangError
	if j.transport.Group == runner.Peer && errors.As(err, &hang) {
		m.giveUp(j.transport, err)
	}
	return nil
}

// giveUp leaves a peer out of the rest of the run: each of its samples would cost seconds in
// which nobody else is measured.
func (m *measuring) giveUp(t *runner.Transport, why error) {
	m.r.Absent = append(m.r.Absent, report.Absent{Transport: t.Name,
		Reason: "left out of the rest of the run: " + why.Error()})
	for _, j := range m.jobs {
		if j.transport == t {
			j.fails = givenUp
		}
	}
}
