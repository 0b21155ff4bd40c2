package mutants

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Port says of each patch that does not apply to the source tree why not. With write it
// tries a three-way merge with the commit that is checked out, in a clone, and rewrites
// the patches with which that goes well; of the others it shows the conflict. An error says
// how many remain.
func Port(root string, list []Mutant, write bool, w io.Writer) error {
	clone, remain := "", 0
	if write {
		dir, err := os.MkdirTemp("", "mutants-port-*")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		clone = filepath.Join(dir, "clone")
		root, err := filepath.Abs(root)
		if err != nil {
			return err
		}
		if _, err := git(dir, "clone", "--quiet", "--shared", root, clone); err != nil {
			return err
		}
	}
	for _, m := range list {
		problem := m.check(root)
		if problem == nil {
			continue
		}
		if !write {
			remain++
			fmt.Fprintln(w, problem)
			continue
		}
		conflict, err := m.merge(clone)
		switch {
		case err != nil:
			remain++
			fmt.Fprintf(w, "%v\n  %v\n%s", problem, err, indented(conflict))
		default:
			fmt.Fprintf(w, "%s was ported: see that it still breaks what it should\n", m.Name)
		}
	}
	fmt.Fprintf(w, "%d of %d patches do not apply\n", remain, len(list))
	if remain > 0 {
		return errors.New("some patches do not apply")
	}
	return nil
}

// merge applies the patch to a clone and rewrites it from the outcome. It returns the
// conflict along with an error.
func (m Mutant) merge(clone string) (conflict string, err error) {
	if _, err := git(clone, "reset", "--quiet", "--hard", "HEAD"); err != nil {
		return "", err
	}
	if err := m.git(clone, "apply", "--3way"); err != nil {
		conflict, _ = git(clone, "diff", "--no-color", "HEAD")
		return conflict, err
	}
	diff, err := git(clone, "diff", "--no-color", "--full-index", "HEAD")
	if err != nil {
		return "", err
	}
	if diff == "" {
		return "", fmt.Errorf("%s changes nothing any more", m.Name)
	}
	return "", os.WriteFile(m.file, []byte(m.head+diff), 0o644)
}

func indented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("    " + line)
	}
	return b.String()
}
