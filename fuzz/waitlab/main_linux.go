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
	"github.com/shmring/shmring/fuzz/internal/mutants"
)

type options struct {
	mode    string
	seed    uint64
	short   bool
	json    bool
	mutants bool
}

// mode is one experiment.
type mode struct {
	name    string
	summary string
	run     func(l *lab)
}

func modes() []mode {
	return []mode{
		{"cycles", "ping-pong between two processes, both asleep for every message", cycles},
		{"killed-waker", "one side is killed between clearing the other's bell and waking it", killedWaker},
		{"syscalls", "strace counts the system calls that sending and waking make", syscalls},
		{"idle", "processor time of a consumer that has nothing to do", idle},
		{"cancel", "contexts that end, at any moment around a message", cancels},
		{"stall", "what a consumer that blocks costs its neighbour on the only processor", stall},
		{"close", "Close ends hundreds of blocked calls", closes},
		{"refuse", "a system that refuses futexes, semaphores or inotify", refuse},
		{"fair", "eight producers and too little room", fair},
		{"threads", "a thousand blocked goroutines, few threads", threads},
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
	f := flag.NewFlagSet("waitlab", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&opt.mode, "mode", "", "which experiment; all: every one after the other")
	f.Uint64Var(&opt.seed, "seed", 0, "what chance begins with (default: anything)")
	f.BoolVar(&opt.short, "short", false, "the short version of everything")
	f.BoolVar(&opt.json, "json", false, "print one JSON object per mode on stdout")
	f.BoolVar(&opt.mutants, "mutants", false, "break the library on purpose, and show which mode notices; needs the source tree")
	f.Usage = func() {
		fmt.Fprint(stderr, "Usage: waitlab -mode MODE [flags]\n\nModes\n")
		for _, m := range modes() {
			fmt.Fprintf(stderr, "  %-12s %s\n", m.name, m.summary)
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
		fmt.Fprintf(stderr, "waitlab: unexpected argument %q\n", f.Arg(0))
		return 2
	}
	if opt.mutants {
		h := &mutants.Harness{Lab: "waitlab", Patience: patienceEnv, Memory: memory(), Mode: opt.mode, Seed: opt.seed, JSON: opt.json}
		return h.Run(ctx, mutantTable, stdout, stderr)
	}
	var chosen []mode
	for _, m := range modes() {
		if opt.mode == m.name || opt.mode == "all" {
			chosen = append(chosen, m)
		}
	}
	if len(chosen) == 0 {
		fmt.Fprintf(stderr, "waitlab: -mode %q: want %s or all\n", opt.mode, strings.Join(names(), ", "))
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
	r := &result{Mode: m.name, Seed: opt.seed}
	begin := time.Now()
	_ = exec.Command("/proc/self/exe", "-help").Run() // what the runtime opens at the first child is no leak
	before, sets := machine.Process("self"), semaphores()
	l, err := newLab(ctx, opt, r)
	if err != nil {
		r.fault("%v", err)
	} else {
		m.run(l)
		l.close()
		before.Threads += l.most
		for _, id := range leftSemaphores(sets, l.pids) {
			r.fault("left behind: semaphore set %d", id)
		}
	}
	for _, leak := range machine.Process("self").Grown(before) {
		r.fault("left behind: %s", leak)
	}
	r.Seconds = time.Since(begin).Seconds()
	r.conclude()
	if !r.OK {
		r.Repeat = fmt.Sprintf("go run ./fuzz/waitlab -mode %s -seed %d", m.name, opt.seed)
		if opt.short {
			r.Repeat += " -short"
		}
	}
	return r
}
