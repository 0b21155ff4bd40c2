package main

import "github.com/shmring/shmring/fuzz/internal/mutants"

// Lines of the table, which are easier to read without the names of fields.
type (
	mutant struct {
		name   string
		breaks string
		edits  []edit
		modes  []exam
	}
	edit struct{ File, Old, New string }
	exam struct{ Mode, Flags string }
)

func (m mutant) keyed() mutants.Mutant {
	k := mutants.Mutant{Name: m.name, Breaks: m.breaks}
	for _, e := range m.edits {
		k.Edits = append(k.Edits, mutants.Edit(e))
	}
	for _, e := range m.modes {
		k.Modes = append(k.Modes, mutants.Exam(e))
	}
	return k
}
