package main

import (
	"context"
	"fmt"
	"os/exec"
	"time"

	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/fuzz/internal/machine"
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
	r := &result{Mode: m.name, Seed: opt.Seed}
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
		r.Repeat = fmt.Sprintf("go run ./fuzz/waitlab -mode %s -seed %d", m.name, opt.Seed)
		if opt.Short {
			r.Repeat += " -short"
		}
	}
	return r
}
