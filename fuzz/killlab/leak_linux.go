package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// footprint is what a process, or the system, holds of things that can leak.
type footprint struct {
	fds     int
	maps    int // mappings of rings
	threads int
	sems    int // SysV semaphore sets
}

// threadSlack is how many threads the Go runtime may add by itself.
const threadSlack = 8

// process counts what a process holds; pid is a number or "self".
func process(pid any) footprint {
	var f footprint
	dir := fmt.Sprintf("/proc/%v/", pid)
	f.fds = entries(dir + "fd")
	f.threads = entries(dir + "task")
	if maps, err := os.Open(dir + "maps"); err == nil {
		defer maps.Close()
		for lines := bufio.NewScanner(maps); lines.Scan(); {
			if strings.Contains(lines.Text(), ".shmring") {
				f.maps++
			}
		}
	}
	return f
}

func entries(dir string) int {
	list, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	return len(list)
}

// system adds what outlives processes.
func (f footprint) system() footprint {
	if sems, err := os.ReadFile("/proc/sysvipc/sem"); err == nil {
		f.sems = strings.Count(string(sems), "\n")
	}
	return f
}

// grown compares with an earlier footprint and counts what has leaked.
func (r *result) grown(who string, before, after footprint) {
	if after.fds > before.fds {
		r.fault(&r.Leaked, "%s: %d descriptors, %d before", who, after.fds, before.fds)
	}
	if after.maps > before.maps {
		r.fault(&r.Leaked, "%s: %d mappings of rings, %d before", who, after.maps, before.maps)
	}
	if after.threads > before.threads+threadSlack {
		r.fault(&r.Leaked, "%s: %d threads, %d before", who, after.threads, before.threads)
	}
	if after.sems > before.sems {
		r.fault(&r.Leaked, "%s: %d semaphore sets, %d before", who, after.sems, before.sems)
	}
}
