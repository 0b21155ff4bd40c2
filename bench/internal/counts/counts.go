// Package counts counts what does not depend on the clock: instructions, LOCKed
// instructions, system calls and allocations of the operations that move a message
// while both sides are awake. A file with them is kept, and who changes them learns of
// it.
//
// A process that does each operation alone is stepped through instruction by
// instruction, with all its other threads stopped, so the numbers are exact and repeat.
// Neither valgrind, whose scheduler of threads Go programs do not bear well, nor the
// processor's counters, which virtual machines hide, are needed.
package counts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// Count is what one operation costs.
type Count struct {
	Instructions int     `json:"instructions"`
	Locked       int     `json:"locked"` // with LOCK, or XCHG with memory
	Syscalls     int     `json:"syscalls"`
	Allocs       float64 `json:"allocs"`
}

// File is what is kept.
type File struct {
	Go     string           `json:"go"`
	Arch   string           `json:"arch"`
	Counts map[string]Count `json:"counts"`
}

// slack is how many instructions more or less nobody needs to know about: a change of
// some other line moves registers about.
const slack = 0.05

// Compare tells what is different. The error is not nil if that has to be looked at.
func Compare(kept, now *File) (string, error) {
	var b strings.Builder
	var bad []string
	sameCode := kept.Go == now.Go && kept.Arch == now.Arch
	if !sameCode {
		fmt.Fprintf(&b, "kept: %s %s; here: %s %s: instructions are not compared\n", kept.Go, kept.Arch, now.Go, now.Arch)
	}
	for _, name := range names(kept, now) {
		k, inKept := kept.Counts[name]
		n, inNow := now.Counts[name]
		switch {
		case !inKept:
			bad = append(bad, name)
			fmt.Fprintf(&b, "%-44s is new: %+v\n", name, n)
			continue
		case !inNow:
			bad = append(bad, name)
			fmt.Fprintf(&b, "%-44s is gone\n", name)
			continue
		}
		before := len(bad)
		line := func(what string, was, is float64, matters bool) {
			if was == is {
				return
			}
			verdict := "within the slack"
			if matters {
				verdict = map[bool]string{true: "MORE", false: "less"}[is > was]
				bad = append(bad, name)
			}
			fmt.Fprintf(&b, "%-44s %-14s %6.4g, was %6.4g  %s\n", name, what, is, was, verdict)
		}
		if sameCode {
			was, is := float64(k.Instructions), float64(n.Instructions)
			line("instructions", was, is, is > was*(1+slack)+2 || is < was*(1-slack)-2)
		}
		if kept.Arch == now.Arch {
			line("LOCKed", float64(k.Locked), float64(n.Locked), true)
			line("system calls", float64(k.Syscalls), float64(n.Syscalls), true)
		}
		line("allocations", k.Allocs, n.Allocs, true)
		if len(bad) == before && sameCode {
			fmt.Fprintf(&b, "%-44s as kept: %d instructions, %d LOCKed, %d system calls, %g allocations\n", name,
				n.Instructions, n.Locked, n.Syscalls, n.Allocs)
		}
	}
	if len(bad) > 0 {
		return b.String(),
			fmt.Errorf("counts of %d operations have changed: undo that, or keep them with go run . -counts -update",
				len(slices.Compact(bad)))
	}
	return b.String(), nil
}

func names(files ...*File) []string {
	seen := map[string]bool{}
	var list []string
	for _, f := range files {
		for name := range f.Counts {
			if !seen[name] {
				seen[name] = true
				list = append(list, name)
			}
		}
	}
	slices.Sort(list)
	return list
}

// Gate counts, and compares with the file, or writes it.
func Gate(executable, dir, path string, update bool) (string, error) {
	now, err := Measure(executable, dir)
	if errors.Is(err, errors.ErrUnsupported) {
		return err.Error() + "\n", nil
	}
	if err != nil {
		return "", err
	}
	kept := &File{Counts: map[string]Count{}}
	data, err := os.ReadFile(path)
	if err == nil {
		if err := json.Unmarshal(data, kept); err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
	} else if !update || !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	said, changed := Compare(kept, now)
	if !update {
		return said, changed
	}
	if data, err = json.MarshalIndent(now, "", "  "); err != nil {
		return "", err
	}
	return said + "kept in " + path + "\n", os.WriteFile(path, append(data, '\n'), 0o644)
}
