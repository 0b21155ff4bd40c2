package stepper

import (
	"fmt"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Stopped are threads of one process that stand still.
type Stopped struct{ tids []int }

// Stop stops all threads of a process but one; 0: all. After an error those that it
// stopped are to be released all the same.
func Stop(pid, but int) (s Stopped, err error) {
	for again := true; again; { // nobody is left to start another one when a round finds none
		list, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return s, err
		}
		again = false
		for _, e := range list {
			tid, err := strconv.Atoi(e.Name())
			if err != nil || tid == but || slices.Contains(s.tids, tid) {
				continue
			}
			if err := unix.PtraceSeize(tid); err != nil {
				return s, fmt.Errorf("ptrace: seize: %w", err)
			}
			s.tids = append(s.tids, tid)
			if err := unix.PtraceInterrupt(tid); err != nil {
				return s, fmt.Errorf("ptrace: interrupt: %w", err)
			}
			if tid == pid && but != 0 {
				continue // see Stepper.Reap; it will have stopped when it next comes out of the kernel
			}
			if _, err := wait(tid); err != nil {
				return s, err
			}
			again = true
		}
	}
	return s, nil
}

// Release lets the threads go on.
func (s Stopped) Release() error {
	for _, tid := range s.tids {
		if err := unix.PtraceDetach(tid); err != nil {
			return fmt.Errorf("ptrace: detach: %w", err)
		}
	}
	return nil
}

// wait waits until a thread has stopped, and returns ErrGone if it has ended.
func wait(tid int) (status unix.WaitStatus, err error) {
	for {
		_, err = unix.Wait4(tid, &status, unix.WALL, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return status, fmt.Errorf("wait for thread %d: %w", tid, err)
		case !status.Stopped():
			return status, ErrGone
		default:
			return status, nil
		}
	}
}
