package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// footprint is what the victim has of things that may leak.
type footprint struct {
	descriptors, mappings, threads int
	lines                          int   // of /proc/self/maps
	addresses, memory              int64 // bytes: of address space, and of the heap
}

// What may be more than at first. Others in this process have the same handles all the time; the
// runtime makes threads and arenas as it likes, and holds an inotify instance for a second.
const (
	moreDescriptors = 8
	moreMappings    = 4 * moreThreads // each thread has a stack, and the heap grows
	moreThreads     = 64 + 16         // as many as may sleep on doorbells, and the runtime's
	moreAddresses   = 512 << 20
	threadAddresses = (8 + 64) << 20 // each thread has more, where there is a libc: a stack, and an arena for malloc
	moreMemory      = 64 << 20
)

func footprintNow() (f footprint) {
	count := func(dir string) int {
		list, _ := os.ReadDir(dir)
		return len(list)
	}
	f.descriptors, f.threads = count("/proc/self/fd"), count("/proc/self/task")
	maps, _ := os.ReadFile("/proc/self/maps")
	for line := range strings.Lines(string(maps)) {
		f.lines++
		if strings.Contains(line, attacked) {
			f.mappings++
		}
	}
	statm, _ := os.ReadFile("/proc/self/statm")
	_, _ = fmt.Sscan(string(statm), &f.addresses)
	f.addresses *= int64(os.Getpagesize())
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	f.memory = int64(m.HeapAlloc)
	return f
}

func (f footprint) String() string {
	return fmt.Sprintf("%d descriptors, %d mappings of rings and %d in all, %d threads, "+
		"%d MiB of address space, %d MiB of heap",
		f.descriptors, f.mappings, f.lines, f.threads, f.addresses>>20, f.memory>>20)
}

// grown tells of the first thing of which there is too much.
func (f footprint) grown(first footprint) string {
	if first == (footprint{}) {
		return ""
	}
	for _, k := range []struct {
		what        string
		now, before int64
		more        int64
	}{
		{"descriptors", int64(f.descriptors), int64(first.descriptors), moreDescriptors},
		{"mappings of closed rings", int64(f.mappings), int64(first.mappings), 0},
		{"mappings", int64(f.lines), int64(first.lines), moreMappings},
		{"threads", int64(f.threads), int64(first.threads), moreThreads},
		{"bytes of address space", f.addresses, first.addresses,
			moreAddresses + threadAddresses*int64(max(0, f.threads-first.threads))},
		{"bytes of heap", f.memory, first.memory, moreMemory},
	} {
		if k.now > k.before+k.more {
			return fmt.Sprintf("%d %s, there were %d: %v", k.now, k.what, k.before, f)
		}
	}
	return ""
}
