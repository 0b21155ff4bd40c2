package cli

import "strings"

// Oneline is the text of an error on one line, without the library's own prefix: the
// program's name stands there already.
func Oneline(err error) string {
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' })
	for i, l := range lines {
		lines[i] = strings.TrimPrefix(l, "shmring: ")
	}
	return strings.Join(lines, "; ")
}

// Failure is what -json prints of an error.
type Failure struct {
	Error    string `json:"error"`
	ExitCode int    `json:"exit_code"`
}

// FailureOf describes an error.
func FailureOf(err error) Failure { return Failure{Oneline(err), Code(err)} }
