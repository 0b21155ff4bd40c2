package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/shmring/shmring/fuzz/histories/spec"
	"github.com/shmring/shmring/fuzz/internal/labs"
)

// result is what one mode found: the object that -json prints.
type result struct {
	labs.Result
	Histories   int `json:"histories"`
	WithKills   int `json:"with_kills"`
	Calls       int `json:"calls"`
	Most        int `json:"most"`     // calls of one history
	Together    int `json:"together"` // calls in the time of which another process was inside one
	Messages    int `json:"messages"`
	Empties     int `json:"empties"`
	Fulls       int `json:"fulls"`
	Maybes      int `json:"maybes"` // calls that a kill cut off
	Redelivered int `json:"redelivered"`
	Told        int `json:"told"`       // *StreamErrors
	Contended   int `json:"contended"`  // ErrContended
	Batches     int `json:"batches"`    // TrySendBatches
	Parts       int `json:"parts"`      // of them, those that sent some messages and not all
	Shortened   int `json:"shortened"`  // claims
	Dropped     int `json:"dropped"`    // records that a consumer passed over as seen
	Drains      int `json:"drains"`     // that waited, and got something
	Skips       int `json:"skips"`      // ForceSkips that gave up a claim
	Revoked     int `json:"revoked"`    // ErrRevoked
	Waits       int `json:"waits"`      // Sends of more than 5 ms
	Undecided   int `json:"undecided"`  // too hard for porcupine
	Violations  int `json:"violations"` // histories that nothing explains
	Other       int `json:"other"`      // faults of another kind
}

func (r *result) count(h *spec.History) {
	r.Histories++
	r.Calls += len(h.Calls)
	r.Most = max(r.Most, len(h.Calls))
	if len(h.Deaths) > 0 {
		r.WithKills++
	}
	answers := map[spec.Answer]*int{
		spec.Empty: &r.Empties, spec.Full: &r.Fulls, spec.None: &r.Maybes, spec.Told: &r.Told,
		spec.Contended: &r.Contended, spec.Revoked: &r.Revoked,
	}
	claims := map[uint8]int{}
	for i, c := range h.Calls {
		if isOverlapped(h, i) {
			r.Together++
		}
		r.Messages += len(c.Got)
		for _, m := range c.Got {
			if m.Redelivered {
				r.Redelivered++
			}
		}
		if n := answers[c.Answer]; n != nil {
			*n++
		}
		r.countCall(&c, claims)
	}
}

// countCall counts what only some calls do. claims are the sizes of those of one history.
func (r *result) countCall(c *spec.Call, claims map[uint8]int) {
	add := func(n *int, yes bool) {
		if yes {
			*n++
		}
	}
	switch c.Op {
	case spec.TrySendBatch:
		r.Batches++
		add(&r.Parts, 0 < c.N && c.N < len(c.Sizes))
	case spec.TryClaim:
		claims[c.ID] = c.Size
	case spec.Commit:
		add(&r.Shortened, c.Size < claims[c.ID])
	case spec.Dropped:
		r.Dropped += c.N
	case spec.Drain:
		add(&r.Drains, len(c.Got) > 0)
	case spec.ForceSkip:
		add(&r.Skips, c.Answer == spec.OK)
	case spec.Send:
		add(&r.Waits, time.Duration(c.End-c.Begin) > 5*time.Millisecond)
	}
}

// isOverlapped tells whether a call and one of another client were under way at one time.
func isOverlapped(h *spec.History, i int) bool {
	c := &h.Calls[i]
	return slices.ContainsFunc(h.Calls, func(o spec.Call) bool {
		return o.Client != c.Client && o.Begin <= c.End && c.Begin <= o.End
	})
}

// conclude fills in what follows from the counts.
func (r *result) conclude() {
	if 100*r.Undecided > r.Histories {
		r.other("%d histories are undecided, of %d", r.Undecided, r.Histories)
	}
	r.OK = r.Violations+r.Other == 0
}

// other is a fault of another kind than a violation.
func (r *result) other(format string, a ...any) {
	r.Other++
	r.Problem(format, a...)
}

// Print shows the result to people.
func (r *result) Print(w io.Writer) {
	verdict := "ok"
	if !r.OK {
		verdict = "FAILED"
	}
	fmt.Fprintf(w, "%-5s %s: %d histories, %d with kills; %d calls, at most %d each, %d of them beside another; ",
		r.Mode, verdict, r.Histories, r.WithKills, r.Calls, r.Most, r.Together)
	fmt.Fprintf(w, "%d messages, %d redelivered; %d ErrEmpty, %d ErrFull, %d ErrContended, %d told, "+
		"%d cut off by a kill; ",
		r.Messages, r.Redelivered, r.Empties, r.Fulls, r.Contended, r.Told, r.Maybes)
	fmt.Fprintf(w, "%d batches, %d in part; %d shortened; %d dropped; %d drains; %d skipped by force, %d ErrRevoked; "+
		"%d long waits; ", r.Batches, r.Parts, r.Shortened, r.Dropped, r.Drains, r.Skips, r.Revoked, r.Waits)
	fmt.Fprintf(w, "%d violations, %d undecided, %d other; %.1f s\n", r.Violations, r.Undecided, r.Other, r.Seconds)
	r.PrintRest(w, strings.Repeat(" ", 6), "not permitted here", nil)
}
