package main

import (
	"fmt"
	"io"
	"strings"
)

// result is what one mode found: the object that -json prints.
type result struct {
	Mode     string   `json:"mode"`
	OK       bool     `json:"ok"`
	Faults   int      `json:"faults"`
	Counts   []count  `json:"counts"`
	Seed     uint64   `json:"seed"`
	Seconds  float64  `json:"seconds"`
	Skipped  []string `json:"skipped,omitempty"` // what is not to be had here, and why
	Notes    []string `json:"notes,omitempty"`
	Problems []string `json:"problems,omitempty"` // the first few
	Repeat   string   `json:"repeat,omitempty"`   // the command that repeats a failure
}

type count struct {
	What string `json:"what"`
	N    uint64 `json:"n"`
}

const maxProblems = 20

// fault counts a broken promise.
func (r *result) fault(format string, args ...any) {
	r.Faults++
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

func (r *result) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

func (r *result) skip(format string, args ...any) {
	r.Skipped = append(r.Skipped, fmt.Sprintf(format, args...))
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

const indent = "             "

// Well reports whether there was no fault.
func (r *result) Well() bool { return r.OK }

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
	for _, n := range r.Notes {
		fmt.Fprintln(w, indent+n)
	}
	for _, s := range r.Skipped {
		fmt.Fprintln(w, indent+"skipped: "+s)
	}
	for _, p := range r.Problems {
		fmt.Fprintln(w, indent+"! "+strings.ReplaceAll(p, "\n", "\n"+indent+"  "))
	}
	if r.Repeat != "" {
		fmt.Fprintln(w, indent+"repeat with: "+r.Repeat)
	}
}
