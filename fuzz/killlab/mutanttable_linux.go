package main

import (
	"slices"
	"strings"

	"github.com/shmring/shmring/fuzz/internal/mutants"
)

// exams are the experiments that mutants go through. Those with a plus are longer, for
// what takes luck to hit.
var exams = map[string]exam{
	"random":    {"random", "-short -n 60"},
	"takeover":  {"takeover", "-short -n 20"},
	"takeover+": {"takeover", "-short -n 60"},
	"storm":     {"storm", "-short -n 12 -duration 6s"},
	"storm+":    {"storm", "-short -n 12 -duration 15s"},
	"points":    {"points", "-short -n 100"},
	"step":      {"step", "-short -n 12"},
	"hole":      {"hole", "-short -n 60"},
	"stop":      {"stop", "-short -n 24"},
	"pidreuse":  {"pidreuse", "-short -n 20"},
	"pidns":     {"pidns", "-short -n 12"},
	"zombie":    {"zombie", "-short -n 10"},
}

// in lists exams by their names.
func in(list string) (some []exam) {
	for name := range strings.FieldsSeq(list) {
		some = append(some, exams[name])
	}
	return some
}

// mutantTable is the table: what may be broken, and which modes must notice.
func mutantTable() (table []mutants.Mutant) {
	for _, m := range slices.Concat(mutantsOfMessages, mutantsOfDeath, mutantsOfRoles) {
		table = append(table, m.keyed())
	}
	return table
}
