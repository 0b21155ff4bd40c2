package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/shmring/shmring/fuzz/internal/labs"
)

// modes are who is killed.
var modes = []struct {
	name    string
	summary string
	listens bool // the victim does
	rpc     bool // calls are made (package shmrpc)
	full    int
	short   int
}{
	{"dialer", "who dialed is killed", false, false, 5000, 60},
	{"listener", "who listened is killed; the next one takes its socket over", true, false, 5000, 60},
	{"server", "a server is killed and restarted, while clients make calls", true, true, 1000, 20},
	{"client", "clients are killed while they and others make calls", false, true, 1000, 20},
}

func program() *labs.Program {
	n := 0
	p := &labs.Program{
		Name:  "connlab",
		Title: "Modes, and how many kills in full and with -short",
		Flags: func(f *flag.FlagSet) { f.IntVar(&n, "n", 0, "how many kills (default: see the modes)") },
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
	Kills       int            `json:"kills"`
	Connections int            `json:"connections"`
	Bytes       int64          `json:"bytes"` // that came from victims and were right
	Ends        map[string]int `json:"ends"`  // of calls
	// Microseconds from the kill to the end of the last call of a connection.
	P50  int64 `json:"p50_us"`
	P99  int64 `json:"p99_us"`
	Max  int64 `json:"max_us"`
	Late int   `json:"late"` // more than 10 ms
	// Those of them of which a pipe of the victim's told no sooner than 10 ms after the kill.
	LateTold int `json:"late_told"`
	// Microseconds from there to the end of the last call.
	BehindP50 int64 `json:"behind_p50_us"`
	BehindP99 int64 `json:"behind_p99_us"`
	BehindMax int64 `json:"behind_max_us"`

	delays, behind []time.Duration
}

const lateAfter = 10 * time.Millisecond

// Print shows the result to people.
func (r *result) Print(w io.Writer) {
	verdict := "ok"
	if !r.OK {
		verdict = "FAILED"
	}
	fmt.Fprintf(w, "%-9s %s: %d kills", r.Mode, verdict, r.Kills)
	if len(r.delays) > 0 {
		fmt.Fprintf(w, ", %d connections, %d MB right; calls ended after p50 %d µs, p99 %d µs, longest %d µs, "+
			"%d after more than 10 ms, %d of them told so late by a pipe, too; after that p50 %d µs, p99 %d µs, longest %d µs",
			r.Connections, r.Bytes>>20, r.P50, r.P99, r.Max, r.Late, r.LateTold, r.BehindP50, r.BehindP99, r.BehindMax)
	}
	fmt.Fprintf(w, "; %.1f s\n", r.Seconds)
	r.PrintRest(w, strings.Repeat(" ", 10), "not permitted here", func() {
		for _, what := range slices.Sorted(maps.Keys(r.Ends)) {
			fmt.Fprintf(w, "%10s%8d %s\n", "", r.Ends[what], what)
		}
	})
}

// experiment runs one mode.
func experiment(ctx context.Context, mode, n int, o labs.Options) labs.Report {
	m := modes[mode]
	n = o.Times(n, m.full, m.short)
	r := &result{Result: labs.Result{Mode: m.name, Seed: o.Seed}, Ends: map[string]int{}}
	left, err := r.Run(ctx, "connlab", o, func(l *labs.Lab) {
		s := newSurvivor(l, r)
		run := s.run
		if m.rpc {
			run = s.runRPC
		}
		if err := run(n, m.listens); err != nil {
			r.Problem("%v", err)
		}
		if l.Ctx.Err() != nil {
			r.Problem("interrupted")
		}
	})
	if err != nil {
		r.Problem("%v", err)
	}
	for _, leak := range left {
		r.Problem("left behind: %s", leak)
	}
	if r.Connections < n/2 {
		r.Problem("only %d connections came about", r.Connections)
	}
	r.P50, r.P99, r.Max = percentiles(r.delays)
	r.BehindP50, r.BehindP99, r.BehindMax = percentiles(r.behind)
	if r.OK = len(r.Problems) == 0; !r.OK {
		r.Repeat = fmt.Sprintf("go run ./fuzz/connlab -mode %s -n %d -seed %d", m.name, n, o.Seed)
	}
	return r
}

// percentiles are in microseconds.
func percentiles(d []time.Duration) (p50, p99, most int64) {
	if slices.Sort(d); len(d) == 0 {
		return 0, 0, 0
	}
	at := func(q float64) int64 { return d[int(q*float64(len(d)-1))].Microseconds() }
	return at(0.5), at(0.99), at(1)
}
