package suite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/shmring/shmring/bench/internal/machine"
	"github.com/shmring/shmring/bench/internal/report"
	"github.com/shmring/shmring/bench/internal/rival"
	"github.com/shmring/shmring/bench/internal/runner"
)

// Progress is told how far a run is.
type Progress interface {
	Begin(steps int)
	Step(what string)
}

// Budgets of time: a run begins no round that would end later.
const (
	quickBudget = 200 * time.Second
	fullBudget  = 26 * time.Minute
	mostRounds  = 15
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
	steal, all := machine.Steal()
	if err := rounds(ctx, c, s, jobs, r, show, begin); err != nil {
		return nil, err
	}
	steal2, all2 := machine.Steal()
	r.Steal = float64(steal2-steal) / float64(max(1, all2-all))
	if !s.Quick {
		if err := countSyscalls(ctx, c, jobs, r, show); err != nil {
			return nil, err
		}
	}
	for _, j := range jobs {
		j.cell.Finish(j.transport.Program == nil)
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

// rounds measures every job once per round, each time in another order, so that what
// the machine does meanwhile hits all alike.
func rounds(ctx context.Context, c *runner.Runner, s Settings, jobs []*job, r *report.Report, show Progress,
	begin time.Time) error {
	dice := rand.New(rand.NewPCG(s.Seed, 1))
	budget, most := fullBudget, mostRounds
	if s.Quick {
		budget = quickBudget
	}
	if s.Rounds > 0 {
		budget, most = 1<<62, s.Rounds
	}
	failed := map[*job]int{}
	// A round nobody looks at: caches of files, page tables, the clock of the processor.
	for _, j := range jobs[:min(len(jobs), 8)] {
		_, _ = c.Run(ctx, j.transport, j.job, j.cpus)
	}
	for round := 1; round <= most; round++ {
		show.Begin(len(jobs))
		roundBegan := time.Now()
		for _, i := range dice.Perm(len(jobs)) {
			j := jobs[i]
			show.Step(fmt.Sprintf("round %d: %v", round, j.cell.Key()))
			if failed[j] > 1 {
				continue
			}
			results, err := c.Run(ctx, j.transport, j.job, j.cpus)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err == nil {
				err = j.cell.Add(round, results)
			}
			if err != nil {
				failed[j]++
				j.cell.Error = err.Error()
			}
		}
		r.Settings.Rounds = round
		if time.Since(begin)+time.Since(roundBegan) > budget {
			break
		}
	}
	return nil
}
