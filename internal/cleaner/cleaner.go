// Package cleaner removes the directory of a test whatever the test's process ends of: a panic, a
// signal, or the end of a native fuzz run, which kills its workers in the middle of a call. A second
// process, the test binary once more, waits for that.
package cleaner

import (
	"io"
	"os"
	"os/exec"
)

// env names the directory to the process that is to remove it.
const env = "SHMRING_CLEANER_DIR"

// Main is to be called first in TestMain. In a process that Start has started it calls remove when
// the other one has ended, and does not return; in others it does nothing.
func Main(remove func(dir string) error) {
	dir := os.Getenv(env)
	if dir == "" {
		return
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // ends when the other side is closed, by whomever
	if remove(dir) != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// Start has a directory removed when this process ends, or calls dismiss, which returns when it is gone.
func Start(dir string) (dismiss func() error, err error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(executable)
	cmd.Env = append(os.Environ(), env+"="+dir)
	ownGroup(cmd) // a terminal or timeout(1) signals all of a group
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() error {
		_ = in.Close() // it was open
		return cmd.Wait()
	}, nil
}
