package main

import (
	"bufio"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// semaphores are the SysV semaphore sets of the system, with how many each has.
func semaphores() map[int]int {
	sets := map[int]int{}
	f, err := os.Open("/proc/sysvipc/sem")
	if err != nil {
		return sets
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var key, id, perms, n int
		if _, err := fmt.Sscan(lines.Text(), &key, &id, &perms, &n); err == nil {
			sets[id] = n
		}
	}
	return sets
}

// leftSemaphores are the sets that are new and that one of our processes used last.
// Other programs may make sets at the same time.
func leftSemaphores(before map[int]int, isOurs func(pid int) bool) (list []int) {
	for id, n := range semaphores() {
		if _, old := before[id]; old {
			continue
		}
		for i := range n {
			pid, _, errno := unix.Syscall(unix.SYS_SEMCTL, uintptr(id), uintptr(i), semGetPID)
			if errno == 0 && isOurs(int(pid)) {
				list = append(list, id)
				break
			}
		}
	}
	return list
}

// semGetPID is GETPID of linux/sem.h.
const semGetPID = 11
