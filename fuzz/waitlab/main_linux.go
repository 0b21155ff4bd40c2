package main

import (
	"context"
	"fmt"

	"github.com/shmring/shmring/fuzz/internal/labs"
)

// modes are the experiments.
var modes = []struct {
	name, summary string
	run           func(l *lab)
}{
	{"cycles", "ping-pong between two processes, both asleep for every message", cycles},
	{"killed-waker", "one side is killed between clearing the other's bell and waking it", killedWaker},
	{"syscalls", "strace counts the system calls that sending and waking make", syscalls},
	{"idle", "processor time of a consumer that has nothing to do", idle},
	{"cancel", "contexts that end, at any moment around a message", cancels},
	{"stall", "what a consumer that blocks costs its neighbour on the only processor", stall},
	{"close", "Close ends hundreds of blocked calls", closes},
	{"refuse", "a system that refuses futexes, semaphores or inotify", refuse},
	{"fair", "eight producers and too little room", fair},
	{"placement", "requests and responses, by where the two processes run", placements},
	{"threads", "a thousand blocked goroutines, few threads", threads},
}

func program() *labs.Program {
	p := &labs.Program{
		Name:       "waitlab",
		Title:      "Modes",
		Experiment: experiment,
		Child:      runChild,
	}
	for _, m := range modes {
		p.Modes = append(p.Modes, labs.Mode{Name: m.name, Summary: m.summary})
	}
	return p
}

func main() { program().Main() }

// experiment runs one mode and looks at what it leaves behind.
func experiment(ctx context.Context, mode int, opt labs.Options) labs.Report {
	m := modes[mode]
	r := &result{Result: labs.Result{Mode: m.name, Seed: opt.Seed}}
	left, err := r.Run(ctx, "waitlab", opt, func(in *labs.Lab) {
		l := newLab(in, r)
		m.run(l)
		l.close()
	})
	if err != nil {
		r.fault("%v", err)
	}
	for _, leak := range left {
		r.fault("left behind: %s", leak)
	}
	r.conclude()
	if !r.OK {
		r.Repeat = fmt.Sprintf("go run ./fuzz/waitlab -mode %s -seed %d", m.name, opt.Seed)
		if opt.Short {
			r.Repeat += " -short"
		}
	}
	return r
}
