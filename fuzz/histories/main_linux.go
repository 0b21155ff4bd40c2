package main

import (
	"context"
	"errors"
	"flag"
	"fmt"

	"github.com/shmring/shmring/fuzz/internal/labs"
)

// options are the flags of this laboratory.
type options struct {
	n     int
	kills string
}

// kinds are the modes: the kinds of a ring.
var kinds = []labs.Mode{
	{Name: "spsc", Summary: "one producer and one consumer, with 18 calls each"},
	{Name: "mpsc", Summary: "three producers and one consumer, with 9 calls each"},
}

// How many histories of a kind, if -n is not given.
const (
	full  = 5000
	short = 1000
)

func program() *labs.Program {
	var opt options
	return &labs.Program{
		Name:    "histories",
		Title:   "Modes: the kinds of rings",
		Modes:   kinds,
		Default: "all",
		Flags: func(f *flag.FlagSet) {
			f.IntVar(&opt.n, "n", 0,
				fmt.Sprintf("how many histories of each kind (default: %d, with -short %d)", full, short))
			f.StringVar(&opt.kills, "kills", "half", "in how many of them somebody is killed: none, half or all")
			f.Func("kind", "spsc, mpsc or both: -mode by the name that it has here", func(kind string) error {
				if kind == "both" {
					kind = "all"
				}
				return f.Set("mode", kind)
			})
		},
		Check: func() error {
			switch {
			case opt.n < 0:
				return errors.New("-n must not be negative")
			case opt.kills != "none" && opt.kills != "half" && opt.kills != "all":
				return fmt.Errorf("-kills %q: want none, half or all", opt.kills)
			}
			return nil
		},
		Experiment: func(ctx context.Context, mode int, o labs.Options) labs.Report {
			return opt.experiment(ctx, kinds[mode].Name, o)
		},
		Child: runChild,
	}
}

func main() { program().Main() }

// experiment records and checks the histories of one kind.
func (opt options) experiment(ctx context.Context, kind string, o labs.Options) labs.Report {
	n := o.Times(opt.n, full, short)
	r := &result{Result: labs.Result{Mode: kind, Seed: o.Seed}}
	left, err := r.Run(ctx, "histories", o, func(l *labs.Lab) {
		(&lab{Lab: l, r: r, mpsc: kind == "mpsc", kills: opt.kills}).run(n)
	})
	if err != nil {
		r.other("%v", err)
	}
	for _, leak := range left {
		r.other("%s", leak)
	}
	if r.conclude(); !r.OK {
		program := "./fuzz/histories"
		if hasPoints {
			program = "-tags killpoint " + program
		}
		r.Repeat = fmt.Sprintf("go run %s -kind %s -n %d -kills %s -seed %d", program, kind, n, opt.kills, o.Seed)
	}
	return r
}
