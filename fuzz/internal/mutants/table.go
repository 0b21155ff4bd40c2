package mutants

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Mutant is a deliberate defect of the library.
type Mutant struct {
	Name   string
	Breaks string // what is wrong then
	Edits  []Edit
	Modes  []Exam // that must notice
}

// Edit replaces a text that a file of the source tree has once.
type Edit struct{ File, Old, New string }

// Exam is a mode and the flags with which it suffices.
type Exam struct{ Mode, Flags string }

// Check tells what is wrong with a table: each text has to be in its file once, where
// edits of one file do not disturb each other, and each mode has at least that many
// mutants to notice.
func Check(table []Mutant, root string, modes []string, least int) error {
	by := map[string]int{}
	names := map[string]bool{}
	for _, m := range table {
		if names[m.Name] || len(m.Modes) == 0 {
			return fmt.Errorf("%s: there twice, or nobody has to notice", m.Name)
		}
		names[m.Name] = true
		for _, e := range m.Modes {
			by[e.Mode]++
		}
		if _, err := m.apply(root); err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
	}
	for _, mode := range modes {
		if by[mode] < least {
			return fmt.Errorf("mode %s has %d mutants to notice, want %d", mode, by[mode], least)
		}
	}
	return nil
}

// apply returns the changed files.
func (m Mutant) apply(root string) (map[string]string, error) {
	files := map[string]string{}
	for _, e := range m.Edits {
		path := filepath.Join(root, e.File)
		if files[path] == "" {
			text, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			files[path] = string(text)
		}
		if n := strings.Count(files[path], e.Old); n != 1 {
			return nil, fmt.Errorf("the table is out of date: %s has %d times %q", e.File, n, e.Old)
		}
		files[path] = strings.Replace(files[path], e.Old, e.New, 1)
	}
	return files, nil
}
