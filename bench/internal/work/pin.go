package work

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// pinThread locks worker i to a thread and that to its processor. Goroutines of a
// channel are left to the runtime, which would otherwise switch threads for each
// message; it is the process that is pinned.
func pinThread(j *Job, i int) error {
	if len(j.CPUs) == 0 || j.CPUs[i%len(j.CPUs)] < 0 {
		return nil
	}
	if j.Transport == "go-chan" {
		return pinProcess(j.CPUs)
	}
	runtime.LockOSThread()
	return setAffinity(0, j.CPUs[i%len(j.CPUs)])
}

func setAffinity(tid int, cpus ...int) error {
	var set unix.CPUSet
	for _, c := range cpus {
		set.Set(c)
	}
	if err := unix.SchedSetaffinity(tid, &set); err != nil {
		return fmt.Errorf("processors %v: %w", cpus, err)
	}
	return nil
}

func pinProcess(cpus []int) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		tid, _ := strconv.Atoi(t.Name())
		if err := setAffinity(tid, cpus...); err != nil && err != unix.ESRCH {
			return err
		}
	}
	return nil
}
