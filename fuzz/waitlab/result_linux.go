package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/shmring/shmring/fuzz/internal/labs"
)

// result is what one mode found: the object that -json prints.
type result struct {
	labs.Result
	Faults int     `json:"faults"`
	Counts []count `json:"counts"`
}

type count struct {
	What string `json:"what"`
	N    uint64 `json:"n"`
}

// fault counts a broken promise.
func (r *result) fault(format string, args ...any) {
	r.Faults++
	r.Problem(format, args...)
}

// add adds to a count of the first line.
func (r *result) add(what string, n uint64) {
	for i := range r.Counts {
		if r.Counts[i].What == what {
			r.Counts[i].N += n
			return
		}
	}
	r.Counts = append(r.Counts, count{what, n})
}

func (r *result) conclude() { r.OK = r.Faults == 0 }

// Print shows the result to people.
func (r *result) Print(w io.Writer) {
	verdict := "ok"
	if !r.OK {
		verdict = "FAIL"
	}
	var counts strings.Builder
	for _, c := range r.Counts {
		fmt.Fprintf(&counts, "%d %s, ", c.N, c.What)
	}
	fmt.Fprintf(w, "%-12s %s: %s%d faults; %.1f s\n", r.Mode, verdict, counts.String(), r.Faults, r.Seconds)
	r.PrintRest(w, strings.Repeat(" ", 13), "skipped", nil)
}
