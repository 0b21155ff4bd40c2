package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shmring/shmring/fuzz/internal/labs"
)

// modes are what the attacker does.
var modes = []struct {
	name    string
	summary string
	full    int // rounds, if -n is not given
	short   int // and with -short
	attack  attack
}{
	{"truncate", "the file is cut to a random length", 10000, 320, truncate},
	{"hole", "holes are punched, or the file is cut and grown again, which the kernel fills with zeros", 1000, 160, punch},
}

func program() *labs.Program {
	n := 0
	p := &labs.Program{
		Name:  "evilpeer",
		Title: "Modes, and how many rings in full and with -short",
		Flags: func(f *flag.FlagSet) { f.IntVar(&n, "n", 0, "how many rings (default: see the modes)") },
		Check: func() error {
			if n < 0 {
				return errors.New("-n must not be negative")
			}
			return nil
		},
		Experiment: func(ctx context.Context, mode int, o labs.Options) labs.Report { return experiment(ctx, mode, n, o) },
		Child:      victim,
	}
	for _, m := range modes {
		p.Modes = append(p.Modes, labs.Mode{Name: m.name, Summary: fmt.Sprintf("%s (%d, %d)", m.summary, m.full, m.short)})
	}
	return p
}

func main() { program().Main() }

// result is what one mode found: the object that -json prints.
type result struct {
	labs.Result
	Attacks int `json:"attacks"`
	report
}

// Print shows the result to people.
func (r *result) Print(w io.Writer) {
	verdict := "ok"
	if !r.OK {
		verdict = "FAILED"
	}
	fmt.Fprintf(w, "%-9s %s: %d rings, %d attacks, longest Close %d µs (ring %d); %.1f s\n", r.Mode, verdict,
		r.Rounds, r.Attacks, r.LongestClose, r.Longest, r.Seconds)
	r.PrintRest(w, strings.Repeat(" ", 10), "not permitted here", func() {
		for _, what := range slices.Sorted(maps.Keys(r.Ends)) {
			fmt.Fprintf(w, "%10s%7d calls ended by: %s\n", "", r.Ends[what], what)
		}
	})
}

// experiment runs one mode: a victim, and the attacker in this process.
func experiment(ctx context.Context, mode, n int, o labs.Options) labs.Report {
	m := modes[mode]
	n = o.Times(n, m.full, m.short)
	r := &result{Result: labs.Result{Mode: m.name, Seed: o.Seed}}
	left, err := r.Run(ctx, "evilpeer", o, func(l *labs.Lab) {
		if err := r.run(l, m.attack, n, m.name == "truncate"); err != nil {
			r.Problem("%v", err)
		}
	})
	if err != nil {
		r.Problem("%v", err)
	}
	for _, leak := range left {
		r.Problem("left behind: %s", leak)
	}
	for _, p := range r.Wrong {
		r.Problem("%s", p)
	}
	if r.Rounds != n {
		r.Problem("%d of %d rings were used", r.Rounds, n)
	}
	if r.OK = len(r.Problems) == 0; !r.OK {
		r.Repeat = fmt.Sprintf("go run ./fuzz/evilpeer -mode %s -n %d -seed %d", m.name, n, o.Seed)
	}
	return r
}

func (r *result) run(l *labs.Lab, a attack, n int, always bool) error {
	args := arguments{Dir: l.Rings, Report: filepath.Join(l.Files, "report"), Rounds: n, Always: always}
	child, err := l.Spawn("victim", args, nil)
	if err != nil {
		return err
	}
	r.Attacks = attackAll(l, child, a)
	if err := child.Wait(); err != nil {
		return fmt.Errorf("the victim: %w", err)
	}
	text, err := os.ReadFile(args.Report)
	if err != nil {
		return err
	}
	if r.Attacks < n*9/10 {
		r.Problem("%d attacks on %d rings", r.Attacks, n)
	}
	return json.Unmarshal(text, &r.report)
}
