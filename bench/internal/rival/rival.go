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

// Flags of every program. The Go side is built as it is for everyone, so neither is
// tuned for the processor it runs on.
var Flags = []string{"-std=c++20", "-O2", "-pthread"}

// Build returns the path of the program's binary, from the cache where there is one, and
// works below a directory that somebody else removes. The error is an *AbsentError where
// something is missing.
func (p *Program) Build(ctx context.Context, below string) (string, error) {
	version := Version()
	if version == "" {
		return "", &AbsentError{Compiler + " is not installed", strings.TrimSpace(CompilerPackage + " " + p.Package)}
	}
	source, err := sources.ReadFile("src/" + p.Source)
	if err != nil {
		return "", err
	}
	header, err := sources.ReadFile("src/rival.hpp")
	if err != nil {
		return "", err
	}
	flags := append(append([]string{}, Flags...), p.Flags...)
	sum := sha256.Sum256(fmt.Append(nil, version, flags, string(source), string(header)))
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
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(work, p.Source), source, 0o600),
		os.WriteFile(filepath.Join(work, "rival.hpp"), header, 0o600)); err != nil {
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
