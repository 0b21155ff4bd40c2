package mutants

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Dir is where the patches are, below the root of the source tree.
const Dir = "fuzz/mutants"

const suffix = ".patch"

// Test is the Lab of an exam that is a test: Mode is its package and Flags its name.
const Test = "test"

// Mutant is a deliberate defect of the library.
type Mutant struct {
	Name   string
	Breaks string // what is wrong then
	Exams  []Exam // that must notice

	file string // absolute, or relative to the working directory
	head string // with the empty line
}

// Exam is a mode of a laboratory and the flags with which it suffices, or a test.
type Exam struct{ Lab, Mode, Flags string }

func (e Exam) String() string { return strings.TrimSpace(e.Lab + " " + e.Mode + " " + e.Flags) }

// Root is the root of the source tree: where the go command finds the module.
func Root(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/shmring/shmring").Output()
	if err != nil {
		return "", fmt.Errorf("where is the source tree: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Load reads all patches below the root of the source tree, sorted by name.
func Load(root string) (list []Mutant, err error) {
	files, err := filepath.Glob(filepath.Join(root, Dir, "*"+suffix))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		m, err := parse(string(text))
		m.file, m.Name = file, strings.TrimSuffix(filepath.Base(file), suffix)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		list = append(list, m)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: no patches", filepath.Join(root, Dir))
	}
	return list, nil
}

// parse reads the head of a patch.
func parse(text string) (m Mutant, err error) {
	head, _, found := strings.Cut(text, "\n\n")
	if !found {
		return m, errors.New("no empty line ends the head")
	}
	m.head = head + "\n\n"
	for line := range strings.Lines(head) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "Breaks":
			m.Breaks = value
		case "Caught-by":
			words := strings.Fields(value)
			if len(words) < 2 || words[0] == Test && len(words) != 3 {
				return m, fmt.Errorf("%q: want LAB MODE [FLAGS] or test PACKAGE NAME", value)
			}
			m.Exams = append(m.Exams, Exam{words[0], words[1], strings.Join(words[2:], " ")})
		default:
			return m, fmt.Errorf("%q is neither Breaks nor Caught-by", line)
		}
	}
	if m.Breaks == "" || len(m.Exams) == 0 {
		return m, errors.New("the head does not say what it breaks, or who has to notice")
	}
	return m, nil
}

// Check returns an error for each patch that does not apply to the source tree.
func Check(root string, list []Mutant) error {
	var all []error
	for _, m := range list {
		if err := m.check(root); err != nil {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

func (m Mutant) check(root string) error {
	if err := m.git(root, "apply", "--check"); err != nil {
		return fmt.Errorf("%s does not apply: %w", m.Name, err)
	}
	return nil
}

// CheckTable returns what is wrong with a laboratory's part of the table: a patch that
// does not apply, a mode that is not one of these, or one that has fewer than least
// mutants to notice.
func CheckTable(root, lab string, modes []string, least int) error {
	all, err := Load(root)
	if err != nil {
		return err
	}
	list := Select(all, lab, "", nil)
	problems := []error{Check(root, list)}
	counts := map[string]int{}
	for _, m := range list {
		for _, e := range m.Exams {
			counts[e.Mode]++
			if !slices.Contains(modes, e.Mode) {
				problems = append(problems, fmt.Errorf("%s: %s has no mode %s", m.Name, lab, e.Mode))
			}
		}
	}
	for _, mode := range modes {
		if counts[mode] < least {
			problems = append(problems, fmt.Errorf("mode %s has %d mutants to notice, want %d", mode, counts[mode], least))
		}
	}
	return errors.Join(problems...)
}

// Select returns the mutants of those names, with those of their exams that belong to a
// laboratory and a mode. Empty means any.
func Select(all []Mutant, lab, mode string, names []string) (list []Mutant) {
	for _, m := range all {
		if len(names) > 0 && !slices.Contains(names, m.Name) {
			continue
		}
		m.Exams = slices.DeleteFunc(slices.Clone(m.Exams), func(e Exam) bool {
			return lab != "" && lab != e.Lab || mode != "" && mode != "all" && mode != e.Mode
		})
		if len(m.Exams) > 0 {
			list = append(list, m)
		}
	}
	return list
}

// git runs a command on the patch in a directory, which need not be a repository.
func (m Mutant) git(dir string, command ...string) error {
	file, err := filepath.Abs(m.file)
	if err != nil {
		return err
	}
	_, err = git(dir, append(command, "--whitespace=nowarn", file)...)
	return err
}

// git runs git in a directory. A repository around the directory does not count.
func git(dir string, arguments ...string) (stdout string, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", err
	}
	c := exec.Command("git", arguments...)
	c.Dir = dir
	c.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir), "LC_ALL=C")
	out, err := c.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("git %s: %w: %s", arguments[0], err, strings.TrimSpace(string(exit.Stderr)))
	}
	return string(out), err
}
