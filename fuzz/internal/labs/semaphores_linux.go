package labs

import (
	"bufio"
	"fmt"
	"os"
	"time"

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

// leftSemaphores are the sets that are new and that one of our processes used last, or
// nobody yet: its maker may have died. Other programs may make sets at the same time, and
// use them soon.
func leftSemaphores(before map[int]int, isOurs func(pid int) bool) (list []int) {
	for end := time.Now().Add(unusedFor); ; time.Sleep(10 * time.Millisecond) {
		list = list[:0]
		unused := 0
		for id, n := range semaphores() {
			if _, old := before[id]; old {
				continue
			}
			ours, used := usedBy(id, n, isOurs)
			if !used {
				unused++
			}
			if ours || !used {
				list = append(list, id)
			}
		}
		if unused == 0 || time.Now().After(end) {
			return list
		}
	}
}

// unusedFor is how long a set of other programs may be without a user.
const unusedFor = 500 * time.Millisecond

// usedBy tells whether anybody has used a set of n semaphores, and whether we have.
func usedBy(id, n int, isOurs func(pid int) bool) (ours, used bool) {
	for i := range n {
		pid, _, errno := unix.Syscall(unix.SYS_SEMCTL, uintptr(id), uintptr(i), semGetPID)
		used = used || errno != 0 || pid != 0 // or it is gone
		ours = ours || errno == 0 && isOurs(int(pid))
	}
	return ours, used
}

// semGetPID is GETPID of linux/sem.h.
const semGetPID = 11
