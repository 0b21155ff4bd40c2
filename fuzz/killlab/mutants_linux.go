package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/shmring/shmring/shm"
)

// mutant is a deliberate defect of the library.
type mutant struct {
	name   string
	breaks string // what is wrong then
	edits  []edit
	modes  []exam // that must notice
}

// edit replaces a text that a file of the source tree has once.
type edit struct{ file, old, new string }

// exam is a mode and how much of it suffices: -n, and -duration where that counts.
type exam struct {
	mode     string
	n        int
	duration time.Duration
}

// trialLimit is when a mutant that cannot end is ended.
const trialLimit = 2 * time.Minute

// trialPatience is what the lab's patience is for mutants: to be stuck is what most of
// them do.
const trialPatience = 3 * time.Second

// finding is one line of the table.
type finding struct {
	Mutant  string  `json:"mutant"`
	Mode    string  `json:"mode"`
	Caught  bool    `json:"caught"`
	Problem string  `json:"problem"` // the first
	Seconds float64 `json:"seconds"`
	Repeat  string  `json:"repeat,omitempty"` // for one that survived
}

// harness builds and runs broken copies of this program.
type harness struct {
	ctx    context.Context
	opt    options
	source string // root of the source tree
	tmp    string
	rings  string
}

// runMutants returns the exit status.
func runMutants(ctx context.Context, opt options, stdout, stderr io.Writer) int {
	h := &harness{ctx: ctx, opt: opt}
	table, err := h.all(stderr)
	if opt.json {
		_ = json.NewEncoder(stdout).Encode(table)
	} else {
		printFindings(stdout, table)
	}
	if err != nil {
		fmt.Fprintf(stderr, "killlab: mutants: %v\n", err)
		return 1
	}
	for _, o := range table {
		if !o.Caught {
			return 1
		}
	}
	return 0
}

