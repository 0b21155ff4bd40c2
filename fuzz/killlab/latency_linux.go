package main

import (
	"fmt"
	"os"
	"slices"
	"time"
)

// What a claim of a dead producer may cost a consumer that waits in Receive with
// default options. The longest single sleep is 10 ms, and as much again is for the
// kernel: to end the process, and to let the consumer run.
const (
	behindP50 = 2 * time.Millisecond
	behindP99 = 10 * time.Millisecond
	behindMax = 20 * time.Millisecond
)

// moment is the begin of a measurement.
type moment struct {
	at      int64
	starved time.Duration
}

func now() moment {
	m := moment{starved: starved()}
	m.at = monotonic()
	return m
}

// to returns how long a measurement took, and how much of that is not explained by a
// machine on which somebody waited for a processor.
func (m moment) to(end int64) (took, owned time.Duration) {
	took = time.Duration(end - m.at)
	return took, max(0, took-(starved()-m.starved))
}

// starved is for how long, since the machine was started, somebody could have run and
// had no processor. 0 where the kernel does not tell.
func starved() time.Duration {
	text, err := os.ReadFile("/proc/pressure/cpu")
	if err != nil {
		return 0
	}
	var avg10, avg60, avg300 float64
	var total int64
	_, _ = fmt.Sscanf(string(text), "some avg10=%f avg60=%f avg300=%f total=%d", &avg10, &avg60, &avg300, &total)
	return time.Duration(total) * time.Microsecond
}

// judge compares with the limits what this package has to answer for.
func (l *lab) judge(all times) {
	if len(all) == 0 {
		return
	}
	l.r.note("without the time in which some process waited for a processor: %v", all)
	for _, q := range []struct {
		percent int
		limit   time.Duration
	}{{50, behindP50}, {99, behindP99}, {100, behindMax}} {
		if got := all.at(q.percent); got > q.limit {
			l.fault(&l.r.Other, "%d %% of the messages behind a corpse came within %v, the limit is %v", q.percent, got, q.limit)
		}
	}
}

// times are for a line in the report.
type times []time.Duration

func (s times) at(percent int) time.Duration {
	s = slices.Sorted(slices.Values(s))
	return s[(len(s)-1)*percent/100].Round(time.Microsecond)
}

func (s times) String() string {
	if len(s) == 0 {
		return "no time"
	}
	return fmt.Sprintf("p50 %v, p99 %v, max %v", s.at(50), s.at(99), s.at(100))
}
