package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/fuzz/internal/machine"
)

type options struct {
	mode     string
	n        int
	duration time.Duration
	seed     uint64
	short    bool
	json     bool
	mutants  bool
}

// mode is one experiment.
type mode struct {
	name    string
	summary string
	full    int // -n if it is not given
	short   int // and with -short
	run     func(l *lab, n int)
}

func modes() []mode {
	return []mode{
		{"random", "SIGKILL after a random delay, N producers and N consumers of each kind of ring", 10000, 60, random},
		{"points", "death at every point after which shared state has changed: operation by state of the ring by point; N is a percentage", 100, 100, points},
		{"step", "SIGKILL between any two instructions of one operation, N places (or all) for each kind of ring and state", 1 << 20, 6, step},
		{"hole", "a producer dies between claim and commit, in eight situations", 2000, 60, hole},
		{"stop", "SIGSTOP and ptrace between claim and commit: nobody is dead, nothing is passed over", 1000, 24, stop},
		{"pidreuse", "the dead producer's process id goes to somebody else at once", 1000, 20, pidReuse},
		{"pidns", "producers and consumer are process 1 each, in namespaces of their own", 500, 12, namespaces},
		{"zombie", "the dead producer is not reaped, or has started a process that outlives it", 100, 10, zombie},
		{"takeover", "dead and leaving holders of roles, and several successors for each", 500, 20, takeover},
		{"storm", "that many processes create, open, use, remove and die on three names", 50, 12, storm},
	}
}

func main() {
	if text := os.Getenv(childEnv); text != "" {
		if err := runChild(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second signal ends it at once
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, arguments []string, stdout, stderr io.Writer) int {
	var opt options
	f := flag.NewFlagSet("killlab", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&opt.mode, "mode", "", "which experiment; all: every one after the other")
	f.IntVar(&opt.n, "n", 0, "how often (default: see the modes)")
	f.DurationVar(&opt.duration, "duration", 0, "stop after this time, complete or not; of storm: how long (default 60s)")
	f.Uint64Var(&opt.seed, "seed", 0, "what chance begins with (default: anything)")
	f.BoolVar(&opt.short, "short", false, "the short version of everything")
	f.BoolVar(&opt.json, "json", false, "print one JSON object per mode on stdout")
	f.BoolVar(&opt.mutants, "mutants", false, "break the library on purpose, and show which mode notices; needs the source tree")
	f.Usage = func() {
		fmt.Fprint(stderr, "Usage: killlab -mode MODE [flags]\n\nModes, and how often in full and with -short\n")
		for _, m := range modes() {
			fmt.Fprintf(stderr, "  %-9s %s (%d, %d)\n", m.name, m.summary, m.full, m.short)
		}
		fmt.Fprint(stderr, "\nFlags\n")
		f.PrintDefaults()
	}
	if err := f.Parse(arguments); err != nil {
		if err == flag.ErrHelp {
			return 0
		}
		return 2
	}
	if f.NArg() > 0 {
		fmt.Fprintf(stderr, "killlab: unexpected argument %q\n", f.Arg(0))
		return 2
	}
	if opt.n < 0 || opt.duration < 0 {
		fmt.Fprintln(stderr, "killlab: -n and -duration must not be negative")
		return 2
	}
	if opt.mutants {
		return runMutants(ctx, opt, stdout, stderr)
	}
	var chosen []mode
	for _, m := range modes() {
		if opt.mode == m.name || opt.mode == "all" {
			chosen = append(chosen, m)
		}
	}
	if len(chosen) == 0 {
		fmt.Fprintf(stderr, "killlab: -mode %q: want %s or all\n", opt.mode, strings.Join(names(), ", "))
		return 2
	}
	status := 0
	for _, m := range chosen {
		r := experiment(ctx, m, opt)
		if opt.json {
			_ = json.NewEncoder(stdout).Encode(r)
			r.print(stderr)
		} else {
			r.print(stdout)
		}
		if !r.OK {
			status = 1
		}
		if ctx.Err() != nil {
			return 1
		}
	}
	return status
}

func names() []string {
	var list []string
	for _, m := range modes() {
		list = append(list, m.name)
	}
	return list
}

// experiment runs one mode and looks at what it leaves behind.
func experiment(ctx context.Context, m mode, opt options) *result {
	if opt.seed == 0 {
		opt.seed = rand.Uint64()>>1 | 1
	}
	n := opt.n
	switch {
	case n > 0:
	case opt.short:
		n = m.short
	default:
		n = m.full
	}
	r := &result{Mode: m.name, Seed: opt.seed}
	begin := time.Now()
	_ = exec.Command("/proc/self/exe", "-help").Run() // what the runtime opens at the first child is no leak
	before := machine.Process("self").System()
	if opt.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, opt.duration+patience)
		defer cancel()
	}
	l, err := newLab(ctx, opt, r)
	if err != nil {
		r.fault(&r.Other, "%v", err)
	} else {
		m.run(l, n)
		l.close()
		before.Threads += l.most
	}
	r.grown("the lab", before, machine.Process("self").System())
	r.Seconds = time.Since(begin).Seconds()
	r.conclude()
	if !r.OK {
		r.Repeat = fmt.Sprintf("go run ./fuzz/killlab -mode %s -n %d -seed %d", m.name, n, opt.seed)
		if opt.duration > 0 {
			r.Repeat += " -duration " + opt.duration.String()
		}
		if opt.short {
			r.Repeat += " -short"
		}
	}
	return r
}
