// Package strace runs programs under strace and reads what it writes: the table of
// strace -c and the log of strace -f. It is for tests, laboratories and benchmarks.
package strace

import (
	"fmt"
	"iter"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// Find returns the path of strace. The error says why it cannot trace here: there is none,
// or the system does not permit it.
func Find() (string, error) {
	path, err := exec.LookPath("strace")
	if err != nil {
		return "", fmt.Errorf("no strace here: install the package strace: %w", err)
	}
	if out, err := exec.Command(path, "-f", "--seccomp-bpf", "-c", "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		return "", fmt.Errorf("strace may not trace here: %w: %.200s", err, out)
	}
	return path, nil
}

// Table reads the table of strace -c: how often each system call was made, by its name.
// "total" is not among the names.
func Table(text string) (map[string]int, error) {
	calls := map[string]int{}
	complete := false
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 4 || f[len(f)-1] == "syscall" || strings.HasPrefix(f[0], "-") {
			continue
		}
		n, err := strconv.Atoi(f[3]) // the fourth column; the fifth, errors, may be empty
		if err != nil {
			return nil, fmt.Errorf("the table of strace: %q: %w", line, err)
		}
		if f[len(f)-1] == "total" {
			complete = true
		} else {
			calls[f[len(f)-1]] = n
		}
	}
	if !complete {
		return nil, fmt.Errorf("no total in the table of strace: %.200q", text)
	}
	return calls, nil
}

// Log reads the log of strace -f: the name of each call, and the text behind its opening
// bracket. A call that was interrupted has two lines, of which the first counts.
func Log(text string) iter.Seq2[string, string] {
	return func(yield func(name, arguments string) bool) {
		for line := range strings.Lines(text) {
			_, call, _ := strings.Cut(strings.TrimSpace(line), " ") // behind the thread's id
			name, arguments, found := strings.Cut(strings.TrimSpace(call), "(")
			if found && !strings.ContainsAny(name, "<+- ") && !yield(name, arguments) {
				return
			}
		}
	}
}