func (h *harness) all(progress io.Writer) (table []finding, err error) {
	if h.opt.seed == 0 {
		h.opt.seed = 1
	}
	root, err := exec.CommandContext(h.ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/shmring/shmring").Output()
	if err != nil {
		return nil, fmt.Errorf("where is the source tree: %w", err)
	}
	h.source = strings.TrimSpace(string(root))
	if h.tmp, err = os.MkdirTemp("", "killlab-mutants-*"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(h.tmp)
	if h.rings, err = os.MkdirTemp(memory(), "killlab-mutants-*"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(h.rings)
	chosen := h.chosen()
	if len(chosen) == 0 {
		return nil, fmt.Errorf("none for -mode %q", h.opt.mode)
	}
	if err := h.sane(chosen, progress); err != nil {
		return nil, err
	}
	for _, m := range chosen {
		program, err := h.build(m)
		if err != nil {
			return table, fmt.Errorf("%s: %w", m.name, err)
		}
		for _, t := range m.modes {
			o := h.try(program, t)
			o.Mutant = m.name
			if h.ctx.Err() != nil {
				return table, h.ctx.Err()
			}
			fmt.Fprintln(progress, o.line())
			table = append(table, o)
		}
		_ = os.Remove(program)
	}
	return table, nil
}

// chosen are the mutants, with those of their modes that -mode allows.
func (h *harness) chosen() []mutant {
	var list []mutant
	for _, m := range mutants() {
		var some []exam
		for _, t := range m.modes {
			if h.opt.mode == "" || h.opt.mode == "all" || h.opt.mode == t.mode {
				some = append(some, t)
			}
		}
		if m.modes = some; len(some) > 0 {
			list = append(list, m)
		}
	}
	return list
}

// sane runs all exams with the program as it is: what they notice in a mutant must not
// be there without it.
func (h *harness) sane(chosen []mutant, progress io.Writer) error {
	program, err := h.build(mutant{name: "unchanged"})
	if err != nil {
		return err
	}
	done := map[exam]bool{}
	for _, m := range chosen {
		for _, t := range m.modes {
			if done[t] {
				continue
			}
			done[t] = true
			o := h.try(program, t)
			if h.ctx.Err() != nil {
				return h.ctx.Err()
			}
			if o.Caught {
				return fmt.Errorf("the unchanged program fails in mode %s: %s", t.mode, o.Problem)
			}
			fmt.Fprintf(progress, "%-9s unchanged: ok (%.1f s)\n", t.mode, o.Seconds)
		}
	}
	return nil
}

// build compiles this command with the edits of m.
func (h *harness) build(m mutant) (string, error) {
	replace := map[string]string{}
	for i, e := range m.edits {
		path := filepath.Join(h.source, e.file)
		from := cmp.Or(replace[path], path) // an earlier edit of the same file
		text, err := os.ReadFile(from)
		if err != nil {
			return "", err
		}
		if n := bytes.Count(text, []byte(e.old)); n != 1 {
			return "", fmt.Errorf("the table is out of date: %s has %d times %q", e.file, n, e.old)
		}
		changed := filepath.Join(h.tmp, fmt.Sprintf("edit%d.go", i))
		if err := os.WriteFile(changed, bytes.Replace(text, []byte(e.old), []byte(e.new), 1), 0o600); err != nil {
			return "", err
		}
		replace[path] = changed
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := h.overlay()
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		return "", err
	}
	program := filepath.Join(h.tmp, "killlab")
	c := exec.CommandContext(h.ctx, "go", "build", "-overlay", file, "-o", program, "./fuzz/killlab")
	c.Dir = h.source
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return program, nil
}

func (h *harness) overlay() string { return filepath.Join(h.tmp, "overlay.json") }

// try runs one exam. Everything but a clean "ok" counts as noticed.
func (h *harness) try(program string, t exam) finding {
	ctx, cancel := context.WithTimeout(h.ctx, trialLimit)
	defer cancel()
	arguments := []string{"-mode", t.mode, "-n", fmt.Sprint(t.n), "-seed", fmt.Sprint(h.opt.seed), "-short", "-json"}
	if t.duration > 0 {
		arguments = append(arguments, "-duration", t.duration.String())
	}
	c := exec.CommandContext(ctx, program, arguments...)
	// Points builds the program once more: with the same defect.
	flags := strings.TrimSpace(os.Getenv("GOFLAGS") + " -overlay=" + h.overlay())
	c.Dir = h.source
	c.Env = append(os.Environ(), patienceEnv+"="+trialPatience.String(), shm.EnvDir+"="+h.rings, "TMPDIR="+h.tmp, "GOFLAGS="+flags)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return h.end(c) }
	c.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	begin := time.Now()
	err := c.Run()
	if c.Process != nil {
		_ = h.end(c) // the children of a lab that has crashed
	}
	h.clear()
	o := finding{Mode: t.mode, Caught: true, Seconds: time.Since(begin).Seconds()}
	var r result
	switch {
	case ctx.Err() != nil:
		o.Problem = fmt.Sprintf("no end within %v", trialLimit)
	case json.Unmarshal(stdout.Bytes(), &r) != nil:
		text, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
		o.Problem = fmt.Sprintf("crash: %v: %s", err, text)
	case r.OK && err == nil:
		o.Caught, o.Repeat = false, strings.Join(arguments, " ")
	case len(r.Problems) > 0:
		o.Problem, _, _ = strings.Cut(r.Problems[0], "\n")
	default:
		o.Problem = fmt.Sprint(errors.Join(err, errors.New("not ok")))
	}
	return o
}

// end kills the lab and its children, which are in its process group.
func (h *harness) end(c *exec.Cmd) error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }

// clear removes what a lab that was killed has left behind.
func (h *harness) clear() {
	for _, dir := range []string{h.rings, h.tmp} {
		left, _ := filepath.Glob(filepath.Join(dir, "killlab-*"))
		for _, path := range left {
			_ = os.RemoveAll(path)
		}
	}
}

func (o finding) line() string {
	verdict := "caught"
	if !o.Caught {
		verdict = "SURVIVED " + o.Repeat
	}
	return strings.TrimSpace(fmt.Sprintf("%-9s %-32s %s (%.1f s) %.150s", o.Mode, o.Mutant, verdict, o.Seconds, o.Problem))
}

func printFindings(w io.Writer, table []finding) {
	caught := 0
	for _, o := range table {
		fmt.Fprintln(w, o.line())
		if o.Caught {
			caught++
		}
	}
	fmt.Fprintf(w, "%d of %d mutants caught\n", caught, len(table))
}
