package mutants

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/shm"
)

// examLimit is when an exam that does not end is ended.
const examLimit = 2 * time.Minute

// examPatience is what the laboratory's patience is for mutants: most of them are stuck.
const examPatience = 3 * time.Second

// harness runs exams in a copy of the source tree.
type harness struct {
	tmp   string // with the copy in tree
	rings string
	seed  uint64
}

// Run patches a copy of the source tree with one mutant after the other, has each noticed
// by its exams, and prints a line for each. What an exam notices in a mutant must not be
// there without it, so one that fails in the unchanged tree is left out. An error says
// that some were left out, survived, or could not be built.
func Run(ctx context.Context, root string, chosen []Mutant, seed uint64, stdout io.Writer) (err error) {
	h := &harness{seed: seed}
	if h.tmp, err = os.MkdirTemp("", "mutants-*"); err != nil {
		return err
	}
	defer os.RemoveAll(h.tmp)
	if h.rings, err = os.MkdirTemp(labs.Memory(), "mutants-*"); err != nil {
		return err
	}
	defer os.RemoveAll(h.rings)
	if err := h.copyTree(root); err != nil {
		return err
	}
	fails := map[Exam]bool{}
	caught, survived, left := 0, 0, 0
	for _, m := range append([]Mutant{unchanged(chosen)}, chosen...) {
		if m.file != "" {
			if err := m.git(h.tree(), "apply"); err != nil {
				return fmt.Errorf("%s does not apply: %w", m.Name, err)
			}
		}
		for _, e := range m.Exams {
			if fails[e] {
				continue
			}
			begin := time.Now()
			problem, err := h.examine(ctx, e)
			if err != nil {
				return fmt.Errorf("%s: %w", m.Name, err)
			}
			verdict := ""
			switch {
			case m.file == "" && problem == "":
				verdict = "ok"
			case m.file == "":
				verdict, fails[e] = "FAILS", true
				left++
			case problem == "":
				verdict = "SURVIVED"
				survived++
			default:
				verdict = "caught"
				caught++
			}
			fmt.Fprintf(stdout, "%-32s %-32s %s (%.1f s) %.150s\n", m.Name, e, verdict, time.Since(begin).Seconds(), problem)
		}
		if m.file != "" {
			if err := m.git(h.tree(), "apply", "--reverse"); err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(stdout, "%d of %d mutants caught\n", caught, caught+survived)
	if left > 0 || survived > 0 {
		return fmt.Errorf("%d survived; %d exams were left out: they fail in the unchanged tree", survived, left)
	}
	return nil
}

// unchanged is no mutant, with the exams of all.
func unchanged(chosen []Mutant) Mutant {
	m := Mutant{Name: "unchanged"}
	known := map[Exam]bool{}
	for _, c := range chosen {
		for _, e := range c.Exams {
			if !known[e] {
				known[e] = true
				m.Exams = append(m.Exams, e)
			}
		}
	}
	return m
}

func (h *harness) tree() string { return filepath.Join(h.tmp, "tree") }

// copyTree copies what git tracks, and what it does not ignore, as it is now.
func (h *harness) copyTree(root string) error {
	list, err := git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return err
	}
	c := exec.Command("cp", "--parents", "--no-dereference", "--target-directory", h.tree(), "--")
	c.Dir = root
	for name := range strings.SplitSeq(strings.TrimSuffix(list, "\x00"), "\x00") {
		if _, err := os.Lstat(filepath.Join(root, name)); err == nil { // git does not know yet what was removed
			c.Args = append(c.Args, name)
		}
	}
	if err := os.Mkdir(h.tree(), 0o700); err != nil {
		return err
	}
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("copy the source tree: %w: %s", err, out)
	}
	return nil
}

// examine builds what the exam needs and runs it. It returns the first problem, and an
// error if it cannot be built.
func (h *harness) examine(ctx context.Context, e Exam) (problem string, err error) {
	program, dir := filepath.Join(h.tmp, "program"), h.tree()
	build := []string{"build", "-o", program, "./fuzz/" + e.Lab}
	arguments := append([]string{"-mode", e.Mode, "-seed", fmt.Sprint(max(1, h.seed))}, strings.Fields(e.Flags)...)
	if e.Lab == Test {
		// With the tests that need kill points; the others do not notice those.
		build = []string{"test", "-tags", "killpoint", "-c", "-o", program, e.Mode}
		arguments = []string{"-test.run", "^" + e.Flags + "$"}
		dir = filepath.Join(dir, e.Mode)
	}
	c := exec.CommandContext(ctx, "go", build...)
	c.Dir = h.tree()
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	limited, cancel := context.WithTimeout(ctx, examLimit)
	defer cancel()
	c = exec.CommandContext(limited, program, arguments...)
	c.Dir = dir
	c.Env = append(os.Environ(), labs.PatienceEnv+"="+examPatience.String(), shm.EnvDir+"="+h.rings, "TMPDIR="+h.tmp)
	// Its children, also those of a laboratory that has crashed, are in its process group.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = 5 * time.Second
	out, err := c.CombinedOutput()
	if c.Process != nil {
		_ = c.Cancel()
	}
	h.clear(e.Lab)
	if e.Lab == Test && strings.Contains(string(out), "testing: warning: no tests to run") {
		return "", fmt.Errorf("no test is called %s in %s", e.Flags, e.Mode)
	}
	switch {
	case limited.Err() != nil:
		problem = fmt.Sprintf("no end within %v", examLimit)
	case err != nil:
		problem = first(string(out), err)
	}
	return problem, ctx.Err()
}

var problemLine = regexp.MustCompile(`(?m)^ +! (.*)$`)

// first is the first problem that a laboratory has printed, or the first line.
func first(out string, err error) string {
	if line := problemLine.FindStringSubmatch(out); line != nil {
		return line[1]
	}
	line, _, _ := strings.Cut(strings.TrimSpace(out), "\n")
	return errors.Join(err, errors.New(line)).Error()
}

// clear removes what a laboratory that was killed has left behind.
func (h *harness) clear(lab string) {
	for _, dir := range []string{h.rings, h.tmp} {
		left, _ := filepath.Glob(filepath.Join(dir, lab+"-*"))
		for _, path := range left {
			_ = os.RemoveAll(path)
		}
	}
}
