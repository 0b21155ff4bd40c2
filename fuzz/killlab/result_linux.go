package main

import (
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/shmring/shmring/fuzz/internal/labs"
)

// result is what one mode found: the object that -json prints.
type result struct {
	labs.Result
	Kills     int    `json:"kills"`
	Delivered uint64 `json:"delivered"` // messages, repeated ones not counted
	Lost      uint64 `json:"lost"`      // sent and never delivered
	// Duplicated were delivered again though the position filter was on, or beyond the stated
	// bound, or unmarked.
	Duplicated uint64   `json:"duplicated"`
	Repeated   uint64   `json:"repeated"` // delivered again within the bound and marked: what at-least-once allows
	Torn       uint64   `json:"torn"`     // messages, or rings that were seen half made
	Split      uint64   `json:"split"`    // two rings of one name, or two holders of one role, at one time
	Disordered uint64   `json:"disordered"`
	Stuck      uint64   `json:"stuck"`
	Leaked     uint64   `json:"leaked"`
	Wrong      uint64   `json:"wrong"`             // ends of streams, as consumers were told of them
	Other      uint64   `json:"other"`             // errors that nothing explains
	Latency    *latency `json:"latency,omitempty"` // from SIGKILL to the first message behind the crash

	behind []int64 // microseconds
}

type latency struct {
	Count      int64 `json:"count"`
	P50Micros  int64 `json:"p50_us"`
	P90Micros  int64 `json:"p90_us"`
	P99Micros  int64 `json:"p99_us"`
	P999Micros int64 `json:"p999_us"`
	MaxMicros  int64 `json:"max_us"`
}

// fault counts a violation under one of the headings of result.
func (r *result) fault(heading *uint64, format string, args ...any) {
	*heading++
	r.Problem(format, args...)
}

// latencyOf records one time from a kill to the first message behind the crash.
func (r *result) latencyOf(d time.Duration) {
	r.behind = append(r.behind, max(1, d.Microseconds()))
}

// conclude fills in what follows from the counts.
func (r *result) conclude() {
	r.OK = r.Lost+r.Duplicated+r.Torn+r.Split+r.Disordered+r.Stuck+r.Leaked+r.Wrong+r.Other == 0
	if n := len(r.behind); n > 0 {
		slices.Sort(r.behind)
		// The least value that so many of a thousand do not exceed.
		at := func(permille int) int64 { return r.behind[(n*permille+999)/1000-1] }
		r.Latency = &latency{int64(n), at(500), at(900), at(990), at(999), at(1000)}
	}
}

// Print shows the result to people.
func (r *result) Print(w io.Writer) {
	verdict := "ok"
	if !r.OK {
		verdict = "FAILED"
	}
	fmt.Fprintf(w,
		"%-9s %s: %d kills, %d delivered, %d lost, %d duplicated, %d torn, %d split, %d disordered, %d stuck, %d leaked, "+
			"%d other; %d repeated within the bound; %.1f s\n",
		r.Mode, verdict, r.Kills, r.Delivered, r.Lost, r.Duplicated, r.Torn, r.Split, r.Disordered, r.Stuck, r.Leaked,
		r.Other, r.Repeated, r.Seconds)
	r.PrintRest(w, strings.Repeat(" ", 10), "not permitted here", func() {
		if l := r.Latency; l != nil {
			fmt.Fprintf(w,
				"          SIGKILL to the first message behind the crash, %d times: p50 %d µs, p90 %d, p99 %d, p99.9 %d, max %d\n",
				l.Count, l.P50Micros, l.P90Micros, l.P99Micros, l.P999Micros, l.MaxMicros)
			bars(w, r.behind)
		}
	})
}

// bars draws a histogram in steps of powers of two.
func bars(w io.Writer, values []int64) {
	steps := map[int]int64{}
	least, most, peak := 64, 0, int64(1)
	for _, v := range values {
		k := bits.Len64(uint64(v)) - 1
		steps[k]++
		least, most, peak = min(least, k), max(most, k), max(peak, steps[k])
	}
	for k := least; k <= most; k++ {
		fmt.Fprintf(w, "          %8d µs %8d %s\n", 1<<k, steps[k], strings.Repeat("#", int(steps[k]*50/peak)))
	}
}
