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

// examLimit is when an exam that does not end is ended.
const examLimit = 2 * time.Minute

// examPatience is what the laboratory's patience is for mutants: most of them are stuck.
const examPatience = 3 * time.Second

// finding is one line of the table.
type finding struct {
	Lab     string  `json:"lab"`
	Mutant  string  `json:"mutant"`
	Mode    string  `json:"mode"`
	Caught  bool    `json:"caught"`
	Problem string  `json:"problem"` // the first
	Seconds float64 `json:"seconds"`
	Repeat  string  `json:"repeat,omitempty"` // for one that survived
}

// Harness builds broken copies of laboratories and tests, and runs them. A laboratory is
// the command ./fuzz/LAB, which understands -mode, -seed and -json and prints one object
// with the fields ok and problems. What it makes has names that begin with LAB-.
type Harness struct {
	Root     string // of the source tree; empty: where the module is
	Patience string // the environment variable that sets the patience of a laboratory
	Memory   string // the directory for rings
	Seed     uint64 // 0: 1
	JSON     bool

	ctx   context.Context
	tmp   string
	rings string
}

// Run runs those of the mutants that Select allows, and returns the exit status: 0 if each
// was noticed by each of its exams.
func (h *Harness) Run(ctx context.Context, lab, mode string, names []string, stdout, stderr io.Writer) int {
	h.ctx = ctx
	table, err := h.table(lab, mode, names, stderr)
	if h.JSON {
		_ = json.NewEncoder(stdout).Encode(table)
	} else {
		printFindings(stdout, table)
	}
	if err != nil {
		fmt.Fprintf(stderr, "mutants: %v\n", err)
		return 1
	}
	for _, o := range table {
		if !o.Caught {
			return 1
		}
	}
	return 0
}

