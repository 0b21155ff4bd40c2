package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/shmring/shmring/fuzz/internal/labs"
)

type options struct {
	n        int
	duration time.Duration
}

// modes are the experiments.
var modes = []struct {
	name    string
	summary string
	full    int // -n if it is not given
	short   int // and with -short
	run     func(l *lab, n int)
}{
	{"random", "SIGKILL after a random delay, N producers and N consumers of each kind of ring", 10000, 60, random},
	{"points",
		"death at every point after which shared state has changed: operation by state of the ring by point; N is a " +
			"percentage", 100, 100, points},
	{"step", "SIGKILL between any two instructions of one operation, N places (or all) for each kind of ring and state",
		1 << 20, 6, step},
	{"hole", "a producer dies between claim and commit, in eight situations", 2000, 60, hole},
	{"stop", "SIGSTOP and ptrace between claim and commit: nobody is dead, nothing is passed over", 1000, 24, stop},
	{"pidreuse", "the dead producer's process id goes to somebody else at once", 1000, 20, pidReuse},
	{"pidns", "producers and consumer are process 1 each, in namespaces of their own", 500, 12, namespaces},
	{"zombie", "the dead producer is not reaped, or has started a process that outlives it", 100, 10, zombie},
	{"takeover", "dead and leaving holders of roles, and several successors for each", 500, 20, takeover},
	{"fates", "producers and consumers are killed at random, N in all: each stream's end is told once, in its place",
		12000, 1000, fates},
	{"ends", "likewise, by the script: everybody makes one call after the other, and is killed between two of them",
		3000, 300, staging},
	{"broadcast", "SIGKILL after a random delay, a broadcast ring's producer and its observers", 10000, 60, broadcast},
	{"storm", "that many processes create, open, use, remove and die on three names", 50, 12, storm},
}

func program() *labs.Program {
	var opt options
	p := &labs.Program{
		Name:  "killlab",
		Title: "Modes, and how often in full and with -short",
		Flags: func(f *flag.FlagSet) {
			f.IntVar(&opt.n, "n", 0, "how often (default: see the modes)")
			f.DurationVar(&opt.duration, "duration", 0,
				"stop after this time, complete or not; of storm: how long (default 60s)")
		},
		Check: func() error {
			if opt.n < 0 || opt.duration < 0 {
				return errors.New("-n and -duration must not be negative")
			}
			return nil
		},
		Experiment: func(ctx context.Context, mode int, o labs.Options) labs.Report {
			return opt.experiment(ctx, mode, o)
		},
		Child: runChild,
	}
	for _, m := range modes {
		p.Modes = append(p.Modes, labs.Mode{Name: m.name, Summary: fmt.Sprintf("%s (%d, %d)", m.summary, m.full, m.short)})
	}
	return p
}

func main() { program().Main() }

// experiment runs one mode and looks at what it leaves behind.
func (opt options) experiment(ctx context.Context, mode int, o labs.Options) labs.Report {
	m := modes[mode]
	n := o.Times(opt.n, m.full, m.short)
	r := &result{Result: labs.Result{Mode: m.name, Seed: o.Seed}}
	if opt.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, opt.duration+labs.Patience)
		defer cancel()
	}
	left, err := r.Run(ctx, "killlab", o, func(in *labs.Lab) {
		m.run(&lab{Lab: in, r: r, duration: opt.duration}, n)
	})
	if err != nil {
		r.fault(&r.Other, "%v", err)
	}
	for _, leak := range left {
		r.fault(&r.Leaked, "%s", leak)
	}
	r.conclude()
	if !r.OK {
		r.Repeat = fmt.Sprintf("go run ./fuzz/killlab -mode %s -n %d -seed %d", m.name, n, o.Seed)
		if opt.duration > 0 {
			r.Repeat += " -duration " + opt.duration.String()
		}
		if o.Short {
			r.Repeat += " -short"
		}
	}
	return r
}
