package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/fuzz/internal/machine"
)

// lab is what one run of one mode works with.
type lab struct {
	*labs.Lab
	duration time.Duration // 0: to the end
	mu       sync.Mutex    // r, once the mode has several goroutines
	r        *result
	names    atomic.Uint64
	children atomic.Uint64 // but for those that die at a point, or are stepped through
}

// over reports whether the run is to end early.
func (l *lab) over() bool { return l.Ctx.Err() != nil || l.r.Stuck > 0 }

// enough reports whether a mode that began then is to begin nothing more. It leaves
// what is under way the time to end well.
func (l *lab) enough(begin time.Time) bool {
	return l.over() || l.duration > 0 && time.Since(begin) >= l.duration
}

// fault is result.fault for several goroutines.
func (l *lab) fault(heading *uint64, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.r.fault(heading, format, args...)
}

// killed counts a death.
func (l *lab) killed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.r.Kills++
}

// must turns an error that has nothing to do with the experiment into a fault.
func (l *lab) must(err error) bool {
	if err != nil {
		l.fault(&l.r.Other, "%v", err)
	}
	return err == nil
}

// until waits for a condition that must come true.
func (l *lab) until(what string, f func() bool) bool {
	ok := l.Within(f)
	if !ok {
		l.fault(&l.r.Stuck, "%s: not within %v", what, labs.Patience)
	}
	return ok
}

// grown compares with an earlier footprint and counts what has leaked.
func (l *lab) grown(who string, before, after machine.Footprint) {
	for _, leak := range after.Grown(before) {
		l.fault(&l.r.Leaked, "%s: %s", who, leak)
	}
}

// empty makes sure that nothing is left where the rings are.
func (l *lab) empty(when string) {
	for _, name := range l.Left() {
		l.fault(&l.r.Leaked, "%s: %s is left in the directory", when, name)
	}
}

// inherited lists what a process has open of the lab's rings.
func (l *lab) inherited(pid int) (open []string) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	list, err := os.ReadDir(dir)
	if err != nil {
		return []string{err.Error()}
	}
	for _, fd := range list {
		to, _ := os.Readlink(filepath.Join(dir, fd.Name()))
		if strings.HasPrefix(to, l.Rings) {
			open = append(open, to)
		}
	}
	return open
}
