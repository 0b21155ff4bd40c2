package tool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/shmring/shmring/cmd/internal/cli"
)

// relayProgram is a program of its own, in a module of its own: who wants rings gets no NATS with them.
const relayProgram = "shmring-relay"

// relay becomes the program that relays, and returns only if that cannot be.
func relay(args []string, stderr io.Writer) int {
	path, err := relayPath()
	if err == nil {
		err = syscall.Exec(path, append([]string{relayProgram}, args...), os.Environ())
	}
	fmt.Fprintf(stderr, "shmring relay: %v\n", err)
	return cli.Failed
}

// relayPath finds the program beside this one, or in $PATH.
func relayPath() (string, error) {
	if own, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(own), relayProgram)
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	path, err := exec.LookPath(relayProgram)
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("no program %s beside this one or in $PATH: go install "+
			"github.com/shmring/shmring/cmd/%[1]s@latest", relayProgram)
	}
	return path, err
}
