package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
)

func init() { roles["idler"] = idler }

// idleLimit is the part of a processor that a consumer with nothing to do may take.
const idleLimit = 0.001

// idler waits for a message that does not come, with the default options of waiting.
func idler(ctx context.Context, a args, lab *line) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o := a.options()
	o.Mode, o.WaitPolicy = shmring.ModeOpenOrCreate, shmring.WaitBalanced
	c, err := shmring.OpenConsumer(ctx, a.Ring, o)
	if err != nil {
		return err
	}
	lab.send("ready", nil)
	go func() {
		lab.recv()
		cancel()
	}()
	if _, err := c.Receive(ctx, nil); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("receive: %v", err)
	}
	lab.send("done", c.Stats())
	lab.recv()
	return c.Close()
}

// idle measures all ways at the same time.
func idle(l *lab) {
	d := choose(l, time.Minute, 3*time.Second)
	var sleepers []*child
	for _, w := range l.ways() {
		c, ok := l.spawn(args{Role: "idler", Ring: l.ring(), Way: w, Kind: shmring.KindSPSC}, nil)
		if !ok {
			return
		}
		sleepers = append(sleepers, c)
	}
	for _, c := range sleepers {
		if !c.expect("ready", labs.Patience, nil) {
			return
		}
	}
	before := make([]time.Duration, len(sleepers))
	for i, c := range sleepers {
		before[i] = running(c.PID())
	}
	begin := time.Now()
	select {
	case <-time.After(d):
	case <-l.Ctx.Done():
		return
	}
	took := time.Since(begin)
	for i, c := range sleepers {
		used := running(c.PID()) - before[i]
		ticks := ticks(c.PID())
		c.send("enough")
		var s shmring.Stats
		if !c.expect("done", labs.Patience, &s) || !c.finish() {
			return
		}
		share := used.Seconds() / took.Seconds()
		l.r.add("sleeps", s.Sleeps)
		l.r.Note("%s: %v of processor time in %.0f s: %.3f %%; %.1f sleeps per second; %s in its whole life",
			c.args.Way.name, used.Round(time.Microsecond), took.Seconds(), 100*share, float64(s.Sleeps)/took.Seconds(), ticks)
		if share > idleLimit && !l.Short && c.args.Way != byPoll {
			l.r.fault("%s: %.3f %% of a processor, the limit is %.3f %%", c.args.Way.name, 100*share, 100*idleLimit)
		}
	}
}

// running is the processor time of all threads of a process, to the nanosecond.
func running(pid int) (sum time.Duration) {
	list, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, path := range list {
		var ns int64
		text, _ := os.ReadFile(path)
		_, _ = fmt.Sscan(string(text), &ns)
		sum += time.Duration(ns)
	}
	return sum
}

// ticks is utime and stime of a process, which the kernel counts in hundredths of a
// second.
func ticks(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return err.Error()
	}
	var user, system int
	fields := append(make([]any, 0, 15), make([]any, 13)...)
	for i := range fields {
		fields[i] = new(string)
	}
	fields = append(fields, &user, &system)
	if _, err := fmt.Sscan(string(text), fields...); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d+%d ticks", user, system)
}
