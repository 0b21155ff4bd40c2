// Package rival builds the programs in C and C++ that shmring is compared with. Their
// sources are in src and in this binary.
package rival

import (
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

//go:embed src
var sources embed.FS

// Program is one rival.
type Program struct {
	Source  string // in src
	Flags   []string
	Package string // of Debian, for its headers; empty: none needed
}

// AbsentError tells that a program cannot be built here, and what would help.
type AbsentError struct {
	Reason  string
	Package string
}

func (e *AbsentError) Error() string { return e.Reason }

// Compiler is what builds them all.
const Compiler = "g++"

// CompilerPackage is the Debian package of it.
const CompilerPackage = "g++"

// Version is that of the compiler, or empty.
func Version() string {
	out, err := exec.Command(Compiler, "--version").Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}

// Native lets the compiler use all that the processor it runs on can do. A program made with
// it is kept for that processor only.
const Native = "-march=native"

// processor is what /proc/cpuinfo says that one can do.
func processor() []byte {
	data, _ := os.ReadFile("/proc/cpuinfo") // without it: the compiler's version tells machines apart well enough
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "flags") || strings.HasPrefix(line, "Features") {
			return []byte(line)
		}
	}
	return nil
}

// Flags of every program. The Go side is built as it is for everyone, so neither is
// tuned for the processor it runs on; the raw ring, which is to be as quick as can be, is.
var Flags = []string{"-std=c++20", "-O2", "-pthread"}

// Build returns the path of the program's binary, from the cache where there is one, and
// works below a directory that somebody else removes. The error is an *AbsentError where
// something is missing.
func (p *Program) Build(ctx context.Context, below string) (string, error) {
	version := Version()
	if version == "" {
		return "", &AbsentError{Compiler + " is not installed", strings.TrimSpace(CompilerPackage + " " + p.Package)}
	}
	files := []string{p.Source, "rival.hpp", "raw_ring.h"}
	text := map[string][]byte{}
	for _, name := range files {
		var err error
		if text[name], err = sources.ReadFile("src/" + name); err != nil {
			return "", err
		}
	}
	flags := append(append([]string{}, Flags...), p.Flags...)
	made := fmt.Append(nil, version, flags)
	if slices.Contains(flags, Native) {
		made = append(made, processor()...)
	}
	for _, name := range files {
		made = append(made, text[name]...)
	}
	sum := sha256.Sum256(made)
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "shmring-bench")
	name := strings.TrimSuffix(p.Source, filepath.Ext(p.Source))
	binary := filepath.Join(dir, fmt.Sprintf("%s-%x", name, sum[:8]))
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	work, err := os.MkdirTemp(below, "build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	errs := []error{os.MkdirAll(dir, 0o755)}
	for _, name := range files {
		errs = append(errs, os.WriteFile(filepath.Join(work, name), text[name], 0o600))
	}
	if err := errors.Join(errs...); err != nil {
		return "", err
	}
	// Libraries follow the source that needs them.
	args := append(append(append([]string{}, Flags...), "-o", "out", p.Source), p.Flags...)
	cmd := exec.CommandContext(ctx, Compiler, args...)
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "TMPDIR="+work)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", p.explain(string(out), err)
	}
	return binary, install(filepath.Join(work, "out"), binary)
}

func (p *Program) explain(out string, err error) error {
	for line := range strings.Lines(out) {
		if strings.Contains(line, "No such file") || strings.Contains(line, "cannot find -l") {
			_, what, _ := strings.Cut(strings.TrimSpace(line), "rror: ")
			return &AbsentError{what, p.Package}
		}
	}
	return fmt.Errorf("%s %s: %w\n%s", Compiler, p.Source, err, out)
}

// install puts a finished file in the cache in one step: another run may do the same.
func install(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(to), ".new-")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o755), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), to)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
