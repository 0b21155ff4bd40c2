package labs

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/shmring/shmring/fuzz/internal/machine"
)

// Result is what all laboratories say of a mode. A laboratory embeds it and adds its
// figures.
type Result struct {
	Mode     string   `json:"mode"`
	Seed     uint64   `json:"seed"`
	Seconds  float64  `json:"seconds"`
	OK       bool     `json:"ok"`
	Skipped  []string `json:"skipped,omitempty"` // what this machine does not permit, and why
	Notes    []string `json:"notes,omitempty"`
	Problems []string `json:"problems,omitempty"` // the first few
	Repeat   string   `json:"repeat,omitempty"`   // the command that repeats a failure
}

// MaxProblems is how many problems are kept.
const MaxProblems = 20

// Problem keeps one of the first problems.
func (r *Result) Problem(format string, args ...any) {
	if len(r.Problems) < MaxProblems {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// Note adds a line for people.
func (r *Result) Note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// Skip says what is left out.
func (r *Result) Skip(format string, args ...any) {
	r.Skipped = append(r.Skipped, fmt.Sprintf(format, args...))
}

// Well reports whether nothing was wrong.
func (r *Result) Well() bool { return r.OK }

// PrintRest prints the lines behind the first: notes, then what was skipped, then what the
// laboratory adds, then problems.
func (r *Result) PrintRest(w io.Writer, indent, skipped string, more func()) {
	line := func(text string) {
		fmt.Fprintln(w, indent+strings.ReplaceAll(text, "\n", "\n"+indent+"  "))
	}
	for _, n := range r.Notes {
		line(n)
	}
	for _, s := range r.Skipped {
		line(skipped + ": " + s)
	}
	if more != nil {
		more()
	}
	for _, p := range r.Problems {
		line("! " + p)
	}
	if r.Repeat != "" {
		line("repeat with: " + r.Repeat)
	}
}

// Run makes a lab for the mode that r is named after, runs the mode, and tells what is
// wrong with what it leaves behind: files where the rings are, semaphore sets, and what
// the process holds. An error says that there was no lab.
func (r *Result) Run(ctx context.Context, program string, o Options, mode func(*Lab)) (left []string, err error) {
	begin := time.Now()
	defer func() { r.Seconds = time.Since(begin).Seconds() }()
	_ = exec.Command("/proc/self/exe", "-help").Run() // what the runtime opens at the first child is no leak
	sets := semaphores()
	before := machine.Process("self")
	l, err := New(ctx, program, o)
	if err != nil {
		return nil, err
	}
	mode(l)
	if files := l.Close(); len(files) > 0 {
		left = append(left, fmt.Sprintf("%d files are left where the rings were, %s is one", len(files), files[0]))
	}
	before.Threads += l.waits()
	for _, leak := range machine.Process("self").Grown(before) {
		left = append(left, "the lab: "+leak)
	}
	for _, id := range leftSemaphores(sets, l.IsOurs) {
		left = append(left, fmt.Sprintf("semaphore set %d", id))
	}
	return left, nil
}
