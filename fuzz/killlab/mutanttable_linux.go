package main

import (
	"slices"
	"strings"
	"time"
)

// exams are the experiments that mutants go through. Those with a plus are longer, for
// what takes luck to hit.
var exams = map[string]exam{
	"random":    {"random", 60, 0},
	"takeover":  {"takeover", 20, 0},
	"takeover+": {"takeover", 60, 0},
	"storm":     {"storm", 12, 6 * time.Second},
	"storm+":    {"storm", 12, 15 * time.Second},
	"points":    {"points", 100, 0},
	"step":      {"step", 12, 0},
	"hole":      {"hole", 60, 0},
	"stop":      {"stop", 24, 0},
	"pidreuse":  {"pidreuse", 20, 0},
	"pidns":     {"pidns", 12, 0},
	"zombie":    {"zombie", 10, 0},
}

// in lists exams by their names.
func in(list string) (some []exam) {
	for name := range strings.FieldsSeq(list) {
		some = append(some, exams[name])
	}
	return some
}

// mutants is the table: what may be broken, and which modes must notice.
func mutants() []mutant {
	return slices.Concat(mutantsOfMessages, mutantsOfDeath, mutantsOfRoles)
}
