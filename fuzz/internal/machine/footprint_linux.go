package machine

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// Footprint is what a process holds of things that can leak.
type Footprint struct {
	FDs     int
	Maps    int // mappings of rings
	Threads int
}

// What is no leak. The Go runtime adds threads by itself; and whoever waits for long for the
// first time, as on a busy machine, opens the one inotify instance of its process, and the
// runtime the two descriptors with which it polls that.
const (
	ThreadSlack     = 8
	DescriptorSlack = 3
)

// Process counts what a process holds; pid is a number or "self".
func Process(pid any) Footprint {
	var f Footprint
	dir := fmt.Sprintf("/proc/%v/", pid)
	f.FDs = entries(dir + "fd")
	f.Threads = entries(dir + "task")
	if maps, err := os.Open(dir + "maps"); err == nil {
		defer maps.Close()
		for lines := bufio.NewScanner(maps); lines.Scan(); {
			if strings.Contains(lines.Text(), ".shmring") {
				f.Maps++
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

// Grown tells what is more than before.
func (f Footprint) Grown(before Footprint) (leaks []string) {
	for _, k := range []struct {
		what       string
		now, limit int
	}{
		{"descriptors", f.FDs, before.FDs + DescriptorSlack},
		{"mappings of rings", f.Maps, before.Maps},
		{"threads", f.Threads, before.Threads + ThreadSlack},
	} {
		if k.now > k.limit {
			leaks = append(leaks, fmt.Sprintf("%d %s, the limit is %d", k.now, k.what, k.limit))
		}
	}
	return leaks
}
