package runner

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// CleanerCommand is the subcommand that is the cleaner.
const CleanerCommand = "cleaner"

// Cleaner is a process that removes what we made if we are killed and cannot do it
// ourselves.
type Cleaner struct {
	cmd *exec.Cmd
	in  io.WriteCloser
}

// HireCleaner starts one.
func HireCleaner(executable string) (*Cleaner, error) {
	cmd := exec.Command(executable, CleanerCommand)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what ends us by the group does not end it
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	return &Cleaner{cmd, in}, cmd.Start()
}

// Tell names something that has to go: a directory, a prefix of files, a SysV object.
func (j *Cleaner) Tell(kind, what string) { fmt.Fprintf(j.in, "%s %s\n", kind, what) }

// Dismiss ends it: all is removed.
func (j *Cleaner) Dismiss() error {
	fmt.Fprintln(j.in, "done")
	return errors.Join(j.in.Close(), j.cmd.Wait())
}

// BeCleaner is the process: it listens until whoever started it is gone.
func BeCleaner(in io.Reader) int {
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	var told []string
	for s := bufio.NewScanner(in); s.Scan(); {
		told = append(told, s.Text())
	}
	if len(told) > 0 && told[len(told)-1] == "done" {
		return 0
	}
	for _, line := range told {
		kind, what, _ := strings.Cut(line, " ")
		switch kind {
		case "dir":
			os.RemoveAll(what)
		case "prefix":
			removePrefix(what)
		default:
			id, err := strconv.Atoi(what)
			if err == nil {
				removeSysV(kind, id)
			}
		}
	}
	return 0
}

func removePrefix(prefix string) {
	files, _ := filepath.Glob(prefix + "*")
	for _, f := range files {
		os.Remove(f)
	}
}

// removeSysV removes an object that may be gone already: ids are not used again soon.
func removeSysV(kind string, id int) {
	switch kind {
	case "msg":
		unix.Syscall(unix.SYS_MSGCTL, uintptr(id), unix.IPC_RMID, 0)
	case "shm":
		unix.SysvShmCtl(id, unix.IPC_RMID, nil)
	case "sem":
		unix.Syscall6(unix.SYS_SEMCTL, uintptr(id), 0, unix.IPC_RMID, 0, 0, 0)
	}
}
