package main

import (
	"time"

	"github.com/shmring/shmring/fuzz/internal/machine"
)

// What a claim of a dead producer may cost a consumer that waits in Receive with
// default options. The longest single sleep is 10 ms, and as much again is for the
// kernel: to end the process, and to let the consumer run.
const (
	behindP50 = 2 * time.Millisecond
	behindP99 = 10 * time.Millisecond
	behindMax = 20 * time.Millisecond
)

// judge compares with the limits what this package has to answer for.
func (l *lab) judge(all machine.Times) {
	if len(all) == 0 {
		return
	}
	l.r.Note("without the time in which some process waited for a processor: %v", all)
	for _, q := range []struct {
		percent int
		limit   time.Duration
	}{{50, behindP50}, {99, behindP99}, {100, behindMax}} {
		if got := all.At(q.percent); got > q.limit {
			l.fault(&l.r.Other, "%d %% of the messages behind a crashed came within %v, the limit is %v", q.percent, got,
				q.limit)
		}
	}
}
