package mutants

import (
	"bytes"
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

// Harness builds and runs broken copies of a laboratory: the command ./fuzz/Lab, which
// understands -mode, -seed and -json and prints one object with the fields ok and
// problems. What it makes has names that begin with Lab-.
type Harness struct {
	Lab      string
	Patience string // the environment variable that sets the lab's patience
	Memory   string // the directory for rings
	Mode     string // only this one; empty or all: every one
	Seed     uint64 // 0: 1
	JSON     bool

	ctx    context.Context
	source string // root of the source tree
	tmp    string
	rings  string
}

// Run returns the exit status: 0 if each mutant was caught in each of its modes.
func (h *Harness) Run(ctx context.Context, mutants []Mutant, stdout, stderr io.Writer) int {
	h.ctx = ctx
	table, err := h.all(mutants, stderr)
	if h.JSON {
		_ = json.NewEncoder(stdout).Encode(table)
	} else {
		printFindings(stdout, table)
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: mutants: %v\n", h.Lab, err)
		return 1
	}
	for _, o := range table {
		if !o.Caught {
			return 1
		}
	}
	return 0
}

func (h *Harness) all(mutants []Mutant, progress io.Writer) (table []finding, err error) {
	if h.Seed == 0 {
		h.Seed = 1
	}
	root, err := exec.CommandContext(h.ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/shmring/shmring").Output()
	if err != nil {
		return nil, fmt.Errorf("where is the source tree: %w", err)
	}
	h.source = strings.TrimSpace(string(root))
	if h.tmp, err = os.MkdirTemp("", h.Lab+"-mutants-*"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(h.tmp)
	if h.rings, err = os.MkdirTemp(h.Memory, h.Lab+"-mutants-*"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(h.rings)
	chosen := h.chosen(mutants)
	if len(chosen) == 0 {
		return nil, fmt.Errorf("none for -mode %q", h.Mode)
	}
	sick, err := h.sane(chosen, progress)
	if err != nil {
		return nil, err
	}
	for _, m := range chosen {
		program, err := h.build(m)
		if err != nil {
			return table, fmt.Errorf("%s: %w", m.Name, err)
		}
		for _, t := range m.Modes {
			if sick[t] {
				continue
			}
			o := h.try(program, t)
			o.Mutant = m.Name
			if h.ctx.Err() != nil {
				return table, h.ctx.Err()
			}
			fmt.Fprintln(progress, o.line())
			table = append(table, o)
		}
		_ = os.Remove(program)
	}
	if len(sick) > 0 {
		return table, fmt.Errorf("%d modes were left out because the unchanged program fails in them", len(sick))
	}
	return table, nil
}

// chosen are the mutants, with those of their modes that Mode allows.
func (h *Harness) chosen(mutants []Mutant) []Mutant {
	var list []Mutant
	for _, m := range mutants {
		var some []Exam
		for _, t := range m.Modes {
			if h.Mode == "" || h.Mode == "all" || h.Mode == t.Mode {
				some = append(some, t)
			}
		}
		if m.Modes = some; len(some) > 0 {
			list = append(list, m)
		}
	}
	return list
}

// sane runs all exams with the program as it is: what they notice in a mutant must not
// be there without it. It returns those of which that is not so.
func (h *Harness) sane(chosen []Mutant, progress io.Writer) (sick map[Exam]bool, err error) {
	program, err := h.build(Mutant{Name: "unchanged"})
	if err != nil {
		return nil, err
	}
	sick = map[Exam]bool{}
	done := map[Exam]bool{}
	for _, m := range chosen {
		for _, t := range m.Modes {
			if done[t] {
				continue
			}
			done[t] = true
			o := h.try(program, t)
			if h.ctx.Err() != nil {
				return nil, h.ctx.Err()
			}
			if o.Caught {
				sick[t] = true
				fmt.Fprintf(progress, "%-12s unchanged: FAILS: %s\n", t.Mode, o.Problem)
				continue
			}
			fmt.Fprintf(progress, "%-12s unchanged: ok (%.1f s)\n", t.Mode, o.Seconds)
		}
	}
	return sick, nil
}

// build compiles the laboratory with the edits of m.
func (h *Harness) build(m Mutant) (string, error) {
	files, err := m.apply(h.source)
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for path, text := range files {
		changed := filepath.Join(h.tmp, fmt.Sprintf("edit%d.go", len(replace)))
		if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
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
	program := filepath.Join(h.tmp, h.Lab)
	c := exec.CommandContext(h.ctx, "go", "build", "-overlay", file, "-o", program, "./fuzz/"+h.Lab)
	c.Dir = h.source
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return program, nil
}

func (h *Harness) overlay() string { return filepath.Join(h.tmp, "overlay.json") }

// try runs one exam. Everything but a clean "ok" counts as noticed.
func (h *Harness) try(program string, t Exam) finding {
	ctx, cancel := context.WithTimeout(h.ctx, trialLimit)
	defer cancel()
	arguments := append([]string{"-mode", t.Mode, "-seed", fmt.Sprint(h.Seed), "-json"}, strings.Fields(t.Flags)...)
	c := exec.CommandContext(ctx, program, arguments...)
	// Some modes build the program once more, with kill points: with the same defect.
	flags := strings.TrimSpace(os.Getenv("GOFLAGS") + " -overlay=" + h.overlay())
	c.Dir = h.source
	c.Env = append(os.Environ(), h.Patience+"="+trialPatience.String(), shm.EnvDir+"="+h.rings, "TMPDIR="+h.tmp, "GOFLAGS="+flags)
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
	o := finding{Mode: t.Mode, Caught: true, Seconds: time.Since(begin).Seconds()}
	var r struct {
		OK       bool     `json:"ok"`
		Problems []string `json:"problems"`
	}
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
func (h *Harness) end(c *exec.Cmd) error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }

// clear removes what a lab that was killed has left behind.
func (h *Harness) clear() {
	for _, dir := range []string{h.rings, h.tmp} {
		left, _ := filepath.Glob(filepath.Join(dir, h.Lab+"-*"))
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
	return strings.TrimSpace(fmt.Sprintf("%-12s %-32s %s (%.1f s) %.150s", o.Mode, o.Mutant, verdict, o.Seconds, o.Problem))
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