func (h *Harness) table(lab, mode string, names []string, progress io.Writer) (table []finding, err error) {
	if h.Root, err = Root(h.ctx, h.Root); err != nil {
		return nil, err
	}
	all, err := Load(h.Root)
	if err != nil {
		return nil, err
	}
	chosen := Select(all, lab, mode, names)
	if len(chosen) == 0 {
		return nil, fmt.Errorf("none for %q, -mode %q and the names %q", lab, mode, names)
	}
	if err := Check(h.Root, chosen); err != nil {
		return nil, err
	}
	if h.tmp, err = os.MkdirTemp("", "mutants-*"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(h.tmp)
	if h.rings, err = os.MkdirTemp(h.Memory, "mutants-*"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(h.rings)
	return h.exams(chosen, progress)
}

// Root is the root of the source tree: given, or where the go command finds the module.
func Root(ctx context.Context, given string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/shmring/shmring").Output()
	if err != nil {
		return "", fmt.Errorf("where is the source tree: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// exams runs each exam with the program as it is, and then with each mutant. What an exam
// notices in a mutant must not be there without it, so one that fails as it is is left out.
func (h *Harness) exams(chosen []Mutant, progress io.Writer) (table []finding, err error) {
	unchanged := Mutant{Name: "unchanged"}
	done := map[Exam]bool{}
	for _, m := range chosen {
		for _, e := range m.Exams {
			if !done[e] {
				done[e] = true
				unchanged.Exams = append(unchanged.Exams, e)
			}
		}
	}
	fails := map[Exam]bool{}
	for _, m := range append([]Mutant{unchanged}, chosen...) {
		overlay, err := h.overlay(m)
		if err != nil {
			return table, fmt.Errorf("%s: %w", m.Name, err)
		}
		for _, e := range m.Exams {
			if fails[e] {
				continue
			}
			o, err := h.examine(m.Name, overlay, e)
			if err != nil {
				return table, fmt.Errorf("%s: %w", m.Name, err)
			}
			if m.Name != unchanged.Name {
				table = append(table, o)
			} else if o.Caught {
				fails[e] = true
			}
			fmt.Fprintln(progress, o.line())
		}
	}
	if len(fails) > 0 {
		return table, fmt.Errorf("%d exams were left out: they fail in the unchanged program", len(fails))
	}
	return table, nil
}

// overlay lays a mutant over the source tree and returns the file for -overlay.
func (h *Harness) overlay(m Mutant) (file string, err error) {
	dir := filepath.Join(h.tmp, "mutant")
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
		return "", err
	}
	replace := map[string]string{}
	if m.file != "" {
		if replace, err = m.apply(h.Root, filepath.Join(dir)); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file = filepath.Join(h.tmp, "overlay.json")
	return file, os.WriteFile(file, text, 0o600)
}

// examine builds what the exam needs and runs it. Everything but a clean end counts as
// noticed; an error says that it cannot be built.
func (h *Harness) examine(name, overlay string, e Exam) (finding, error) {
	program := filepath.Join(h.tmp, "program-"+e.Lab)
	build := []string{"build", "-overlay", overlay, "-o", program, "./fuzz/" + e.Lab}
	arguments := append(
		[]string{"-mode", e.Mode, "-seed", fmt.Sprint(max(1, h.Seed)), "-json"},
		strings.Fields(e.Flags)...)
	if e.Lab == Test {
		build = []string{"test", "-c", "-overlay", overlay, "-o", program, e.Mode}
		arguments = []string{"-test.run", "^" + e.Flags + "$"}
	}
	c := exec.CommandContext(h.ctx, "go", build...)
	c.Dir = h.Root
	if out, err := c.CombinedOutput(); err != nil {
		return finding{}, fmt.Errorf("%w: %s", err, out)
	}
	o := h.try(program, overlay, e, arguments)
	o.Mutant = name
	return o, h.ctx.Err()
}

// try runs the program of one exam.
func (h *Harness) try(program, overlay string, e Exam, arguments []string) finding {
	ctx, cancel := context.WithTimeout(h.ctx, examLimit)
	defer cancel()
	c := exec.CommandContext(ctx, program, arguments...)
	c.Dir = h.Root
	if e.Lab == Test {
		c.Dir = filepath.Join(h.Root, e.Mode)
	}
	// Some modes build the program once more, with kill points: with the same defect.
	flags := strings.TrimSpace(os.Getenv("GOFLAGS") + " -overlay=" + overlay)
	c.Env = append(os.Environ(), h.Patience+"="+examPatience.String(), shm.EnvDir+"="+h.rings,
		"TMPDIR="+h.tmp, "GOFLAGS="+flags)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return kill(c) }
	c.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	begin := time.Now()
	err := c.Run()
	if c.Process != nil {
		_ = kill(c) // the children of a laboratory that has crashed
	}
	h.clear(e.Lab)
	o := finding{Lab: e.Lab, Mode: e.Mode, Caught: true, Seconds: time.Since(begin).Seconds()}
	switch {
	case ctx.Err() != nil:
		o.Problem = fmt.Sprintf("no end within %v", examLimit)
	case e.Lab == Test:
		o.Mode += " " + e.Flags
		o.Problem, _, _ = strings.Cut(stdout.String(), "\n")
		o.Caught = err != nil
	default:
		o.judge(stdout.Bytes(), stderr.String(), err)
	}
	if !o.Caught {
		o.Problem, o.Repeat = "", strings.Join(arguments, " ")
	}
	return o
}

// judge reads what a laboratory has printed.
func (o *finding) judge(stdout []byte, stderr string, err error) {
	var r struct {
		OK       bool     `json:"ok"`
		Problems []string `json:"problems"`
	}
	switch {
	case json.Unmarshal(stdout, &r) != nil:
		text, _, _ := strings.Cut(strings.TrimSpace(stderr), "\n")
		o.Problem = fmt.Sprintf("crash: %v: %s", err, text)
	case r.OK && err == nil:
		o.Caught = false
	case len(r.Problems) > 0:
		o.Problem, _, _ = strings.Cut(r.Problems[0], "\n")
	default:
		o.Problem = fmt.Sprint(errors.Join(err, errors.New("not ok")))
	}
}

// kill ends a laboratory and its children, which are in its process group.
func kill(c *exec.Cmd) error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }

// clear removes what a laboratory that was killed has left behind.
func (h *Harness) clear(lab string) {
	for _, dir := range []string{h.rings, h.tmp} {
		left, _ := filepath.Glob(filepath.Join(dir, lab+"-*"))
		for _, path := range left {
			_ = os.RemoveAll(path)
		}
	}
}

func (o finding) line() string {
	verdict := "caught"
	switch {
	case o.Mutant == "unchanged" && o.Caught:
		verdict = "FAILS"
	case o.Mutant == "unchanged":
		verdict = "ok"
	case !o.Caught:
		verdict = "SURVIVED " + o.Repeat
	}
	text := fmt.Sprintf("%-7s %-12s %-32s %s (%.1f s) %.150s", o.Lab, o.Mode, o.Mutant, verdict, o.Seconds, o.Problem)
	return strings.TrimSpace(text)
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
