package pin

import (
	"fmt"
	"math/bits"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// CPUs lists the processors that this process may run on.
func CPUs() []int {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return nil
	}
	var cpus []int
	for i := range len(set) * bits.UintSize {
		if set.IsSet(i) {
			cpus = append(cpus, i)
		}
	}
	return cpus
}

// Thread locks the calling goroutine to its thread, for good, and that to a
// processor.
func Thread(cpu int) error {
	if usable := CPUs(); !slices.Contains(usable, cpu) {
		return fmt.Errorf("processor %d: this process may run on %v", cpu, usable)
	}
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("processor %d: %w", cpu, err)
	}
	return nil
}

// Apart returns two processors, of different cores where there are such; ok is false
// when there is only one.
func Apart() (a, b int, ok bool) {
	cpus := CPUs()
	if len(cpus) < 2 {
		return 0, 0, false
	}
	a, b = cpus[0], cpus[1]
	for _, c := range cpus[1:] {
		if core(c) != core(a) {
			return a, c, true
		}
	}
	return a, b, true
}

// core names the core of a processor by its list of hardware threads.
func core(cpu int) string {
	siblings, err := os.ReadFile(fmt.Sprintf("/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu))
	if err != nil {
		return fmt.Sprint(cpu)
	}
	return strings.TrimSpace(string(siblings))
}
